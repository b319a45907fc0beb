//! What was made by the hour and by the day, beside what may be: counted from the ledger's events, and from nothing else.

use std::collections::{BTreeMap, VecDeque};

use hornero_model::{
    Budget, ChurnBreach, ChurnScope, ChurnWindow, Event, EventBody, ExitCause, InstanceId,
    InstanceState, Release, ReleaseNumber, ServiceName, Timestamp,
};

use crate::{leases::Leases, resting::Resting};

/// How much more may be made because somebody asks for it: what Hornero did by itself does not count there. A release
/// of a small service every quarter of a minute for an hour stays within it, a client in a loop does not.
const REQUESTED_FACTOR: u32 = 20;
/// Whoever decides without being asked.
const HORNERO: &str = "hornero";

/// Everything that the ledger says of churn. Build it with [`Churn::default`] and [`Churn::apply`].
#[derive(Debug, Clone, Default)]
pub struct Churn {
    services: BTreeMap<ServiceName, Tally>,
    /// The home's limit that was reached, and when.
    stopped: Option<Stopped>,
    /// What may be made in all, where that is declared.
    in_all: Option<Budget>,
    leases: Leases,
    resting: Resting,
}

/// A limit that was reached, and holds until somebody lets go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Which, and what was counted.
    pub breach: ChurnBreach,
    /// Since when.
    pub since: Timestamp,
}

/// What was made within a time, and what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The time.
    pub window: ChurnWindow,
    /// Whose servers are counted.
    pub scope: ChurnScope,
    /// How many were made in it.
    pub made: u32,
    /// How many may be.
    pub limit: u32,
}

impl Use {
    /// How many more may be made.
    pub const fn left(&self) -> u32 {
        self.limit.saturating_sub(self.made)
    }
}

/// What is counted of one service.
#[derive(Debug, Clone, Default)]
struct Tally {
    /// Servers of the last day that nobody asked for, and those that somebody did, oldest first.
    unrequested: VecDeque<Made>,
    requested: VecDeque<Made>,
    /// The same of those that its load asked for.
    for_load: VecDeque<Made>,
    /// Where each of them is found.
    found: BTreeMap<InstanceId, (ChurnScope, u64)>,
    /// What its releases say of its size.
    releases: BTreeMap<ReleaseNumber, Size>,
    /// What was declared last, or by its load is so.
    size: u32,
    is_scaled: bool,
    budget: Option<Budget>,
    /// Servers that its load still asks for.
    scaling: u32,
    /// Servers that ended with the host and were not made anew yet.
    restoring: u32,
    stopped: Option<Stopped>,
}

/// What a release says of how many servers its service has.
#[derive(Debug, Clone, Copy)]
struct Size {
    instances: u32,
    is_scaled: bool,
    budget: Budget,
}

#[derive(Debug, Clone)]
struct Made {
    at: Timestamp,
    /// The number of the event that says so.
    order: u64,
    instance: InstanceId,
}

impl Churn {
    /// Who had volumes.
    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Which services may have no server.
    pub(crate) fn resting(&self) -> &Resting {
        &self.resting
    }

    /// Takes in the next event of the ledger.
    #[allow(clippy::too_many_lines, reason = "one arm for each event")]
    pub fn apply(&mut self, event: &Event) {
        self.leases.apply(event);
        self.resting.apply(event);
        match &event.body {
            EventBody::ReleaseCreated { release } => self.declared(release),
            EventBody::ServiceAdjusted { service, release } => {
                if let Some(tally) = self.services.get_mut(service) {
                    tally.declare(*release);
                }
            }
            EventBody::InstanceChanged { instance, service, state, cause, .. } => {
                let tally = self.services.entry(service.clone()).or_default();
                tally.changed(event, instance, *state, cause.as_ref());
            }
            EventBody::Scaled { service, from, to } => {
                self.services.entry(service.clone()).or_default().scale(*from, *to);
            }
            // What ended with the host is made anew at once, and is nobody's churn.
            EventBody::HostStarted { .. } => {
                self.services.values_mut().for_each(|tally| tally.restoring = tally.size);
            }
            EventBody::ServiceRemoved { service } => {
                if let Some(tally) = self.services.get_mut(service) {
                    (tally.size, tally.restoring, tally.scaling) = (0, 0, 0);
                }
            }
            EventBody::ChurnStopped { breach } => self.stop(breach, event.time),
            EventBody::ChurnResumed { service } => self.resumed(service.as_ref()),
            EventBody::ReleaseProven { .. }
            | EventBody::ImageTested { .. }
            | EventBody::RolloutStep { .. }
            | EventBody::Switched { .. }
            | EventBody::EffectRefused { .. }
            | EventBody::ControlStarted { .. }
            | EventBody::ListenerChanged { .. }
            | EventBody::FailureShared { .. }
            | EventBody::RecycleSet { .. }
            // Who asks for one-off work has it made once, and its end is no server's.
            | EventBody::RunStarted { .. }
            | EventBody::RunEnded { .. }
            | EventBody::JobDeclared { .. }
            | EventBody::JobRemoved { .. }
            | EventBody::JobSkipped { .. }
            | EventBody::FreezeDeclared { .. }
            | EventBody::FreezeRemoved { .. }
            | EventBody::FreezeOverridden { .. }
            | EventBody::ScheduleDeclared { .. }
            | EventBody::ScheduleRemoved { .. }
            | EventBody::ScheduleBegun { .. }
            | EventBody::ScheduleEnded { .. }
            | EventBody::ScheduleSkipped { .. }
            | EventBody::VolumeDeclared { .. }
            | EventBody::VolumeUndeclared { .. }
            | EventBody::VolumeChanged { .. }
            | EventBody::VolumeLeased { .. }
            | EventBody::VolumeReleased { .. }
            | EventBody::PreviewDeclared { .. }
            | EventBody::PreviewRemoved { .. }
            | EventBody::RehearsalStarted { .. }
            | EventBody::RehearsalEnded { .. }
            | EventBody::GuardOverridden { .. }
            | EventBody::DataGuardOverridden { .. }
            | EventBody::BundleSealed { .. }
            | EventBody::StepRuled { .. }
            | EventBody::InstanceQuarantined { .. }
            | EventBody::QuarantineEnded { .. }
            | EventBody::GlassBroken { .. }
            | EventBody::GlassMended { .. }
            | EventBody::ServiceOwned { .. } => {}
        }
    }

    /// Notes that a limit was reached.
    fn stop(&mut self, breach: &ChurnBreach, since: Timestamp) {
        let stopped = Some(Stopped { breach: breach.clone(), since });
        match &breach.service {
            Some(name) => self.services.entry(name.clone()).or_default().stopped = stopped,
            None => self.stopped = stopped,
        }
    }

    /// The limit for which nothing of a service is made or removed by itself: its own, or the home's.
    pub fn stopped(&self, service: &ServiceName) -> Option<&Stopped> {
        let own = self.services.get(service).and_then(|tally| tally.stopped.as_ref());
        own.or(self.stopped.as_ref())
    }

    /// The limit of one service, or with none of the home, that was reached and still stops it.
    pub fn stopped_by(&self, service: Option<&ServiceName>) -> Option<&Stopped> {
        match service {
            Some(service) => self.services.get(service)?.stopped.as_ref(),
            None => self.stopped.as_ref(),
        }
    }

    /// Every limit that was reached and still stops something.
    pub fn all_stopped(&self) -> Vec<&Stopped> {
        let own = self.services.values().filter_map(|tally| tally.stopped.as_ref());
        self.stopped.iter().chain(own).collect()
    }

    /// What was made of one service, or with none in the whole home, beside every limit.
    pub fn uses(&self, service: Option<&ServiceName>, now: Timestamp) -> Vec<Use> {
        self.uses_before(service, u64::MAX, now)
    }

    fn uses_before(&self, service: Option<&ServiceName>, order: u64, now: Timestamp) -> Vec<Use> {
        let budget = match service {
            Some(service) => self.services.get(service).map(Tally::budget),
            None => Some(self.home_budget(now)),
        };
        let Some(budget) = budget else { return Vec::new() };
        let tallies: Vec<&Tally> = match service {
            Some(service) => self.services.get(service).into_iter().collect(),
            None => self.services.values().collect(),
        };
        let mut uses = Vec::new();
        let is_scaled = tallies.iter().any(|tally| tally.is_scaled || !tally.for_load.is_empty());
        let for_load = is_scaled.then_some(ChurnScope::Load);
        let scopes = [ChurnScope::Unrequested, ChurnScope::Requested];
        for scope in scopes.into_iter().chain(for_load) {
            for window in [ChurnWindow::Hour, ChurnWindow::Day] {
                let made = |tally: &&Tally| tally.made_within(scope, window, order, now);
                let made = tallies.iter().map(made).sum();
                uses.push(Use { window, scope, made, limit: limit(budget, scope, window) });
            }
        }
        uses
    }

    /// The limit that one more server would break; none where it may be made. What was made before it counts.
    pub(crate) fn breach(
        &self,
        service: &ServiceName,
        instance: &InstanceId,
        now: Timestamp,
    ) -> Option<ChurnBreach> {
        let (scope, order) = self.made(service, instance)?;
        let over = |of: Option<&ServiceName>| {
            let mut uses = self.uses_before(of, order, now).into_iter();
            let broken = uses.find(|one| one.scope == scope && one.made >= one.limit)?;
            let Use { window, made, limit, .. } = broken;
            // Of several that are wanted at once, those before it may not have been started either.
            let made = made.min(limit);
            Some(ChurnBreach { service: of.cloned(), scope, window, made, limit })
        };
        over(Some(service)).or_else(|| over(None))
    }

    /// The limit that was reached and for which a server may not be made.
    pub(crate) fn holds(&self, service: &ServiceName, instance: &InstanceId) -> Option<&Stopped> {
        let scope = self.made(service, instance).map(|(scope, _)| scope);
        let own = self.services.get(service).and_then(|tally| tally.stopped.as_ref());
        own.into_iter().chain(&self.stopped).find(|stopped| {
            scope != Some(ChurnScope::Requested) || stopped.breach.scope == ChurnScope::Requested
        })
    }

    fn made(&self, service: &ServiceName, instance: &InstanceId) -> Option<(ChurnScope, u64)> {
        self.services.get(service)?.found.get(instance).copied()
    }

    /// Says what may be made of all services together; none for what follows from their own budgets. It is no event: the
    /// home's owner declares it, and it holds from then on.
    pub fn limit_home(&mut self, budget: Option<Budget>) {
        self.in_all = budget;
    }

    /// What may be made in all: as it is declared, else half of what all services may make together: where so many fail at once, it is none of
    /// them that is at fault. Never less than the two largest, so that no service stops the home alone.
    fn home_budget(&self, now: Timestamp) -> Budget {
        if let Some(declared) = self.in_all {
            return declared;
        }
        let lives = |tally: &&Tally| {
            let all = [&tally.unrequested, &tally.requested, &tally.for_load];
            let newest = all.map(|made| made.back());
            let is_new = |made: &Made| now.since(made.at) < ChurnWindow::Day.span();
            tally.size > 0 || newest.into_iter().flatten().any(is_new)
        };
        let all: Vec<Budget> = self.services.values().filter(lives).map(Tally::budget).collect();
        let in_all = |part: fn(&Budget) -> u32| {
            let mut parts: Vec<u32> = all.iter().map(part).collect();
            parts.sort_unstable_by(|one, other| other.cmp(one));
            let sum = parts.iter().fold(0_u32, |sum, part| sum.saturating_add(*part));
            let two = parts.iter().take(2).fold(0_u32, |sum, part| sum.saturating_add(*part));
            two.max(sum / 2)
        };
        Budget { per_hour: in_all(|of| of.per_hour), per_day: in_all(|of| of.per_day) }
    }

    fn declared(&mut self, release: &Release) {
        let spec = &release.spec;
        let tally = self.services.entry(spec.name.clone()).or_default();
        let size = Size {
            instances: spec.instances,
            is_scaled: spec.scale.is_some(),
            budget: spec.budget(),
        };
        tally.releases.insert(release.number, size);
        tally.declare(release.number);
    }

    fn resumed(&mut self, service: Option<&ServiceName>) {
        let begin_anew = |tally: &mut Tally| {
            tally.unrequested.clear();
            tally.requested.clear();
            tally.for_load.clear();
            tally.found.clear();
            tally.stopped = None;
        };
        match service {
            Some(service) => self.services.get_mut(service).into_iter().for_each(begin_anew),
            None => {
                self.stopped = None;
                // Each service answers for its own limit still.
                let counted = self.services.values_mut().filter(|tally| tally.stopped.is_none());
                counted.for_each(begin_anew);
            }
        }
    }
}

impl Tally {
    fn changed(
        &mut self,
        event: &Event,
        instance: &InstanceId,
        state: InstanceState,
        cause: Option<&ExitCause>,
    ) {
        match (state, cause) {
            (InstanceState::Created, _) => {
                self.count(instance, event.sequence, event.time, scope(&event.by.who));
            }
            // What was never started is no server.
            (InstanceState::Stopped, Some(ExitCause::NotStarted(_))) => self.forget(instance),
            _ => {}
        }
    }

    /// Another number is wanted: whoever asks for it in Hornero's name gets no more than that.
    fn scale(&mut self, from: u32, to: u32) {
        (self.size, self.scaling) = (to, to.saturating_sub(from));
    }

    fn declare(&mut self, release: ReleaseNumber) {
        if let Some(declared) = self.releases.get(&release).copied() {
            let Size { instances, is_scaled, budget } = declared;
            // One that is scaled keeps the number that it has.
            let stays = is_scaled && self.size > 0;
            self.size = if stays { self.size } else { instances };
            (self.is_scaled, self.budget) = (is_scaled, Some(budget));
        }
    }

    fn made_mut(&mut self, scope: ChurnScope) -> &mut VecDeque<Made> {
        match scope {
            ChurnScope::Unrequested => &mut self.unrequested,
            ChurnScope::Requested => &mut self.requested,
            ChurnScope::Load => &mut self.for_load,
        }
    }

    fn budget(&self) -> Budget {
        self.budget.unwrap_or_else(|| Budget::default_for(self.size))
    }

    fn count(&mut self, instance: &InstanceId, order: u64, at: Timestamp, scope: ChurnScope) {
        if scope == ChurnScope::Unrequested && self.restoring > 0 {
            self.restoring -= 1;
            return;
        }
        let is_for_load = scope == ChurnScope::Unrequested && self.scaling > 0;
        self.scaling -= u32::from(is_for_load);
        let scope = if is_for_load { ChurnScope::Load } else { scope };
        let made = self.made_mut(scope);
        // A clock that was set back counts for as long as it takes to catch up.
        let at = made.back().map_or(at, |last| last.at.max(at));
        let is_old = |made: &Made| at.since(made.at) >= ChurnWindow::Day.span();
        let old = made.iter().take_while(|made| is_old(made)).count();
        let forgotten: Vec<Made> = made.drain(..old).collect();
        made.push_back(Made { at, order, instance: instance.clone() });
        for Made { instance, .. } in forgotten {
            self.found.remove(&instance);
        }
        self.found.insert(instance.clone(), (scope, order));
    }

    fn forget(&mut self, instance: &InstanceId) {
        if let Some((scope, order)) = self.found.remove(instance) {
            self.made_mut(scope).retain(|made| made.order != order);
        }
    }

    /// Servers made before the event `order`.
    fn made_within(
        &self,
        scope: ChurnScope,
        window: ChurnWindow,
        order: u64,
        now: Timestamp,
    ) -> u32 {
        let made = match scope {
            ChurnScope::Unrequested => &self.unrequested,
            ChurnScope::Requested => &self.requested,
            ChurnScope::Load => &self.for_load,
        };
        let first = made.partition_point(|made| now.since(made.at) >= window.span());
        let end = made.partition_point(|made| made.order < order);
        u32::try_from(end.saturating_sub(first)).unwrap_or(u32::MAX)
    }
}

fn scope(who: &str) -> ChurnScope {
    match who == HORNERO {
        true => ChurnScope::Unrequested,
        false => ChurnScope::Requested,
    }
}

const fn limit(budget: Budget, scope: ChurnScope, window: ChurnWindow) -> u32 {
    let budget = if matches!(scope, ChurnScope::Load) { budget.for_load() } else { budget };
    let own = match window {
        ChurnWindow::Hour => budget.per_hour,
        ChurnWindow::Day => budget.per_day,
    };
    match scope {
        ChurnScope::Unrequested | ChurnScope::Load => own,
        ChurnScope::Requested => own.saturating_mul(REQUESTED_FACTOR),
    }
}
