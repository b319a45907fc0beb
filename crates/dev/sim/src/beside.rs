//! What control does beside its driver in a history: schedules that come round, and rehearsals.

use hornero_calendar::{RoundState, RoundStep, Schedule, round_step};
use hornero_driver::{OutcomeKind, RequestKind};
use hornero_model::{
    Actor, Directory, EventBody, InstanceId, Millis, Rehearsal, RehearsalEnd, ReleaseRef,
    ScheduleEnd, ScheduleResult, ScheduleSpec, ServiceName, ServiceSpec, Timestamp,
};
use hornero_rollout::{DeclaredSchedule, last_proven, stale_rollback};

use crate::{Simulation, keepers::SimulatedScheduleKey};

impl Simulation {
    /// Declares a schedule.
    pub fn declare_schedule(&mut self, directory: &Directory, schedule: ScheduleSpec) {
        let (schedule, directory) = (Box::new(schedule), directory.clone());
        self.record("declared", EventBody::ScheduleDeclared { schedule, directory });
    }

    /// Nothing comes round any more.
    pub fn remove_schedules(&mut self) {
        let Some(driver) = &self.driver else { return };
        let keys: Vec<SimulatedScheduleKey> = driver.world().schedules.keys().cloned().collect();
        for (directory, schedule) in keys {
            self.record("declared no more", EventBody::ScheduleRemoved { schedule, directory });
        }
    }

    /// Begins a rehearsal of what a service would go back to, where there is something; it ends a while later.
    pub fn rehearse(&mut self, service: &ServiceName, takes_ms: u64, works: bool) {
        let Some(driver) = &self.driver else { return };
        let world = driver.world();
        let is_open = |of: &Rehearsal| of.release.service == *service;
        if world.open_rehearsals().any(|run| is_open(&run.rehearsal)) {
            return;
        }
        let Some(number) = last_proven(world, service) else { return };
        self.keepers.rehearsed += 1;
        let id = InstanceId::new(format!("rehearse-{service}-{:06}", self.keepers.rehearsed));
        let id = id.expect("a valid id");
        let release = ReleaseRef { service: service.clone(), number };
        let rehearsal = Rehearsal { id: id.clone(), release };
        if self.record("rehearsed", EventBody::RehearsalStarted { rehearsal }) {
            self.keepers.rehearsals.insert(id, (self.host.now + takes_ms, works));
        }
    }

    /// Asks for a release as the API does for a service that wants a fresh proof: what has none is rehearsed instead. Whether
    /// it was rolled out.
    pub fn bring_carefully(&mut self, spec: &ServiceSpec, rehearsal: (u64, bool)) -> bool {
        let Some(driver) = &self.driver else { return false };
        let stale = stale_rollback(driver.world(), driver.facts(), spec);
        if stale.is_some() {
            let (takes_ms, works) = rehearsal;
            self.rehearse(&spec.name, takes_ms, works);
            return false;
        }
        if let Some(wrong) = self.host.checks.unproven_way_back(&spec.name, driver.world()) {
            self.fail(&wrong);
        }
        self.request(RequestKind::Apply { services: vec![spec.clone()] });
        true
    }

    /// Looks at what comes round and what has ended, as control's own keepers do.
    pub(crate) fn look_beside(&mut self) {
        self.end_rehearsals();
        let declared: Vec<DeclaredSchedule> = match &self.driver {
            Some(driver) => driver.world().schedules.values().cloned().collect(),
            None => return,
        };
        for one in &declared {
            if self.driver.is_some() {
                self.look_at_schedule(one);
            }
        }
    }

    fn look_at_schedule(&mut self, declared: &DeclaredSchedule) {
        let DeclaredSchedule { schedule, directory, since, .. } = declared;
        let key = (directory.clone(), schedule.name.clone());
        let turn = self.keepers.turns.get(&key).copied();
        if let Some((planned, request)) = turn
            && let Some(outcome) = self.host.answers.get(&request)
        {
            let result = match outcome.result {
                OutcomeKind::Done => ScheduleResult::Done,
                OutcomeKind::Failed
                | OutcomeKind::Refused
                | OutcomeKind::RolledBack
                | OutcomeKind::NotFound => ScheduleResult::Failed,
            };
            self.keepers.turns.remove(&key);
            self.end_turn(key, planned, result);
            return;
        }
        if let (Some(run), None) = (declared.running(), turn) {
            self.end_turn(key, run.planned, ScheduleResult::Unknown);
            return;
        }
        let times = Schedule::new(&schedule.when.line, &schedule.when.timezone);
        let times = times.expect("a valid line");
        let missed = schedule.missed;
        let state = RoundState { since: *since, busy: turn.is_some(), missed, freezes: &[] };
        let (directory, name) = key.clone();
        match round_step(&times, state, Timestamp(self.host.now)) {
            RoundStep::Wait { .. } => {}
            RoundStep::Skip { planned, missed, .. } => {
                let schedule = name;
                let body = EventBody::ScheduleSkipped { schedule, directory, planned, missed };
                self.record("it is left out", body);
            }
            RoundStep::Begin { planned, missed, .. } => {
                let schedule = name;
                let body = EventBody::ScheduleBegun { schedule, directory, planned, missed };
                let service = declared.schedule.services.first().cloned();
                if let (true, Some(service)) = (self.record("it came round", body), service) {
                    let kind = RequestKind::Recycle { service, instance: None };
                    let request = self.request(kind);
                    if self.driver.is_some() {
                        self.keepers.turns.insert(key, (planned, request));
                    }
                }
            }
        }
    }

    fn end_turn(&mut self, key: SimulatedScheduleKey, planned: Timestamp, result: ScheduleResult) {
        let (directory, schedule) = key;
        let end = ScheduleEnd { planned, result, detail: String::new(), exit: None };
        self.record("it ended", EventBody::ScheduleEnded { schedule, directory, end });
    }

    /// Ends rehearsals whose time is over, and those that a control before this one began: these prove nothing.
    fn end_rehearsals(&mut self) {
        let Some(driver) = &self.driver else { return };
        let open: Vec<InstanceId> =
            driver.world().open_rehearsals().map(|run| run.rehearsal.id.clone()).collect();
        for id in open {
            let known = self.keepers.rehearsals.get(&id).copied();
            if known.is_some_and(|(due, _)| self.host.now < due) {
                continue;
            }
            self.keepers.rehearsals.remove(&id);
            let works = known.is_some_and(|(_, works)| works);
            let healthy_after = works.then_some(Millis(700));
            let failure = if works { String::new() } else { "it did not answer".to_owned() };
            let end = RehearsalEnd { id, healthy_after, failure };
            self.record("it ended", EventBody::RehearsalEnded { end });
        }
    }

    /// Whether control recorded something that its driver does not decide; it may die of it.
    fn record(&mut self, why: &str, body: EventBody) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        let result = driver.record(&Actor::hornero(why), body, &mut self.host);
        let is_recorded = result.is_ok() && !self.host.crashed;
        self.after(result);
        is_recorded && self.driver.is_some()
    }
}
