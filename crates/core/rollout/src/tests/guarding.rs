//! Servers whose guards are asked before they are taken away.

use hornero_model::{
    Admission, DataGuard, DataProbe, GuardAnswer, GuardName, GuardVerdict, InstanceId, Millis,
    ReleaseNumber, ReplacePolicy, ServiceSpec, Share, Strategy, Timestamp,
};

use super::{Bench, root, site, spec};
use crate::{
    Effect, EffectKey, GuardOccasion, GuardRound, GuardsSeen, Phase, ReplacingStage,
    answer_allowance, start_down, start_rollback, surplus_refusal,
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
        let of = |guard: &DataGuard, instance, verdict| GuardAnswer {
            guard: guard.name.clone(),
            instance,
            verdict,
            seen: "3 clients".to_owned(),
        };
        let answer = |guard: &DataGuard| match guard.probe {
            DataProbe::Command(_) => vec![of(guard, None, GuardVerdict::Passes)],
            _ => {
                let servers = question.servers.iter();
                servers.map(|(id, _)| of(guard, Some(id.clone()), verdict)).collect()
            }
        };
        let answers = question.guards.iter().flat_map(answer).collect();
        let (now, last) = (self.facts.now, self.facts.guards.get(&occasion));
        let seen = GuardsSeen::of((&question, round), last, (now, now), answers);
        self.facts.guards.insert(occasion, seen);
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
            GuardVerdict::Refuses => "guard `quiet` of `site` refuses of `site-1-t1`: 3 clients",
            _ => "guard `quiet` of `site` can't be asked of `site-1-t1`: 3 clients",
        };
        bench.failed_by(what);
    }
}

/// How long a refusal has to last is counted anew after a pause.
#[test]
fn a_refusal_from_before_a_pause_ends_nothing() {
    let mut bench = Bench::guarded(&replaced("one"));
    bench.forward(&replaced("two"));
    bench.until_asked();
    bench.say(GuardVerdict::Refuses);
    bench.pass(Millis(600_000));
    assert!(!bench.one_step(), "by an old answer: {:?}", bench.log);
    bench.say(GuardVerdict::Refuses);
    assert!(!bench.one_step(), "at the first answer since: {:?}", bench.log);
    bench.pass(Millis(5_000));
    bench.say(GuardVerdict::Refuses);
    assert!(!bench.one_step(), "{:?}", bench.log);
    bench.pass(Millis(5_000));
    assert!(bench.one_step());
    bench.failed_by("guard `quiet` of `site` refuses");
}

#[test]
fn what_was_said_of_other_servers_says_nothing() {
    let mut bench = Bench::guarded(&guarded("one"));
    bench.forward(&guarded("two"));
    bench.until_asked();
    bench.say(GuardVerdict::Passes);
    let other = InstanceId::new("site-1-other").unwrap();
    let ids = |seen: &mut GuardsSeen| {
        for answer in &mut seen.answers {
            answer.instance = answer.instance.as_ref().map(|_| other.clone());
        }
    };
    bench.facts.guards.values_mut().for_each(ids);
    assert!(!bench.one_step(), "{:?}", bench.log);
}

#[test]
fn the_wait_for_a_pass_begins_anew_after_a_pass_or_with_other_servers() {
    let mut bench = Bench::guarded(&guarded("one"));
    bench.forward(&guarded("two"));
    bench.until_asked();
    let effects = bench.wanted();
    let question = effects.into_iter().find_map(|effect| match effect {
        Effect::AskGuards { question, .. } => Some(*question),
        _ => None,
    });
    let question = question.unwrap();
    let one = |id: &str, verdict| GuardAnswer {
        guard: GuardName::new("quiet").unwrap(),
        instance: Some(InstanceId::new(id).unwrap()),
        verdict,
        seen: String::new(),
    };
    let asked = |last: Option<&GuardsSeen>, (from, to), id: &str, verdict| {
        let times = (Timestamp(from), Timestamp(to));
        GuardsSeen::of((&question, GuardRound::First), last, times, vec![one(id, verdict)])
    };
    let first = asked(None, (1_000, 121_000), "site-1-a", GuardVerdict::Refuses);
    assert_eq!(first.begun, Timestamp(1_000), "when it was asked, not when it was answered");
    assert_eq!(first.at, Timestamp(118_000), "servers are asked last, behind a command");
    let next = (126_000, 127_000);
    let again = asked(Some(&first), next, "site-1-a", GuardVerdict::Refuses);
    assert_eq!((again.begun, again.at), (Timestamp(1_000), Timestamp(126_000)));
    let of_b = asked(Some(&again), (131_000, 131_100), "site-1-b", GuardVerdict::Refuses);
    assert_eq!(of_b.begun, Timestamp(131_000));
    let passed = asked(Some(&of_b), (136_000, 136_100), "site-1-b", GuardVerdict::Passes);
    let refused = asked(Some(&passed), (141_000, 141_100), "site-1-b", GuardVerdict::Refuses);
    assert_eq!(refused.begun, Timestamp(141_000));
    let late = asked(Some(&refused), (741_000, 741_100), "site-1-b", GuardVerdict::Refuses);
    assert_eq!(late.begun, Timestamp(741_000));
}

#[test]
fn a_question_may_take_as_long_as_a_command() {
    let key = EffectKey::Guards(GuardOccasion::Surplus(site()));
    assert!(answer_allowance(&key) > Millis(3_600_000));
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
    let mut others = bench.clone();
    bench.say(GuardVerdict::Refuses);
    bench.pass(Millis(10_000));
    bench.settle();
    assert_eq!(servers(&bench), 3);
    let refusal = surplus_refusal(&bench.world, &bench.facts, &site()).unwrap();
    assert_eq!(refusal.refused.as_deref(), Some("guard.quiet"));
    bench.say(GuardVerdict::Passes);
    bench.settle();
    assert_eq!(servers(&bench), 2, "{:?}", bench.log);
    // A server that nobody asked stays, whatever commands and others said.
    others.say(GuardVerdict::Passes);
    let set = others.world.services[&site()].serving.as_ref().unwrap();
    let kept = set.instances.iter().next().unwrap().clone();
    for seen in others.facts.guards.values_mut() {
        let servers = seen.answers.iter_mut().filter_map(|answer| answer.instance.as_mut());
        servers.for_each(|id| *id = InstanceId::new(format!("{kept}x")).unwrap());
    }
    others.settle();
    assert_eq!(servers(&others), 3, "{:?}", others.log);
}

#[test]
fn a_command_that_refuses_is_run_rarely_where_nobody_waits() {
    let three = ServiceSpec { instances: 3, ..guarded("one") };
    let mut bench = Bench::guarded(&three);
    bench.forward(&ServiceSpec { instances: 2, ..three });
    bench.pass(Millis(60_000));
    bench.settle();
    bench.say(GuardVerdict::Passes);
    for seen in bench.facts.guards.values_mut() {
        let commands = seen.answers.iter_mut().filter(|answer| answer.instance.is_none());
        commands.for_each(|answer| answer.verdict = GuardVerdict::Refuses);
    }
    bench.pass(Millis(6_000));
    assert!(bench.asked().is_some(), "an adjustment waits");
    let set = bench.world.services.get_mut(&site()).unwrap().serving.as_mut().unwrap();
    set.leaving = None;
    assert_eq!(bench.asked(), None);
    bench.pass(Millis(115_000));
    assert!(bench.asked().is_some());
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
