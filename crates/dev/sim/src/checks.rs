//! What must hold whatever happens, looked at beside what decides: from what was asked, what is recorded, and what is.

mod rounds;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hornero_driver::{Outcome, OutcomeKind, RequestId, RequestKind};
use hornero_model::{
    CopyOnWrite, Digest, Directory, EventBody, GuardAnswer, GuardVerdict, InstanceId,
    InstanceState, Listener, NewEvent, Preview, ReleaseNumber, ScheduleName, ServiceName, Share,
};
use hornero_rollout::{GuardOccasion, Kind, Phase, ReplacingStage, Rollout, Service, World};

use crate::{Scenario, SimEdge, SimEngine, Trouble};

/// Instances an hour that Hornero may make of one service by itself: what the documents promise.
const UNREQUESTED_AN_HOUR: usize = 60;
/// The same of those that its load asks for.
const FOR_LOAD_AN_HOUR: usize = 4 * UNREQUESTED_AN_HOUR;
/// How long a service may have a server that answers and no request that reaches it, while control and edge are there:
/// longer than any delay between two tries.
const UNSERVED_MS: u64 = 30_000;
/// How old what is decided by may be: news come late, and effects take their time.
const LATE_MS: u64 = 1_000;

/// How old a word of guards may be that servers go by.
const PASS_AGE_MS: u64 = 10_000;

/// What is remembered in order to judge.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    asked: BTreeMap<RequestId, RequestKind>,
    tested: BTreeSet<Digest>,
    made: BTreeMap<ServiceName, Vec<u64>>,
    /// The same of those that their load asked for, and how many it asks for still.
    made_for_load: BTreeMap<ServiceName, Vec<u64>>,
    scaling: BTreeMap<ServiceName, u32>,
    /// When each service was last scaled up.
    scaled_up: BTreeMap<ServiceName, u64>,
    restored: BTreeMap<ServiceName, usize>,
    /// Since when control and one edge were there without a break.
    clear_since: u64,
    edge: u32,
    unserved_since: BTreeMap<ServiceName, u64>,
    /// When guards last said that servers may go, by what they were asked for.
    guards_passed: BTreeMap<GuardOccasion, u64>,
    /// The last time of each schedule that was begun or left out.
    turns: BTreeMap<(Directory, ScheduleName), u64>,
    /// Whether what was seen last of each service's way back is that it does not work.
    no_way_back: BTreeSet<ServiceName>,
}

impl Checks {
    /// Somebody asks for something.
    pub fn asks(&mut self, id: RequestId, kind: RequestKind) {
        self.asked.insert(id, kind);
    }

    /// The tests of an image ran.
    pub fn tested(&mut self, image: Digest, passed: bool) {
        if passed {
            self.tested.insert(image);
        }
    }

    /// Guards were asked for a rollout.
    pub fn guards_answered(&mut self, occasion: GuardOccasion, answers: &[GuardAnswer], now: u64) {
        match answers.iter().all(|answer| answer.verdict == GuardVerdict::Passes) {
            true => drop(self.guards_passed.insert(occasion, now)),
            false => drop(self.guards_passed.remove(&occasion)),
        }
    }

    /// What is wrong with a rollout that takes servers away from now on: its guards have to have passed, and not long ago.
    fn unguarded(&self, rollout: &Rollout, before: &World, now: u64) -> Option<String> {
        let last = before.rollouts.get(&rollout.id);
        let stage = |of: &Rollout| of.replacing.as_ref().map(|of| (of.back, of.stage));
        let begins = match (last.map(|last| (last.phase, stage(last))), rollout.phase) {
            (Some((Phase::Expanding | Phase::Preparing, _)) | None, phase) => {
                !matches!(phase, Phase::Expanding | Phase::Preparing)
            }
            (Some((_, Some((false, ReplacingStage::Holding)))), Phase::Replacing) => {
                stage(rollout) == Some((false, ReplacingStage::Stopping))
                    && rollout.cut_off.is_none()
            }
            (Some((Phase::Closing, _)), Phase::Emptying) => rollout.cut_off.is_none(),
            (Some(_), _) => false,
        };
        let goes_on = rollout.failure.is_none() && !rollout.phase.finished() && !rollout.guarding;
        let service = before.services.get(&rollout.service)?;
        let serving = service.serving.as_ref()?;
        let number = if rollout.kind == Kind::Forward { rollout.to_terms() } else { serving.terms };
        let guards = &service.releases.get(&number)?.spec.guards;
        let counts = guards.iter().any(|guard| !rollout.overridden.contains(&guard.name));
        if !begins || !goes_on || !counts || serving.instances.is_empty() {
            return None;
        }
        let passed = self.passed(&GuardOccasion::Rollout(rollout.id), now);
        (!passed).then(|| format!("rollout {} takes servers away past its guards", rollout.id))
    }

    fn passed(&self, occasion: &GuardOccasion, now: u64) -> bool {
        self.guards_passed.get(occasion).is_some_and(|at| now <= at + PASS_AGE_MS)
    }

    /// What is wrong with a server that goes because more serve than are wanted, or another one took its place.
    fn unguarded_surplus(&self, instance: &InstanceId, before: &World, now: u64) -> Option<String> {
        let instance = before.instances.get(instance)?;
        let name = &instance.service;
        let set = before.services.get(name)?.serving.as_ref()?;
        let guards = &before.release(name, set.terms)?.spec.guards;
        let is_surplus = instance.state == InstanceState::Serving
            && set.instances.contains(&instance.id)
            && before.rollout_of(name).is_none();
        let passed = self.passed(&GuardOccasion::Surplus(name.clone()), now);
        (is_surplus && !guards.is_empty() && !passed)
            .then(|| format!("`{}` goes past its guards", instance.id))
    }

    /// Whether the image of a release may serve: it declares no tests, or they ran and passed.
    pub fn may_serve(&self, scenario: &Scenario, image: &Digest) -> bool {
        let behaviour = scenario.behaviour(image);
        behaviour.trouble != Trouble::TestFails
            && (!behaviour.has_tests || self.tested.contains(image))
    }

    /// What is wrong with an event that is recorded now, after `before`.
    pub fn recorded(
        &mut self,
        event: &NewEvent,
        before: &World,
        seen: (&Scenario, &SimEngine),
        now: u64,
    ) -> Option<String> {
        if let EventBody::HostStarted { .. } = &event.body {
            // What ended with the host is made anew, and counts for nothing.
            self.made.clear();
            self.scaling.clear();
            let wanted = |service: &Service| {
                let release = service.serving_release();
                release.map_or(0, |release| service.size_by(&release.spec) as usize)
            };
            let wanted = before.services.iter().map(|(name, of)| (name.clone(), wanted(of)));
            self.restored = wanted.collect();
        }
        if let EventBody::InstanceChanged { service, state: InstanceState::Created, .. } =
            &event.body
            && event.by.who == "hornero"
        {
            return self.made_by_itself(service, now);
        }
        if let EventBody::InstanceChanged { instance, state: InstanceState::Stopped, .. } =
            &event.body
            && event.by.why != "no longer needed"
        {
            return self.unguarded_surplus(instance, before, now);
        }
        if let EventBody::Scaled { service, from, to } = &event.body {
            return self.scaled(service, (*from, *to), before, now);
        }
        // Who decides knows who has a volume; that the watchdog knows it too is for the day on which it does not.
        if let EventBody::EffectRefused { invariant, reason, .. } = &event.body
            && invariant == "one-writer"
        {
            return Some(format!("one-writer: {reason}"));
        }
        if let EventBody::RolloutStep { entry } = &event.body {
            let rollout = Rollout::from_journal(&entry.state)?;
            let unguarded = self.unguarded(&rollout, before, now);
            return unguarded.or_else(|| self.entered(&rollout, seen.1, now));
        }
        if let Some(wrong) = self.came_round(&event.body, now) {
            return Some(wrong);
        }
        self.rehearsed(&event.body, before);
        if let EventBody::ReleaseProven { service, release } = &event.body {
            return self.proven(service, *release, before, seen, now);
        }
        None
    }

    /// What is wrong with another number of servers.
    fn scaled(
        &mut self,
        service: &ServiceName,
        (from, to): (u32, u32),
        before: &World,
        now: u64,
    ) -> Option<String> {
        let release = before.services.get(service)?.serving_release()?;
        let Some(scale) = &release.spec.scale else {
            return Some(format!("bounded-churn: `{service}` is scaled, which nobody declared"));
        };
        self.scaling.insert(service.clone(), to.saturating_sub(from));
        if to < scale.minimum || to > scale.maximum || from == to {
            return Some(format!("bounded-churn: `{service}` is scaled from {from} to {to}"));
        }
        if to > from {
            self.scaled_up.insert(service.clone(), now);
            return None;
        }
        // What a rush brought stays until it was over for as long as the file says.
        let up = self.scaled_up.get(service).copied().unwrap_or(0);
        let stays = scale.to_zero.filter(|_| to == 0).map_or(scale.stabilise, |of| of.idle);
        (now < up + stays.0)
            .then(|| format!("bounded-churn: `{service}` comes and goes within {}", now - up))
    }

    fn made_by_itself(&mut self, service: &ServiceName, now: u64) -> Option<String> {
        let scaling = self.scaling.entry(service.clone()).or_default();
        if *scaling > 0 {
            *scaling -= 1;
            let made = self.made_for_load.entry(service.clone()).or_default();
            made.retain(|at| now - at < 3_600_000);
            made.push(now);
            return (made.len() > FOR_LOAD_AN_HOUR).then(|| {
                format!("bounded-churn: {} of `{service}` for its load in an hour", made.len())
            });
        }
        let restored = self.restored.get(service).copied().unwrap_or(0);
        let made = self.made.entry(service.clone()).or_default();
        made.retain(|at| now - at < 3_600_000);
        made.push(now);
        (made.len() > UNREQUESTED_AN_HOUR + restored)
            .then(|| format!("bounded-churn: {} instances of `{service}` in an hour", made.len()))
    }

    /// What is wrong with a rollout that enters its next phase.
    fn entered(&self, rollout: &Rollout, engine: &SimEngine, now: u64) -> Option<String> {
        let is_clear = now >= self.clear_since + LATE_MS + LATE_MS / 2;
        let answers =
            |id: &&InstanceId| (0..=LATE_MS / 100).all(|ago| engine.answers(id, now - ago * 100));
        if rollout.stays
            && is_clear
            && let Some(old) = rollout.old.iter().find(answers)
        {
            return Some(format!("last-healthy: `{old}` would have served on"));
        }
        let last = rollout.canary.as_ref()?.judged.last()?;
        let goes_on = matches!(rollout.phase, Phase::Canary | Phase::Switching);
        (goes_on && last.verdict == "worse" && rollout.failure.is_none())
            .then(|| format!("rollout {} does worse and goes on", rollout.id))
    }

    fn proven(
        &self,
        service: &ServiceName,
        release: ReleaseNumber,
        before: &World,
        (scenario, engine): (&Scenario, &SimEngine),
        now: u64,
    ) -> Option<String> {
        let spec = &before.release(service, release)?.spec;
        if !self.may_serve(scenario, &spec.image) {
            return Some(format!("never-unproven: `{service}@{release}` is proven untested"));
        }
        let rollout = before.rollout_of(service).filter(|of| of.kind == Kind::Forward)?;
        if now < rollout.since.0 + spec.rollout.watch.0 {
            return Some(format!("never-unproven: `{service}@{release}` was not watched"));
        }
        let answers = |id| (0..=LATE_MS / 100).any(|ago| engine.answers(id, now - ago * 100));
        let silent = rollout.set.iter().find(|id| !answers(id))?;
        Some(format!("never-unproven: `{service}@{release}` is proven, and `{silent}` is silent"))
    }

    /// What is wrong with an answer: done is what is so.
    pub fn answered(
        &self,
        id: RequestId,
        outcome: &Outcome,
        world: &World,
        (edge, engine): (&SimEdge, &SimEngine),
        now: u64,
    ) -> Option<String> {
        if outcome.result != OutcomeKind::Done {
            return None;
        }
        let wrong = |what: String| Some(format!("request {} is answered `done`, and {what}", id.0));
        match self.asked.get(&id)? {
            RequestKind::Apply { services } => {
                // Those before the last one may have been changed by others since.
                let spec = services.last()?;
                let service = world.services.get(&spec.name);
                if service.and_then(|of| of.serving_release()).map(|of| &of.spec) != Some(spec) {
                    return wrong(format!("`{}` does not serve as asked", spec.name));
                }
                let set = service.and_then(|service| service.serving.as_ref())?;
                // One that died this moment is not noticed yet; one that fails once it is proven is repaired.
                let seen = |id: &&InstanceId| {
                    edge.healthy(id) || engine.answers(id, now.saturating_sub(LATE_MS))
                };
                let servers = set.instances.iter().filter(seen).count();
                let repaired = outcome.services.last().is_some_and(|of| of.rollout.is_none());
                let least = if spec.to_zero().is_some() { 0 } else { spec.instances };
                if repaired && servers < least as usize && !spec.ports.is_empty() {
                    return wrong(format!("`{}` has {servers} servers", spec.name));
                }
                let whole = [Share::whole(set.release)];
                let mut pools = edge.table().pools.iter().filter(|of| of.name.service == spec.name);
                if pools.any(|pool| pool.traffic != whole) {
                    return wrong(format!("`{}` does not get all requests", spec.name));
                }
                let declared = |port| spec.routes.iter().any(|route| route.listen == port);
                let leads = |of: &&CopyOnWrite<Listener>| {
                    let inside = matches!(of.address.ip(), IpAddr::V4(ip) if ip.octets()[0] == 10);
                    !inside && of.rules.iter().any(|rule| rule.pool.service == spec.name)
                };
                let mut listeners = edge.table().listeners.iter().filter(leads);
                if let Some(old) = listeners.find(|of| !declared(of.address.port())) {
                    return wrong(format!("`{}` is still reached at {}", spec.name, old.address));
                }
                None
            }
            RequestKind::Rollback { service, to: Some(to) } => {
                let serving = world.services.get(service).and_then(|of| of.serving.as_ref());
                if serving.map(|set| set.terms) == Some(*to) {
                    return None;
                }
                wrong(format!("`{service}@{to}` does not serve"))
            }
            RequestKind::Down { services } => {
                // By force it ends though the edge may not know yet.
                let there = services.last().filter(|name| !edge.forced.contains(*name));
                let there = there.filter(|name| {
                    edge.table().pools.iter().any(|pool| pool.name.service == **name)
                        || world.instances.values().any(|of| of.service == **name)
                });
                there.and_then(|name| wrong(format!("`{name}` is there")))
            }
            RequestKind::Preview { previews } => wrong(unshown(&previews.last()?.0, world, now)?),
            RequestKind::Bring { .. }
            | RequestKind::Rollback { to: None, .. }
            | RequestKind::End { .. }
            | RequestKind::Recycle { .. }
            | RequestKind::Cancel { .. }
            | RequestKind::Steer { .. } => None,
        }
    }

    /// A service whose requests nobody answers for long, though one of its servers would. `looks_on` is false while
    /// control or edge can't do anything about it.
    pub fn unserved(
        &mut self,
        world: &World,
        edge: &SimEdge,
        engine: &SimEngine,
        now: u64,
        looks_on: bool,
    ) -> Option<String> {
        if !looks_on || self.edge != edge.pid() {
            (self.clear_since, self.edge) = (now, edge.pid());
        }
        if !looks_on {
            self.unserved_since.clear();
            return None;
        }
        for (name, service) in &world.services {
            let able =
                |id: &&InstanceId| engine.answers(id, now) && engine.answers(id, now - LATE_MS);
            let serving = service.serving.as_ref().filter(|_| world.rollout_of(name).is_none());
            let able = serving.and_then(|set| set.instances.iter().find(able));
            match able.filter(|_| !edge.serves(name)) {
                None => {
                    self.unserved_since.remove(name);
                }
                Some(able) => {
                    let since = *self.unserved_since.entry(name.clone()).or_insert(now);
                    if now > since + UNSERVED_MS {
                        return Some(format!(
                            "no-lost-request: `{able}` answers, and no request reaches it"
                        ));
                    }
                }
            }
        }
        None
    }
}

/// What is wrong where a preview is said to be there.
fn unshown(preview: &Preview, world: &World, now: u64) -> Option<String> {
    let runs_as = preview.runs_as().ok()?;
    let serves = world.services.get(&runs_as).is_some_and(|of| of.serving.is_some());
    (preview.until.0 > now && !serves).then(|| format!("`{runs_as}` does not serve"))
}
