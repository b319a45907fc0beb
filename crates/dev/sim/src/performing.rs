//! What becomes of effects on the simulated host: done, failed, done late, or done without a word.

use std::net::IpAddr;

use hornero_driver::{EffectId, Observation};
use hornero_model::{
    CutOff, Digest, EdgeName, EdgeRef, ExitCause, InstanceId, LeasedMount, Listener, Millis, Pool,
    ReleaseNumber, ReleaseRef, RouteTable, Run, RunEnd, ServiceName, StepPhase, TakenSnapshot,
};
use hornero_rollout::{Effect, Kind, TestOutcome, TestRun};

use crate::{Host, Trouble, host::Happening, trace};

/// How long work takes that stays, unless it is ended.
const STAYS_MS: u64 = 15_000;

impl Host {
    pub(crate) fn perform(&mut self, id: EffectId, effect: Effect) {
        if self.random.chance(self.faults.failed) {
            self.trace.note(self.now, "fails", || trace::effect(id, &effect));
            let reason = "a fault of the simulation".to_owned();
            self.observe(Observation::EffectFailed { effect: id, reason });
            return;
        }
        let edge = effect.edge_of().map(|edge| edge.edge.clone());
        if edge.as_ref().is_some_and(|edge| !self.edge_at(edge).reachable) {
            let reason = "the edge can't be reached".to_owned();
            self.observe(Observation::EffectFailed { effect: id, reason });
            return;
        }
        if let Some(edge) = &edge
            && self.faults.belated > 0
            && self.random.chance(self.faults.belated)
        {
            self.trace.note(self.now, "is late", || trace::effect(id, &effect));
            let after = self.random.between(1, 2_000);
            let edge = self.edge_at(edge).pid();
            self.schedule(after, Happening::Belated { edge, id, effect });
            let reason = "no answer in time".to_owned();
            self.observe(Observation::EffectFailed { effect: id, reason });
            return;
        }
        if !self.admits(id, &effect) {
            let text = format!("one-control: control may not {effect}, and none is newer");
            self.edge.violations.push(text);
        }
        self.trace.note(self.now, "performed", || trace::effect(id, &effect));
        self.mute = self.faults.unanswered > 0
            && !matches!(effect, Effect::RunTests { .. })
            && self.random.chance(self.faults.unanswered)
            || self.faults.unanswered_starts > 0
                && matches!(effect, Effect::StartInstance { .. })
                && self.random.chance(self.faults.unanswered_starts);
        self.done(id, effect);
        self.mute = false;
    }

    fn done(&mut self, id: EffectId, effect: Effect) {
        match effect {
            Effect::StartInstance { instance, spec, mounts, .. } => {
                self.start(instance, spec.image, &mounts);
            }
            Effect::StopInstance { instance, .. } => self.stop(instance),
            Effect::FreezeInstance { instance, .. } => {
                self.observe(Observation::InstanceFrozen { instance, stands_still: true });
            }
            Effect::RemoveInstance { instance, .. } => {
                let seen = self.engine.remove(&instance);
                self.observe(seen);
            }
            Effect::RunTests { image, .. } => self.run_tests(id, image),
            Effect::GiveAddress { service, .. } => {
                let address = Some(self.give_address(&service));
                self.observe(Observation::ServiceAddressed { effect: id, service, address });
            }
            Effect::TakeAddress { service, .. } => {
                self.take_address(&service);
                self.observe(Observation::ServiceAddressed { effect: id, service, address: None });
            }
            Effect::CarryOut { run, .. } => self.carry_out(&run),
            Effect::EndRun { run, .. } => self.end_run(&run),
            Effect::AskGuards { occasion, round, question, .. } => {
                let now = self.now;
                let answers = self.scenario.answers(&question, now);
                self.checks.guards_answered(occasion.clone(), &answers, now);
                let seen = Observation::GuardsAnswered { effect: id, occasion, round, answers };
                self.observe(seen);
            }
            Effect::TakeSnapshots { rollout, volumes, .. } => {
                let is_held = self.engine.is_written(volumes.iter().map(|(volume, _)| volume));
                let taken = |(volume, _)| TakenSnapshot { volume, snapshot: rollout.0 };
                let snapshots = volumes.into_iter().map(taken).collect();
                let done = Observation::SnapshotsTaken { rollout, snapshots };
                self.copied(id, is_held, done);
            }
            Effect::RestoreSnapshots { rollout, snapshots, .. } => {
                let is_held = self.engine.is_written(snapshots.iter().map(|(of, _)| &of.volume));
                let restored = snapshots.into_iter().map(|(of, _)| (of, 1_000 + rollout.0));
                let restored = restored.collect();
                let done = Observation::SnapshotsRestored { rollout, restored };
                self.copied(id, is_held, done);
            }
            Effect::PrepareRoutes { edge, table } => self.prepare(id, edge, &table),
            Effect::ApplyRoutes { edge, table, .. } => self.apply(id, edge, *table),
            Effect::CutInFlight { edge, service, release, generation } => {
                self.cut(id, edge, (service, release), generation);
            }
        }
    }

    fn start(&mut self, instance: InstanceId, image: Digest, mounts: &[LeasedMount]) {
        let behaviour = self.scenario.behaviour(&image);
        let seen = self.engine.start(&instance, image, behaviour, mounts, self.now);
        if let Some(volume) = self.engine.written_twice() {
            let text = format!("one-writer: two servers write to volume `{volume}`");
            self.edge.violations.push(text);
        }
        self.observe(seen);
        if let Some((at, cause)) = self.engine.fate(&instance) {
            let after = at.saturating_sub(self.now);
            self.schedule(after, Happening::Crash { instance, cause });
        }
    }

    fn stop(&mut self, instance: InstanceId) {
        let is_routed = |pool: &Pool| {
            let mut backends = pool.backends.iter();
            !self.edge.forced.contains(&pool.name.service)
                && backends.any(|backend| backend.instance == instance)
        };
        let routed = self.tables().any(|table| table.pools.iter().any(|of| is_routed(of)));
        if routed {
            let text = format!("no-lost-request: `{instance}` is stopped while routed");
            self.edge.violations.push(text);
        }
        let seen = self.engine.stop(&instance);
        // Its exit is seen as well, in any order.
        if self.random.chance(30) {
            let (cause, log_tail) = (ExitCause::Signal(15), Vec::new());
            self.observe(Observation::InstanceExited { instance, cause, log_tail });
        }
        self.observe(seen);
    }

    fn run_tests(&mut self, id: EffectId, image: Digest) {
        self.tests_run += 1;
        let behaviour = self.scenario.behaviour(&image);
        let passed = behaviour.trouble != Trouble::TestFails;
        let detail = if passed { String::new() } else { "status 500, not 200".to_owned() };
        self.checks.tested(image, passed);
        let outcome = TestOutcome { test: "serves".to_owned(), passed, detail };
        let results = behaviour.has_tests.then_some(outcome).into_iter().collect();
        let run = TestRun { results, not_run: None, log_tail: Vec::new() };
        self.observe(Observation::TestsFinished { effect: id, image, run });
    }

    fn cut(
        &mut self,
        id: EffectId,
        edge: EdgeRef,
        (service, release): (ServiceName, ReleaseNumber),
        generation: u64,
    ) {
        let now = self.now;
        let own = self.edge_at_mut(&edge.edge);
        if let Err(reason) = own.cut(&service, release, generation, now) {
            self.observe(Observation::EffectFailed { effect: id, reason });
            return;
        }
        let status = own.status();
        let of = edge.clone();
        self.observe(Observation::InFlightCut { effect: id, edge: of, service, release });
        self.observe(Observation::EdgeStatus { edge, status });
    }

    /// Volumes are copied while nobody has them, and not else.
    fn copied(&mut self, id: EffectId, is_held: bool, done: Observation) {
        let reason = "a volume is still attached".to_owned();
        match is_held {
            true => self.observe(Observation::EffectFailed { effect: id, reason }),
            false => self.observe(done),
        }
    }

    /// One-off work ends a while after it began; what was begun is not begun again, and its end is told whoever asks.
    fn carry_out(&mut self, run: &Run) {
        if !self.ledger.current().runs.contains_key(&run.id) {
            let text = format!("run `{}` is begun, and not recorded", run.id);
            self.edge.violations.push(text);
        }
        if let Some(end) = self.ended_work.get(&run.id).cloned() {
            self.observe(Observation::RunEnded { end });
            return;
        }
        if !self.work.contains_key(&run.id) {
            self.begin_step(run);
        }
        let word = run.command.get(1).map(String::as_str);
        let ends = match self.work.get(&run.id) {
            Some(ends) => *ends,
            None if word == Some("stays") => self.now + STAYS_MS,
            None => self.now + self.random.between(1, 500),
        };
        self.work.insert(run.id.clone(), ends);
        let cause = match word {
            Some("fails") => ExitCause::Code(3),
            Some("dies") => ExitCause::Signal(9),
            Some(_) | None => ExitCause::Code(0),
        };
        let duration = Millis(1);
        let end = RunEnd { id: run.id.clone(), cause, cut_off: None, duration };
        let observation = Observation::RunEnded { end };
        let after = ends.saturating_sub(self.now);
        self.schedule(
            after,
            Happening::Deliver { run: self.run, observation: Box::new(observation) },
        );
    }

    /// One-off work is ended: what was not begun by now is not begun any more, and what has ended is told as it ended.
    fn end_run(&mut self, run: &Run) {
        if self.work.get(&run.id).is_some_and(|ends| *ends <= self.now) {
            return self.carry_out(run);
        }
        let (cause, cut_off) = match self.work.contains_key(&run.id) {
            true => (ExitCause::Signal(15), Some(CutOff::Cancelled)),
            false => (ExitCause::NotStarted("it was ended before".to_owned()), None),
        };
        let end = RunEnd { id: run.id.clone(), cause, cut_off, duration: Millis(1) };
        let end = self.ended_work.entry(run.id.clone()).or_insert(end).clone();
        self.observe(Observation::RunEnded { end });
    }

    /// The one-off work that goes on.
    pub fn running_work(&self) -> Vec<InstanceId> {
        let open = self.work.iter().filter(|(_, ends)| **ends > self.now);
        open.map(|(id, _)| id).filter(|id| !self.ended_work.contains_key(*id)).cloned().collect()
    }

    /// The command of a schema step begins, which it does once; before anything of its release, or after all of others.
    fn begin_step(&mut self, run: &Run) {
        let (Some(turn), Some(release)) = (&run.step, &run.release) else { return };
        let ReleaseRef { service, number } = release;
        let begun = (release.clone(), turn.step);
        let mut wrong = Vec::new();
        if self.steps_begun.contains(&begun) {
            wrong.push("a second time".to_owned());
        }
        self.steps_begun.push(begun);
        for instance in self.ledger.current().instances.of(service) {
            let is_own = instance.release == *number;
            match turn.step.phase {
                StepPhase::Expand if is_own => wrong.push(format!("after `{}`", instance.id)),
                StepPhase::Contract if !is_own => wrong.push(format!("beside `{}`", instance.id)),
                StepPhase::Expand | StepPhase::Contract => {}
            }
        }
        let text = |how: String| format!("step `{}` of `{release}` is begun {how}", turn.step);
        self.edge.violations.extend(wrong.into_iter().map(text));
    }

    /// The address of a service: the one that is recorded, or the first that nobody has.
    fn give_address(&mut self, service: &ServiceName) -> IpAddr {
        if let Some(address) = self.addresses.get(service) {
            return *address;
        }
        let mut free = (1..=u8::MAX).map(|last| IpAddr::from([10, 8, 0, last]));
        let free = free.find(|address| !self.addresses.values().any(|taken| taken == address));
        let free = free.expect("a history has few services");
        self.addresses.insert(service.clone(), free);
        free
    }

    fn take_address(&mut self, service: &ServiceName) {
        let Some(address) = self.addresses.remove(service) else { return };
        let listens = |of: &Listener| of.address.ip() == address;
        if self.tables().any(|table| table.listeners.iter().any(|of| listens(of))) {
            let text = format!("the address of `{service}` is taken back while it is listened on");
            self.edge.violations.push(text);
        }
    }

    /// The edge does what it was given a while ago, if it is the same process still.
    pub(crate) fn perform_late(&mut self, edge: u32, id: EffectId, effect: Effect) {
        let Some(of) = effect.edge_of().cloned() else { return };
        if edge != self.edge_at(&of.edge).pid() || !self.admits(id, &effect) {
            return;
        }
        self.trace.note(self.now, "late", || effect.to_string());
        match effect {
            Effect::PrepareRoutes { table, .. } => {
                // It may have a newer one.
                if self.edge_at_mut(&of.edge).prepare(&table).is_ok() {
                    self.note_prepared(&of.edge, &table);
                }
            }
            Effect::ApplyRoutes { table, .. } => {
                // It may have a newer one.
                let _ = self.put_in_force(&of, *table);
            }
            Effect::CutInFlight { service, release, generation, .. } => {
                let now = self.now;
                // It may have another table.
                let _ = self.edge_at_mut(&of.edge).cut(&service, release, generation, now);
            }
            Effect::StartInstance { .. }
            | Effect::StopInstance { .. }
            | Effect::RemoveInstance { .. }
            | Effect::FreezeInstance { .. }
            | Effect::GiveAddress { .. }
            | Effect::TakeAddress { .. }
            | Effect::CarryOut { .. }
            | Effect::EndRun { .. }
            | Effect::TakeSnapshots { .. }
            | Effect::RestoreSnapshots { .. }
            | Effect::AskGuards { .. }
            | Effect::RunTests { .. } => {}
        }
    }

    /// What is wrong with a table that the edge would put in force.
    fn check_table(&mut self, edge: &EdgeName, table: &RouteTable) {
        if table.generation <= self.edge_at(edge).table().generation {
            return;
        }
        let mut wrong: Vec<String> = self.unprepared(edge, table).into_iter().collect();
        for pool in &table.pools {
            for backend in &pool.backends {
                let shown = pool.preview_weight(backend.release) > 0;
                let (instance, own) = (&backend.instance, pool.receives(backend.release));
                let receives = own || shown;
                let of_preview = backend.release.is_of_preview();
                if of_preview != shown && pool.name.service.preview().is_none() && receives {
                    wrong.push(format!("`{instance}` of a preview gets more than its share"));
                }
                let forced = self.edge.forced.contains(&pool.name.service);
                if self.engine.was_stopped(instance) && !forced {
                    wrong.push(format!("no-lost-request: `{instance}` is routed to and stopped"));
                }
                let image = self.engine.image(instance);
                if receives
                    && image.is_some_and(|image| !self.checks.may_serve(&self.scenario, &image))
                {
                    wrong.push(format!("never-unproven: `{instance}` gets traffic"));
                }
            }
        }
        self.edge.violations.extend(wrong);
    }

    fn prepare(&mut self, id: EffectId, edge: EdgeRef, table: &RouteTable) {
        let generation = table.generation;
        match self.edge_at_mut(&edge.edge).prepare(table) {
            Err(reason) => self.observe(Observation::EffectFailed { effect: id, reason }),
            Ok(()) => {
                self.note_prepared(&edge.edge, table);
                self.observe(Observation::RoutesPrepared { edge, generation });
            }
        }
    }

    /// An edge takes a table, whether it still has it prepared or not.
    fn put_in_force(&mut self, edge: &EdgeRef, table: RouteTable) -> Result<(), String> {
        self.check_table(&edge.edge, &table);
        let going_down = self.going_down();
        let own = match self.others.of(&edge.edge) {
            Some(other) => other,
            None => &mut self.edge,
        };
        own.apply(table, &self.engine, self.now, &going_down)
    }

    fn apply(&mut self, id: EffectId, edge: EdgeRef, table: RouteTable) {
        let generation = table.generation;
        match self.put_in_force(&edge, table) {
            Err(reason) => self.observe(Observation::EffectFailed { effect: id, reason }),
            Ok(()) => {
                let own = self.edge_at_mut(&edge.edge);
                let (counters, status) = (own.confirms(), own.status());
                let (of, switch_ms) = (edge.clone(), 1.5);
                self.observe(Observation::RoutesApplied {
                    edge: of,
                    generation,
                    switch_ms,
                    counters,
                });
                self.observe(Observation::EdgeStatus { edge, status });
            }
        }
    }

    /// Services that a removal is recorded for, and those of which the ledger does not say that they serve.
    fn going_down(&self) -> Vec<ServiceName> {
        let world = self.ledger.current();
        let removal =
            |name: &ServiceName| world.rollout_of(name).is_some_and(|of| of.kind == Kind::Removal);
        let free = world.services.values().filter(|of| of.serving.is_none() || removal(&of.name));
        free.map(|service| service.name.clone()).collect()
    }
}
