//! Servers that are quiesced before they are replaced.

use hornero_model::{
    Admission, ExitCause, Millis, Quiesce, ReleaseNumber, ReplacePolicy, ServiceSpec, Share,
    Strategy,
};

use super::{Bench, site, spec};
use crate::{Effect, Phase, ReplacingStage, RolloutFailure};

fn quiesced(image: &str) -> ServiceSpec {
    let mut spec = spec(image, 1);
    let command = vec!["/srv/flush".to_owned(), image.to_owned()];
    let quiesce = Some(Quiesce { command, timeout: Millis(5_000) });
    let policy = ReplacePolicy { quiesce, ..ReplacePolicy::holding(Millis(20_000), 7) };
    spec.rollout.strategy = Strategy::Replace(policy);
    spec.rollout.keep_warm = Millis(0);
    spec
}

impl Bench {
    /// A world in which a release with a command serves, and another one is about to take its place.
    fn quiescing() -> Self {
        let mut bench = Self::new();
        bench.forward(&quiesced("one"));
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        bench.log.clear();
        bench.forward(&quiesced("two"));
        for _ in 0..20 {
            if bench.stage() == Some(ReplacingStage::Quiescing) {
                return bench;
            }
            if !bench.one_step() {
                bench.comply_once();
            }
        }
        panic!("it is never quiesced: {:?}", bench.log);
    }

    fn stage(&self) -> Option<ReplacingStage> {
        let rollout = self.world.rollout_of(&site())?;
        rollout.replacing.as_ref().filter(|_| rollout.phase == Phase::Replacing).map(|of| of.stage)
    }

    /// The runs that somebody is asked to carry out.
    fn carried(&self) -> Vec<(String, Vec<String>)> {
        let runs = self.wanted().into_iter().filter_map(|effect| match effect {
            Effect::CarryOut { run, .. } => Some((run.id.to_string(), run.command)),
            _ => None,
        });
        runs.collect()
    }

    fn begun(&self) -> usize {
        let begun = |line: &&String| line.starts_with("run ") && line.ends_with(" begun");
        self.log.iter().filter(begun).count()
    }

    /// The old release serves, nothing of it was stopped, and nothing is under way.
    fn is_as_before(&self) {
        assert_eq!(self.phase(), None, "{:?}", self.log);
        assert_eq!(self.world.traffic(&site()), [Share::whole(ReleaseNumber(1))]);
        let table = &self.facts.in_force.as_ref().unwrap().table;
        assert_eq!(table.pools[0].admission, Admission::Open);
        assert!(!self.log.iter().any(|line| line.contains("stopped")), "{:?}", self.log);
    }
}

#[test]
fn the_command_of_what_serves_runs_before_anything_is_held() {
    let mut bench = Bench::quiescing();
    let [(id, command)] = &bench.carried()[..] else { panic!("{:?}", bench.log) };
    assert!(id.starts_with("quiesce-site-"), "{id}");
    assert_eq!(command[1], "two", "what the release says that comes");
    let run = &bench.world.runs.values().next().unwrap().run;
    assert_eq!(run.image, spec("one", 1).image, "in the image of the one that serves");
    assert_eq!(bench.facts.in_force.as_ref().unwrap().table.pools[0].admission, Admission::Open);
    bench.comply_once();
    bench.settle();
    assert_eq!(bench.stage(), Some(ReplacingStage::Holding), "{:?}", bench.log);
    assert_eq!(bench.carried(), []);
    for _ in 0..20 {
        bench.comply();
        bench.pass(Millis(500));
    }
    assert_eq!(bench.world.traffic(&site()), [Share::whole(ReleaseNumber(2))], "{:?}", bench.log);
    assert_eq!((bench.begun(), bench.world.quiesced.len()), (1, 0));
}

#[test]
fn a_command_that_fails_stops_the_rollout_and_nothing_else() {
    let mut bench = Bench::quiescing();
    let id = bench.carried()[0].0.parse().unwrap();
    bench.run_ended(&id, ExitCause::Code(3));
    bench.comply();
    bench.is_as_before();
    let failed = format!("rollout 2 failed: the quiesce command (`{id}`) exited with code 3");
    assert!(bench.log.iter().any(|line| line.starts_with(&failed)), "{failed}: {:?}", bench.log);
    assert_eq!(bench.begun(), 1);
}

#[test]
fn a_control_that_starts_anew_goes_on_with_the_command_that_was_begun() {
    let mut bench = Bench::quiescing();
    let before = bench.carried();
    let edge = bench.facts.edge.clone();
    bench.facts.run_ends.clear();
    bench.facts.edge = edge;
    bench.settle();
    assert_eq!(bench.carried(), before, "the same run, which is begun once");
    bench.comply();
    assert_eq!(bench.begun(), 1);
}

#[test]
fn one_that_never_tells_its_end_is_waited_for_no_longer_than_it_may_take() {
    let mut bench = Bench::quiescing();
    bench.pass(Millis(124_000));
    assert!(!bench.one_step(), "{:?}", bench.log);
    bench.pass(Millis(1_000));
    bench.settle();
    assert!(bench.log.iter().any(|line| line.contains("nobody can tell")), "{:?}", bench.log);
}

#[test]
fn a_rollout_that_is_ended_meanwhile_takes_nothing_away() {
    let mut bench = Bench::quiescing();
    let id = bench.world.rollout_of(&site()).unwrap().id;
    bench.facts.halted.insert(id, RolloutFailure::of("aborted"));
    bench.settle();
    for effect in bench.wanted() {
        if !matches!(effect, Effect::CarryOut { .. }) {
            bench.done(effect);
        }
    }
    bench.settle();
    bench.is_as_before();
}
