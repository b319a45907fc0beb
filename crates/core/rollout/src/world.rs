//! The world as the ledger tells it: releases, sets of instances, rollouts under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use hornero_model::{
    Actor, BootId, CanaryStep, Digest, Directory, FreezeName, GlassId, InstanceId, InstanceState,
    Intervention, JobName, Millis, Receipt, Release, ReleaseNumber, ReplacePolicy, RolloutId,
    RunEnd, ScheduleName, ServiceName, ServiceSpec, Share, StepName, Strategy, Term, Timestamp,
    VolumeName,
};

use crate::planted::{Bug, planted};
use crate::{
    DeclaredFreeze, DeclaredJob, DeclaredSchedule, FailedRelease, Instances, KnownSession,
    KnownStep, KnownVolume, Leaving, OpenPreview, OpenRun, Phase, Rehearsed, Rollout,
    SharedFailure,
};

/// Everything that follows from the events appended so far. Build it with [`World::default`] and [`World::apply`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Every service that ever had a release.
    pub services: BTreeMap<ServiceName, Service>,
    /// Instances that are not archived.
    pub instances: Instances,
    /// The last result of every test that was run of an image, by the test's name.
    pub tests: BTreeMap<Digest, BTreeMap<String, TestRecord>>,
    /// Rollouts that are not over, as their last journal entry says.
    pub rollouts: BTreeMap<RolloutId, Rollout>,
    /// The last rollout's number; 0 before the first.
    pub last_rollout: u64,
    /// The last event's number; 0 before the first.
    pub last_sequence: u64,
    /// Listeners at fault, by what was recorded last.
    pub listener_faults: BTreeMap<SocketAddr, ListenerTrouble>,
    /// The start of the host on which control last ran; none before that was recorded.
    pub boot: Option<BootId>,
    /// One-off work that has not ended, by the id of its server.
    pub runs: BTreeMap<InstanceId, OpenRun>,
    /// How the runs ended that a rollout under way waited for, by the id of their server.
    pub quiesced: BTreeMap<InstanceId, RunEnd>,
    /// Jobs that are declared.
    pub jobs: BTreeMap<JobName, DeclaredJob>,
    /// The term of the control that started last.
    pub term: Term,
    /// Freezes that are declared, by directory and name.
    pub freezes: BTreeMap<(Directory, FreezeName), DeclaredFreeze>,
    /// Schedules that are declared, by directory and name.
    pub schedules: BTreeMap<(Directory, ScheduleName), DeclaredSchedule>,
    /// Volumes, also those whose data was removed: their leases go on counting.
    pub volumes: BTreeMap<VolumeName, KnownVolume>,
    /// Previews of which something is left, by what they run as.
    pub previews: BTreeMap<ServiceName, OpenPreview>,
    /// Releases that previews ever had.
    pub previews_made: u32,
    /// What is known of going back, by service.
    pub rehearsals: BTreeMap<ServiceName, Rehearsed>,
    /// Sessions in servers: those that go on, and the last that have ended.
    pub glass: BTreeMap<GlassId, KnownSession>,
}

/// A service and its releases.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Every release, for ever.
    pub releases: BTreeMap<ReleaseNumber, Release>,
    /// Releases that passed their tests and served healthy.
    pub proven: BTreeSet<ReleaseNumber>,
    /// Releases that got all requests at some time, also those that failed then.
    pub served: BTreeSet<ReleaseNumber>,
    /// The set that gets the traffic; none before the first switch and after a removal.
    pub serving: Option<ServingSet>,
    /// The set that served before and still runs.
    pub warm: Option<WarmSet>,
    /// The receipt of the last switch.
    pub last_receipt: Option<Receipt>,
    /// The directory that declares it; none before that was recorded. [`World::owner`] says whether it counts.
    pub directory: Option<Directory>,
    /// Whether it was taken down and not brought up again.
    pub removed: bool,
    /// When instances were made in the last hour, and whether Hornero made them by itself.
    pub made: Vec<(Timestamp, bool)>,
    /// Failures of serving instances in a row: since the last rollout, or since one that had lived long.
    pub failures: u32,
    /// When the last of them happened.
    pub last_failure: Option<Timestamp>,
    /// Replacements of what is recycled that did not become healthy, in a row.
    pub recycle_failures: u32,
    /// When the last of them failed.
    pub last_recycle_failure: Option<Timestamp>,
    /// Instances that ended with the host and were not made anew yet: making them is nobody's churn.
    pub restoring: u32,
    /// When the host was started again while the service served, and which release did; the last few.
    pub host_starts: Vec<(Timestamp, ReleaseNumber)>,
    /// When a listener of the service was at fault; the last few.
    pub listener_spells: Vec<ListenerSpell>,
    /// Releases that failed and were not seen to work since.
    pub failed: BTreeMap<ReleaseNumber, FailedRelease>,
    /// That what serves fails as another release did, until somebody lets it be replaced again.
    pub shared: Option<SharedFailure>,
    /// What became of the steps of each release that was a canary, the last time that it was.
    pub canaries: BTreeMap<ReleaseNumber, Vec<CanaryStep>>,
    /// What people did to the last rollout of each release in which they did anything.
    pub interventions: BTreeMap<ReleaseNumber, Vec<Intervention>>,
    /// How many servers its load wants; none where that never counted.
    pub scaled: Option<ScaledTo>,
    /// Servers that are to be made yet because its load wants them.
    pub scaling: u32,
    /// When servers were made because of its load, within the last day.
    pub made_by_load: Vec<Timestamp>,
    /// Schema steps that were begun, by release.
    pub steps: BTreeMap<ReleaseNumber, BTreeMap<StepName, KnownStep>>,
}

/// How many servers of a service are wanted where that follows from its load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaledTo {
    /// How many.
    pub wanted: u32,
    /// Since when.
    pub since: Timestamp,
    /// Whether there was none before.
    pub woken: bool,
    /// The figures that made it so; none where it is what its release began with.
    pub why: Option<String>,
}

/// What is wrong with a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTrouble {
    /// Why, for people.
    pub reason: String,
    /// Whether it serves all the same.
    pub serves: bool,
}

/// A time during which a listener of a service was at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerSpell {
    /// Which.
    pub address: SocketAddr,
    /// The release that served then.
    pub release: ReleaseNumber,
    /// What was wrong.
    pub trouble: ListenerTrouble,
    /// Since when.
    pub from: Timestamp,
    /// Until when; none while it lasts.
    pub until: Option<Timestamp>,
}

/// The instances that get a service's traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServingSet {
    /// The release they are made from.
    pub release: ReleaseNumber,
    /// The release by whose terms they serve: their own, or one that would make the same servers.
    pub terms: ReleaseNumber,
    /// The terms from before, while it is not known yet whether those now hold.
    pub leaving: Option<Leaving>,
    /// The instances; those that failed are not among them, their replacements are.
    pub instances: BTreeSet<InstanceId>,
}

/// The instances of the release that served before, kept running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarmSet {
    /// The release they are made from.
    pub release: ReleaseNumber,
    /// The release by whose terms they served.
    pub terms: ReleaseNumber,
    /// The instances.
    pub instances: BTreeSet<InstanceId>,
    /// When they are stopped.
    pub until: Timestamp,
}

/// The last result of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRecord {
    /// Whether it passed.
    pub passed: bool,
    /// What was seen; empty where it passed.
    pub detail: String,
}

impl Service {
    /// The release that gets the traffic: the one by whose terms the serving set serves.
    pub fn serving_release(&self) -> Option<&Release> {
        self.releases.get(&self.serving.as_ref()?.terms)
    }

    /// The newest release, whether it serves or not.
    pub fn newest(&self) -> Option<&Release> {
        self.releases.last_key_value().map(|(_, release)| release)
    }

    /// The number that the next release gets.
    pub fn next_release(&self) -> ReleaseNumber {
        ReleaseNumber(self.releases.last_key_value().map_or(1, |(number, _)| number.0 + 1))
    }

    /// Instances made in the hour before `now`: all, and those that nobody asked for.
    pub fn made_last_hour(&self, now: Timestamp) -> (u32, u32) {
        const HOUR: Millis = Millis(3_600_000);
        let recent = self.made.iter().filter(|(time, _)| now.since(*time) < HOUR);
        recent.fold((0, 0), |(all, own), (_, by_itself)| (all + 1, own + u32::from(*by_itself)))
    }
}

impl World {
    /// A release by service and number.
    pub fn release(&self, service: &ServiceName, number: ReleaseNumber) -> Option<&Release> {
        self.services.get(service)?.releases.get(&number)
    }

    /// The release by whose terms the servers made from `release` serve, served or shall serve.
    pub fn terms(&self, service: &ServiceName, release: ReleaseNumber) -> ReleaseNumber {
        if let Some(rollout) = self.rollout_of(service) {
            if rollout.to == release {
                return rollout.to_terms();
            }
            if rollout.from == Some(release) {
                return rollout.from_terms().unwrap_or(release);
            }
        }
        let service = self.services.get(service);
        let serving = service.and_then(|of| of.serving.as_ref());
        let warm = service.and_then(|of| of.warm.as_ref());
        let serving = serving.filter(|set| set.release == release).map(|set| set.terms);
        let warm = || warm.filter(|set| set.release == release).map(|set| set.terms);
        serving.or_else(warm).unwrap_or(release)
    }

    /// The service spec that an instance runs.
    pub fn spec_of(&self, instance: &InstanceId) -> Option<&ServiceSpec> {
        let instance = self.instances.get(instance)?;
        self.release(&instance.service, instance.release).map(|release| &release.spec)
    }

    /// Whether the tests of an image were run and the last result of each is a pass.
    pub fn image_passed(&self, image: &Digest) -> bool {
        self.tests
            .get(image)
            .is_some_and(|tests| !tests.is_empty() && tests.values().all(|test| test.passed))
    }

    /// Whether anything of a service is there: it serves, runs, or is on its way. One whose first release failed is not.
    pub fn is_there(&self, service: &Service) -> bool {
        let runs = || self.instances.of(&service.name).next().is_some();
        let stands = || service.serving.is_some() || service.warm.is_some() || runs();
        self.rollout_of(&service.name).is_some() || (!service.removed && stands())
    }

    /// The rollout of a service that is not over; there is never more than one.
    pub fn rollout_of(&self, service: &ServiceName) -> Option<&Rollout> {
        self.rollouts.values().find(|rollout| rollout.service == *service)
    }

    /// The number that the next rollout gets.
    pub fn next_rollout(&self) -> RolloutId {
        RolloutId(self.last_rollout + 1)
    }

    /// The instances of a service that something still needs: those that serve, are kept warm, or belong to its
    /// rollout. Every other instance is on its way out.
    pub fn kept(&self, service: &ServiceName) -> BTreeSet<&InstanceId> {
        let mut kept = BTreeSet::new();
        if let Some(rollout) = self.rollout_of(service) {
            if rollout.phase.stops_everything() {
                return kept;
            }
            if rollout.phase.keeps_new_set() {
                kept.extend(&rollout.set);
            }
            if rollout.phase.keeps_old_set() {
                kept.extend(&rollout.old);
            }
        }
        if let Some(service) = self.services.get(service) {
            kept.extend(service.serving.iter().flat_map(|set| &set.instances));
            kept.extend(service.warm.iter().flat_map(|set| &set.instances));
        }
        // A set may name an instance that failed since: only what can still run is kept.
        kept.retain(|id| {
            self.instances.get(*id).is_some_and(|instance| match instance.state {
                InstanceState::Failed | InstanceState::Stopped | InstanceState::Archived => false,
                InstanceState::Created
                | InstanceState::Starting
                | InstanceState::Probing
                | InstanceState::Ready
                | InstanceState::Serving
                | InstanceState::Draining => true,
            })
        });
        kept
    }

    /// Which releases of a service new requests go to by what is recorded, first the one whose ways in are open. Empty
    /// while it has none or is going down.
    pub fn traffic(&self, service: &ServiceName) -> Vec<Share> {
        match self.rollout_of(service) {
            Some(rollout) => rollout.traffic(self),
            None => self.serving_traffic(service),
        }
    }

    /// The traffic of a service of which nothing is on its way.
    pub(crate) fn serving_traffic(&self, service: &ServiceName) -> Vec<Share> {
        let serving = self.services.get(service).and_then(|service| service.serving.as_ref());
        serving.map(|set| Share::whole(set.release)).into_iter().collect()
    }

    /// How many servers the serving set of a service shall have: as many as its terms say, or fewer while another release
    /// takes over batch by batch.
    pub fn wanted_instances(&self, service: &ServiceName) -> u32 {
        let rolling = self.rollout_of(service).filter(|of| of.phase == Phase::Rolling);
        if let Some(rolling) = rolling.and_then(|of| of.rolling.as_ref()) {
            return rolling.keep;
        }
        let wanted = self.serving_size(service);
        let replaced = self.rollout_of(service).filter(|of| of.phase == Phase::Replacing);
        replaced.map_or(wanted, |rollout| rollout.restored(wanted))
    }

    /// How many servers what serves of a service has by its terms; 0 where nothing does.
    pub fn serving_size(&self, service: &ServiceName) -> u32 {
        let service = self.services.get(service);
        let serving = service.and_then(|of| Some((of, &of.serving_release()?.spec)));
        serving.map_or(0, |(service, spec)| service.size_by(spec))
    }

    /// How many servers a release with this spec is rolled out with now.
    pub fn size_of(&self, spec: &ServiceSpec) -> u32 {
        let serving = self.services.get(&spec.name).filter(|of| of.serving.is_some());
        let size = serving.map_or(spec.instances, |service| service.size_by(spec));
        size.max(spec.scale.as_ref().map_or(0, |scale| scale.least()))
    }

    /// The release of a service whose ways in are open; none where nobody gets its requests.
    pub fn foremost(&self, service: &ServiceName) -> Option<ReleaseNumber> {
        self.traffic(service).first().map(|share| share.release)
    }

    /// Whether an actor is Hornero itself.
    pub(crate) fn is_own(actor: &Actor) -> bool {
        actor.who == "hornero"
    }
}

impl Rollout {
    /// Notes what serves now, and by whose terms.
    pub(crate) fn leave(&mut self, serving: Option<&ServingSet>) {
        self.from = serving.map(|set| set.release);
        self.old_terms = serving.filter(|set| set.terms != set.release).map(|set| set.terms);
    }

    /// Which releases shall get new requests in its phase.
    pub(crate) fn traffic(&self, world: &World) -> Vec<Share> {
        match self.phase {
            Phase::Preparing if planted(Bug::SharesTooEarly) => vec![Share::whole(self.to)],
            Phase::Expanding | Phase::Preparing | Phase::Undoing | Phase::Failed => {
                world.serving_traffic(&self.service)
            }
            Phase::Canary => self.canary_traffic().unwrap_or_default(),
            Phase::Rolling => self.rolling_traffic().unwrap_or_default(),
            Phase::Switching | Phase::Watching | Phase::Draining | Phase::Finished => {
                vec![Share::whole(self.to)]
            }
            Phase::Replacing | Phase::Returning | Phase::Clearing | Phase::RolledBack => {
                self.from.map(Share::whole).into_iter().collect()
            }
            Phase::Closing if self.guarding => world.serving_traffic(&self.service),
            Phase::Closing | Phase::Emptying | Phase::Removed => Vec::new(),
        }
    }
}

impl World {
    /// How the servers of a rollout take the place of those that can't run beside them.
    pub(crate) fn replace_policy(&self, rollout: &Rollout) -> Option<&ReplacePolicy> {
        match &self.release(&rollout.service, rollout.to_terms())?.spec.rollout.strategy {
            Strategy::Replace(policy) => Some(policy),
            Strategy::BlueGreen | Strategy::Canary(_) | Strategy::Rolling(_) => None,
        }
    }

    pub(crate) fn known_release(
        &self,
        service: &ServiceName,
        release: ReleaseNumber,
    ) -> Result<(), String> {
        match self.release(service, release) {
            Some(_) => Ok(()),
            None => Err(format!("there is no release `{service}@{release}`")),
        }
    }

    pub(crate) fn service_mut(&mut self, name: &ServiceName) -> Result<&mut Service, String> {
        self.services.get_mut(name).ok_or_else(|| format!("there is no service `{name}`"))
    }
}
