//! Servers whose guards are asked before they are taken away.

use hornero_model::{
    Admission, DataGuard, DataProbe, GuardAnswer, GuardName, GuardVerdict, Millis, ReleaseNumber,
    ReplacePolicy, ServiceSpec, Share, Strategy,
};

use super::{Bench, root, site, spec};
use crate::{
    Effect, GuardRound, GuardsSeen, Phase, ReplacingStage, start_down, start_rollback,
    surplus_refusal,
};

fn guard(name: &str, probe: DataProbe) -> DataGuard {
    DataGuard { name: GuardName::new(name).unwrap(), probe, within: Millis(10_000) }
}

fn redis() -> DataProbe {
    let probe = r#"{"redis":{"port":6379,"login":{"user":""},"clients":0}}"#;
    serde_json::from_str(probe).unwrap()
}

fn guarded(image: &str) -> ServiceSpec {
    let command = DataProbe::Command(vec!["/srv/idle".to_owned()]);
    ServiceSpec { guards: vec![guard("idle", command), guard("quiet", redis())], ..spec(image, 1) }
}

fn replaced(image: &str) -> ServiceSpec {
    let mut spec = guarded(image);
    let policy = ReplacePolicy { ..ReplacePolicy::holding(Millis(20_000), 7) };
    spec.rollout.strategy = Strategy::Replace(policy);
    spec.rollout.keep_warm = Millis(0);
    spec
}

impl Bench {
    /// A world in which this release serves, whatever its guards would say.
    fn guarded(spec: &ServiceSpec) -> Self {
        let mut bench = Self::new();
        bench.forward(spec);
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        bench.log.clear();
        bench
    }

    /// What is asked now: at which point, and which guards.
    fn asked(&self) -> Option<(GuardRound, Vec<String>)> {
        self.wanted().into_iter().find_map(|effect| match effect {
            Effect::AskGuards { round, question, .. } => {
                let names = question.guards.iter().map(|guard| guard.name.to_string());
                Some((round, names.collect()))
            }
            _ => None,
        })
    }

    /// Whoever is asked says so, but for commands, which pass.
    fn say(&mut self, verdict: GuardVerdict) {
        let asked = self.wanted().into_iter().find_map(|effect| match effect {
            Effect::AskGuards { occasion, round, question, .. } => {
                Some((occasion, round, question))
            }
            _ => None,
        });
        let (occasion, round, question) = asked.expect("somebody is asked");
        let answer = |guard: &DataGuard| GuardAnswer {
            guard: guard.name.clone(),
            instance: None,
            verdict: match guard.probe {
                DataProbe::Command(_) => GuardVerdict::Passes,
                _ => verdict,
            },
            seen: "3 clients".to_owned(),
        };
        let answers = question.guards.iter().map(answer).collect();
        let at = self.facts.now;
        let last = self.facts.guards.get(&occasion).filter(|seen| seen.round == round);
        let begun = last.map_or(at, |seen| seen.begun);
        self.facts.guards.insert(occasion, GuardsSeen { round, begun, at, answers });
    }

    /// Everything else is done as well as can be, until somebody is asked.
    fn until_asked(&mut self) {
        for _ in 0..100 {
            if self.asked().is_some() {
                return;
            }
            if !self.one_step() {
                self.comply_once();
            }
            self.pass(Millis(50));
        }
        panic!("nobody is asked: {:?}", self.log);
    }

    fn stage_of(&self) -> Option<ReplacingStage> {
        self.world.rollout_of(&site())?.replacing.as_ref().map(|of| of.stage)
    }

    /// The first release serves as it did, and nothing is under way.
    fn nothing_happened(&mut self) {
        for _ in 0..20 {
            self.comply();
            self.pass(Millis(500));
        }
        assert_eq!(self.phase(), None, "{:?}", self.log);
        assert_eq!(self.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
        let table = &self.facts.in_force.as_ref().unwrap().table;
        assert_eq!(table.pools[0].admission, Admission::Open);
        let old = |line: &&String| line.contains("site-1-") && line.contains("stopped");
        assert!(!self.log.iter().any(|line| old(&line)), "{:?}", self.log);
    }

    fn failed_by(&self, what: &str) {
        assert!(self.log.iter().any(|line| line.contains(what)), "{what}: {:?}", self.log);
    }
}

#[test]
fn a_switch_waits_for_guards_and_asks_again_until_they_pass() {
    let mut bench = Bench::guarded(&guarded("one"));
    bench.forward(&guarded("two"));
    bench.until_asked();
    let both = vec!["idle".to_owned(), "quiet".to_owned()];
    assert_eq!(bench.asked(), Some((GuardRound::First, both)));
    bench.say(GuardVerdict::Refuses);
    assert!(!bench.one_step(), "{:?}", bench.log);
    assert_eq!(bench.asked(), None, "not at once again");
    bench.pass(Millis(5_000));
    assert!(bench.asked().is_some());
    bench.say(GuardVerdict::Passes);
    bench.one_step();
    assert_eq!(bench.phase(), Some(Phase::Switching), "{:?}", bench.log);
}

#[test]
fn a_pass_that_grew_old_is_none() {
    let mut bench = Bench::guarded(&guarded("one"));
    bench.forward(&guarded("two"));
    bench.until_asked();
    bench.say(GuardVerdict::Passes);
    bench.pass(Millis(5_000));
    assert!(!bench.one_step(), "{:?}", bench.log);
    assert!(bench.asked().is_some());
}

#[test]
fn one_that_refuses_for_too_long_ends_the_rollout_before_it_began() {
    for verdict in [GuardVerdict::Refuses, GuardVerdict::Unanswered] {
        let mut bench = Bench::guarded(&replaced("one"));
        bench.forward(&replaced("two"));
        bench.until_asked();
        for _ in 0..2 {
            bench.say(verdict);
            assert!(!bench.one_step(), "{:?}", bench.log);
            bench.pass(Millis(5_000));
        }
        assert!(bench.one_step());
        bench.nothing_happened();
        let what = match verdict {
            GuardVerdict::Refuses => "guard `quiet` of `site` refuses: 3 clients",
            _ => "guard `quiet` of `site` can't be asked: 3 clients",
        };
        bench.failed_by(what);
    }
}

#[test]
fn what_is_replaced_in_its_place_is_asked_again_while_requests_wait() {
    let mut bench = Bench::guarded(&replaced("one"));
    bench.forward(&replaced("two"));
    bench.until_asked();
    bench.say(GuardVerdict::Passes);
    bench.one_step();
    assert_eq!(bench.stage_of(), Some(ReplacingStage::Holding), "{:?}", bench.log);
    bench.in_flight(1, 1);
    bench.until_asked();
    // A command would have to come in by the way that is held.
    assert_eq!(bench.asked(), Some((GuardRound::Last, vec!["quiet".to_owned()])));
    let cut = |bench: &Bench| {
        bench.wanted().iter().any(|effect| matches!(effect, Effect::CutInFlight { .. }))
    };
    bench.say(GuardVerdict::Refuses);
    assert!(!bench.one_step() && !cut(&bench), "{:?}", bench.log);
    bench.pass(Millis(600));
    let mut refused = bench.clone();
    bench.say(GuardVerdict::Passes);
    bench.one_step();
    assert!(cut(&bench), "what is in flight is cut off only now: {:?}", bench.log);
    for _ in 0..20 {
        refused.say(GuardVerdict::Refuses);
        refused.pass(Millis(600));
        if refused.one_step() {
            break;
        }
    }
    refused.in_flight(1, 0);
    refused.nothing_happened();
    refused.failed_by("guard `quiet` of `site` refuses");
}

#[test]
fn a_control_that_starts_anew_asks_anew() {
    let mut bench = Bench::guarded(&replaced("one"));
    bench.forward(&replaced("two"));
    bench.until_asked();
    bench.say(GuardVerdict::Passes);
    bench.facts.guards.clear();
    assert!(!bench.one_step(), "{:?}", bench.log);
    assert!(bench.asked().is_some());
}

#[test]
fn a_removal_closes_nothing_before_its_guards_passed_and_asks_again_once_it_is_closed() {
    let mut bench = Bench::guarded(&guarded("one"));
    let down = |bench: &mut Bench| {
        let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
        bench.record(begun.records);
        bench.until_asked();
    };
    down(&mut bench);
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
    bench.say(GuardVerdict::Refuses);
    bench.pass(Millis(10_000));
    bench.one_step();
    bench.nothing_happened();
    down(&mut bench);
    bench.say(GuardVerdict::Passes);
    bench.one_step();
    assert_eq!(bench.world.traffic(&site()), []);
    bench.until_asked();
    assert_eq!(bench.asked(), Some((GuardRound::Last, vec!["quiet".to_owned()])));
    let mut refused = bench.clone();
    bench.say(GuardVerdict::Passes);
    bench.one_step();
    assert_eq!(bench.phase(), Some(Phase::Emptying), "{:?}", bench.log);
    refused.say(GuardVerdict::Refuses);
    refused.pass(Millis(10_000));
    refused.one_step();
    refused.nothing_happened();
}

#[test]
fn a_server_that_is_more_than_wanted_stays_until_its_guards_pass() {
    let three = ServiceSpec { instances: 3, ..guarded("one") };
    let mut bench = Bench::guarded(&three);
    bench.forward(&ServiceSpec { instances: 2, ..three });
    bench.pass(Millis(60_000));
    bench.settle();
    let servers =
        |bench: &Bench| bench.world.services[&site()].serving.as_ref().unwrap().instances.len();
    let asked = bench.wanted().into_iter().find_map(|effect| match effect {
        Effect::AskGuards { question, .. } => Some(question.servers.len()),
        _ => None,
    });
    assert_eq!(asked, Some(1), "the one that would go");
    bench.say(GuardVerdict::Refuses);
    bench.pass(Millis(10_000));
    bench.settle();
    assert_eq!(servers(&bench), 3);
    let refusal = surplus_refusal(&bench.world, &bench.facts, &site()).unwrap();
    assert_eq!(refusal.refused.as_deref(), Some("guard.quiet"));
    bench.say(GuardVerdict::Passes);
    bench.settle();
    assert_eq!(servers(&bench), 2, "{:?}", bench.log);
}

#[test]
fn a_warm_rollback_asks_what_serves_and_an_overridden_guard_nobody() {
    let mut bench = Bench::guarded(&spec("one", 1));
    bench.forward(&guarded("two"));
    bench.until_asked();
    bench.say(GuardVerdict::Passes);
    for _ in 0..20 {
        bench.comply();
        bench.pass(Millis(500));
    }
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(2))], "{:?}", bench.log);
    let back = |bench: &mut Bench| {
        let (world, facts) = (bench.world.clone(), bench.facts.clone());
        let tail = &mut || bench.tail();
        let begun = start_rollback(&world, &facts, &site(), None, &root(), tail).unwrap();
        bench.record(begun.records);
    };
    let mut asking = bench.clone();
    back(&mut asking);
    asking.until_asked();
    let names = ["idle", "quiet"].map(|name| GuardName::new(name).unwrap());
    bench.facts.overridden = names.into_iter().collect();
    back(&mut bench);
    bench.one_step();
    assert_eq!(bench.phase(), Some(Phase::Switching), "{:?}", bench.log);
    let told = ["guard.idle overridden", "guard.quiet overridden"];
    assert!(told.iter().all(|told| bench.log.iter().any(|line| line == told)), "{:?}", bench.log);
}
