//! Data guards: what is asked of the servers of a service before they are taken away, and what follows from the answers.

use hornero_model::{
    DataGuard, DataProbe, GuardAnswer, GuardVerdict, InstanceId, Millis, ServiceName, ServiceSpec,
    Timestamp,
};

use crate::{
    Effect, Facts, GuardOccasion, GuardQuestion, GuardRound, GuardsSeen, Kind, Phase, Rollout,
    RolloutFailure, World, record::Record, repair, view::View,
};

/// Between two times that servers are asked.
const PAUSE: Millis = Millis(500);
/// The same where commands are among what is asked: each is a server of its own.
const COMMAND_PAUSE: Millis = Millis(5_000);
/// The same where a command refused and nobody waits for it: each time that it is run is recorded.
const IDLE_PAUSE: Millis = Millis(120_000);

/// What guards mean for a rollout.
pub(crate) enum GuardOutcome {
    /// Nothing keeps it.
    Passed,
    /// They are asked, or asked again.
    Waiting,
    /// It goes no further.
    Refused(RolloutFailure),
}

/// The question of these guards to what serves of a service; none where nothing does, so that nothing can be taken away.
pub fn guard_question(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
    guards: Vec<DataGuard>,
) -> Option<GuardQuestion> {
    let set = world.services.get(service)?.serving.as_ref()?;
    let release = world.release(service, set.release)?;
    let address = |id: &InstanceId| facts.running.get(id).map(|of| of.location.address);
    let servers: Vec<_> = set.instances.iter().map(|id| (id.clone(), address(id))).collect();
    (!servers.is_empty()).then(|| GuardQuestion {
        guards,
        servers,
        release: release.reference(),
        spec: Box::new(release.spec.clone()),
    })
}

/// The guards that a rollout of a service has to pass. As everything of a rollout they are what the release says that comes,
/// so that a wrong one is mended by what is rolled out next; what goes back, or away, passes those of what serves.
pub(crate) fn guards_of<'w>(
    world: &'w World,
    service: &ServiceName,
    kind: Kind,
    coming: Option<&'w ServiceSpec>,
) -> &'w [DataGuard] {
    let serving = || {
        let set = world.services.get(service)?.serving.as_ref()?;
        Some(&world.release(service, set.terms)?.spec)
    };
    let spec = match kind {
        Kind::Forward => coming,
        Kind::Rollback | Kind::Removal => serving(),
    };
    spec.map(|spec| spec.guards.as_slice()).unwrap_or_default()
}

impl View<'_> {
    /// What is asked at a point of this rollout; none where nothing is.
    fn question(&self, round: GuardRound) -> Option<GuardQuestion> {
        let rollout = self.rollout;
        let coming = self.world.release(&rollout.service, rollout.to_terms());
        let coming = coming.map(|release| &release.spec);
        let guards = guards_of(self.world, &rollout.service, rollout.kind, coming).iter();
        // A command comes by the way of clients, which is closed by then.
        let is_asked = |guard: &&DataGuard| match guard.probe {
            DataProbe::Command(_) => round == GuardRound::First,
            _ => true,
        };
        let is_overridden = |guard: &&DataGuard| rollout.overridden.contains(&guard.name);
        let guards: Vec<DataGuard> =
            guards.filter(|guard| is_asked(guard) && !is_overridden(guard)).cloned().collect();
        let asked = !guards.is_empty() && !self.forced();
        asked.then(|| guard_question(self.world, self.facts, &rollout.service, guards))?
    }

    /// What the guards mean at this point.
    pub(crate) fn guarded(&self, round: GuardRound) -> GuardOutcome {
        let Some(question) = self.question(round) else { return GuardOutcome::Passed };
        let until = self.rollout.replacing.as_ref().map(|replacing| replacing.until);
        let until = until.filter(|_| round == GuardRound::Last);
        let over = |at: Timestamp| self.facts.now >= at;
        let servers: Vec<_> = question.servers.iter().map(|(id, _)| id).collect();
        let seen = self.seen(round).filter(|seen| seen.is_about(&question.guards, &servers));
        let failing = |seen: &&GuardsSeen| seen.failing().next().is_some();
        let Some(seen) = seen.filter(|seen| failing(seen) || seen.passed(self.facts.now)) else {
            let late = || RolloutFailure::of("its guards were not asked while requests waited");
            return match until.is_some_and(over) {
                true => GuardOutcome::Refused(late()),
                false => GuardOutcome::Waiting,
            };
        };
        if !failing(&seen) {
            return GuardOutcome::Passed;
        }
        let recent = seen.is_recent(self.facts.now);
        let is_over = |answer: &&GuardAnswer| {
            let guard = question.guards.iter().find(|guard| guard.name == answer.guard);
            let within = guard.map_or(Millis(0), |guard| guard.within);
            recent && over(seen.begun.after(within)) || until.is_some_and(over)
        };
        match seen.failing().find(is_over) {
            Some(answer) => GuardOutcome::Refused(refusal(&self.rollout.service, answer)),
            None => GuardOutcome::Waiting,
        }
    }

    fn seen(&self, round: GuardRound) -> Option<&GuardsSeen> {
        let occasion = GuardOccasion::Rollout(self.rollout.id);
        self.facts.guards.get(&occasion).filter(|seen| seen.round == round)
    }

    /// The point at which the rollout waits for its guards; none where it is at no such point.
    fn guard_round(&self) -> Option<GuardRound> {
        if self.halt().is_some() {
            return None;
        }
        match self.rollout.phase {
            Phase::Preparing => self.is_ready().then_some(GuardRound::First),
            Phase::Closing if self.rollout.guarding => Some(GuardRound::First),
            Phase::Closing => self.is_closed().then_some(GuardRound::Last),
            Phase::Replacing => self.is_quiet().then_some(GuardRound::Last),
            Phase::Expanding
            | Phase::Canary
            | Phase::Rolling
            | Phase::Switching
            | Phase::Watching
            | Phase::Draining
            | Phase::Finished
            | Phase::Undoing
            | Phase::Failed
            | Phase::Returning
            | Phase::Clearing
            | Phase::RolledBack
            | Phase::Emptying
            | Phase::Removed => None,
        }
    }

    /// When the guards are asked again; none where they are not waited for.
    fn asks_at(&self) -> Option<(GuardRound, Timestamp)> {
        let round = self.guard_round()?;
        let GuardOutcome::Waiting = self.guarded(round) else { return None };
        let question = self.question(round);
        let pause = question.map_or(PAUSE, |question| pause(&question));
        let next = self.seen(round).map(|seen| seen.at.after(pause));
        Some((round, next.unwrap_or(self.facts.now)))
    }

    /// Before anything is touched: none where nothing keeps the rollout, else what is recorded now, which may be nothing.
    pub(crate) fn kept_back(
        &self,
        round: GuardRound,
        end: impl FnOnce(RolloutFailure) -> Vec<Record>,
    ) -> Option<Option<Vec<Record>>> {
        match self.guarded(round) {
            GuardOutcome::Passed => None,
            GuardOutcome::Waiting => Some(None),
            GuardOutcome::Refused(failure) => Some(Some(end(failure))),
        }
    }
}

/// How long it is until the same is asked again.
fn pause(question: &GuardQuestion) -> Millis {
    if question.has_command() { COMMAND_PAUSE } else { PAUSE }
}

/// What servers are asked that are more than wanted; none where there are none, or nothing is asked.
fn of_surplus(world: &World, facts: &Facts, service: &ServiceName) -> Option<GuardQuestion> {
    let guards = guards_of(world, service, Kind::Removal, None);
    if guards.is_empty() {
        return None;
    }
    let spare = repair::spare(world, facts, service);
    let mut question = guard_question(world, facts, service, guards.to_vec())?;
    question.servers.retain(|(id, _)| spare.iter().any(|of| of.id == *id));
    (!question.servers.is_empty()).then_some(question)
}

/// When guards are asked whether what is more than wanted may go; none where they are not waited for.
fn surplus_at(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
) -> Option<(GuardQuestion, Timestamp)> {
    let question = of_surplus(world, facts, service)?;
    let seen = facts.guards.get(&GuardOccasion::Surplus(service.clone()));
    // Where a command was run, and there is no pass.
    let refused = |seen: &GuardsSeen| {
        let run = seen.answers.iter().any(|answer| answer.instance.is_none());
        run && seen.failing().next().is_some()
    };
    let pause = match seen.is_some_and(refused) && !is_waited_for(world, service) {
        true => IDLE_PAUSE,
        false => pause(&question),
    };
    let at = seen.map_or(facts.now, |seen| seen.at.after(pause));
    Some((question, at))
}

/// Whether somebody who asked for it waits until what is more than wanted is gone.
fn is_waited_for(world: &World, service: &ServiceName) -> bool {
    let set = world.services.get(service).and_then(|of| of.serving.as_ref());
    set.is_some_and(|set| {
        let instances = set.instances.iter().filter_map(|id| world.instances.get(id));
        let mut recycled = instances.filter_map(|instance| instance.recycle.as_ref());
        set.leaving.is_some() || recycled.any(|by| by.who != "hornero")
    })
}

/// The effect that asks whether what is more than wanted may go.
pub(crate) fn surplus_work(world: &World, facts: &Facts, service: &ServiceName) -> Option<Effect> {
    let (question, _) = surplus_at(world, facts, service).filter(|(_, at)| facts.now >= *at)?;
    Some(Effect::AskGuards {
        region: facts.region.clone(),
        occasion: GuardOccasion::Surplus(service.clone()),
        round: GuardRound::First,
        question: Box::new(question),
    })
}

/// When time alone has it asked again.
pub(crate) fn surplus_time(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
) -> Option<Timestamp> {
    surplus_at(world, facts, service).map(|(_, at)| at)
}

/// Why what is more than wanted does not go, where a guard has said so of it for as long as it is asked, and lately.
pub fn surplus_refusal(
    world: &World,
    facts: &Facts,
    service: &ServiceName,
) -> Option<RolloutFailure> {
    let seen = facts.guards.get(&GuardOccasion::Surplus(service.clone()))?;
    let guards = guards_of(world, service, Kind::Removal, None);
    // Terms that were taken back leave nothing that is more than wanted: what was said of it tells why.
    let others = of_surplus(world, facts, service).is_some_and(|question| {
        let servers: Vec<_> = question.servers.iter().map(|(id, _)| id).collect();
        !seen.is_about(guards, &servers)
    });
    if others || !seen.is_recent(facts.now) {
        return None;
    }
    let is_over = |answer: &&GuardAnswer| {
        let guard = guards.iter().find(|guard| guard.name == answer.guard);
        guard.is_some_and(|guard| facts.now >= seen.begun.after(guard.within))
    };
    Some(refusal(service, seen.failing().find(is_over)?))
}

/// The effect that asks the guards that a rollout waits for; none while they need not be asked.
pub(crate) fn work(world: &World, facts: &Facts, rollout: &Rollout) -> Option<Effect> {
    let view = View { rollout, world, facts };
    let (round, at) = view.asks_at()?;
    let question = view.question(round).filter(|_| facts.now >= at)?;
    Some(Effect::AskGuards {
        region: facts.region.clone(),
        occasion: GuardOccasion::Rollout(rollout.id),
        round,
        question: Box::new(question),
    })
}

/// When time alone moves it on.
pub(crate) fn times(world: &World, facts: &Facts, rollout: &Rollout) -> Vec<Timestamp> {
    let view = View { rollout, world, facts };
    let Some((round, at)) = view.asks_at() else { return Vec::new() };
    let seen = view.seen(round);
    let guards = view.question(round).map(|question| question.guards).unwrap_or_default();
    let ends = guards.iter().filter_map(|guard| Some(seen?.begun.after(guard.within)));
    let until = rollout.replacing.as_ref().map(|replacing| replacing.until);
    ends.chain(until).chain([at]).collect()
}

/// That a guard keeps a rollout from going on.
fn refusal(service: &ServiceName, answer: &GuardAnswer) -> RolloutFailure {
    let GuardAnswer { guard, instance, verdict, seen, .. } = answer;
    let whom = instance.as_ref().map(|id| format!(" of `{id}`")).unwrap_or_default();
    let says = match verdict {
        GuardVerdict::Passes | GuardVerdict::Refuses => format!("refuses{whom}"),
        GuardVerdict::Unanswered => format!("can't be asked{whom}"),
    };
    RolloutFailure {
        instance: instance.clone(),
        refused: Some(format!("guard.{guard}")),
        ..RolloutFailure::of(format!("guard `{guard}` of `{service}` {says}: {seen}"))
    }
}
