//! Events: the append-only record that everything else is derived from.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Actor, BootId, BundleSeal, ChurnBreach, Digest, Directory, ExitCause, Freeze, FreezeName,
    GlassEnd, GlassSession, GuardName, InstanceId, InstanceState, Job, JobName, LeaseToken,
    Preview, PreviewName, Receipt, RegionName, Rehearsal, RehearsalEnd, Release, ReleaseNumber,
    RolloutId, Run, RunEnd, ScheduleEnd, ScheduleName, ScheduleSpec, ServiceName, StepName,
    StepRuling, Term, Timestamp, Volume, VolumeChange, VolumeName,
};

/// An event as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number, from 1 without gaps.
    pub sequence: u64,
    /// When it was appended.
    pub time: Timestamp,
    /// Who, why and from which commit.
    #[serde(flatten)]
    pub by: Actor,
    /// What happened.
    pub body: EventBody,
    /// The hash of the event before it; 64 zeros for the first.
    pub previous: Digest,
    /// SHA-256 over the previous hash and this event's other fields.
    pub hash: Digest,
}

/// An event about to be appended.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// When.
    pub time: Timestamp,
    /// Who, why and from which commit.
    pub by: Actor,
    /// What happened.
    pub body: EventBody,
}

/// What happened. New kinds are added at the end; none is ever changed or removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventBody {
    /// A release was made.
    ReleaseCreated {
        /// The release.
        release: Box<Release>,
    },
    /// A release passed its tests and served healthy.
    ReleaseProven {
        /// The service.
        service: ServiceName,
        /// Its release.
        release: ReleaseNumber,
    },
    /// The tests of an image were run.
    ImageTested {
        /// The image.
        image: Digest,
        /// The test, by name.
        test: String,
        /// Whether it passed.
        passed: bool,
        /// What was seen; empty where it passed.
        detail: String,
    },
    /// An instance entered a state.
    InstanceChanged {
        /// The instance.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// Its release.
        release: ReleaseNumber,
        /// The state entered.
        state: InstanceState,
        /// Why it ended, where it did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<ExitCause>,
        /// The region whose engine has it; absent in `local`, and before there were regions.
        #[serde(default, skip_serializing_if = "RegionName::is_default")]
        region: RegionName,
    },
    /// A step of a rollout's journal.
    RolloutStep {
        /// The journal entry.
        entry: Box<JournalEntry>,
    },
    /// Traffic of a service was switched, and the old set drained.
    Switched {
        /// The signed receipt.
        receipt: Box<Receipt>,
    },
    /// A service was taken down.
    ServiceRemoved {
        /// The service.
        service: ServiceName,
    },
    /// The watchdog refused an effect.
    EffectRefused {
        /// The rollout, where the effect belongs to one.
        rollout: Option<RolloutId>,
        /// The effect, for people.
        effect: String,
        /// The invariant it would have broken.
        invariant: String,
        /// The facts that say so.
        reason: String,
    },
    /// The control process started; what it found is in `detail`.
    ControlStarted {
        /// Its version.
        version: String,
        /// What it resumed, for people.
        detail: String,
        /// The start of the host on which it did; absent before hosts were told apart.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        boot: Option<BootId>,
        /// Its term, which is in force from this event on; absent before there were terms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        term: Option<Term>,
    },
    /// The host was started again: nothing that ran before runs any more.
    HostStarted {
        /// Which start of it that was.
        boot: BootId,
    },
    /// The edge can't serve a listener of a service, or not as it should; or it can again.
    ListenerChanged {
        /// Where it listens, or should.
        address: SocketAddr,
        /// Why; absent once it is as it should be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<String>,
        /// Whether it serves all the same, as with the certificate from before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        serves: bool,
    },
    /// What serves of a service goes on under the terms of another release, which would make the same servers: the
    /// number of instances, the ways in, the timing. To the terms that it is leaving it goes back.
    ServiceAdjusted {
        /// The service.
        service: ServiceName,
        /// The release whose terms hold from now on.
        release: ReleaseNumber,
    },
    /// A service belongs to a directory: the first that declared it, or one that took it over.
    ServiceOwned {
        /// The service.
        service: ServiceName,
        /// The directory.
        directory: Directory,
    },
    /// Instances of a service are to be replaced by new ones of the same release, one after the other; none is any more
    /// where it names none.
    RecycleSet {
        /// The service.
        service: ServiceName,
        /// The instances.
        instances: Vec<InstanceId>,
    },
    /// A limit of churn was reached: nothing more makes or removes servers by itself until somebody lets it.
    ChurnStopped {
        /// Which limit, and what was counted.
        breach: ChurnBreach,
    },
    /// Somebody lets servers be made and removed again, and counting begins anew.
    ChurnResumed {
        /// The service; absent for the limit of the whole home.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
    },
    /// The release that serves fails as another one did: nothing of the service is made by itself until somebody lets it.
    FailureShared {
        /// The service.
        service: ServiceName,
        /// The release that serves.
        release: ReleaseNumber,
        /// The release that failed before.
        failed: ReleaseNumber,
        /// How both failed.
        failure: String,
    },
    /// One-off work was begun; its server starts after this.
    RunStarted {
        /// What runs.
        run: Box<Run>,
    },
    /// One-off work ended.
    RunEnded {
        /// How.
        end: RunEnd,
    },
    /// A job is as it says from now on.
    JobDeclared {
        /// The job.
        job: Box<Job>,
        /// The directory that declares it.
        directory: Directory,
    },
    /// A job is no longer declared.
    JobRemoved {
        /// The job.
        job: JobName,
    },
    /// Times of a job came round and nothing was begun for them.
    JobSkipped {
        /// The job.
        job: JobName,
        /// The last of those times.
        planned: Timestamp,
        /// How many times before that one were left out as well.
        missed: u32,
    },
    /// A freeze is as it says from now on.
    FreezeDeclared {
        /// The freeze.
        freeze: Freeze,
        /// The directory that declares it.
        directory: Directory,
    },
    /// A freeze is no longer declared.
    FreezeRemoved {
        /// The freeze.
        freeze: FreezeName,
        /// The directory that declared it.
        directory: Directory,
    },
    /// Somebody rolls out although a freeze holds.
    FreezeOverridden {
        /// The freeze.
        freeze: FreezeName,
        /// What is brought up.
        directory: Directory,
    },
    /// A schedule is as it says from now on.
    ScheduleDeclared {
        /// The schedule.
        schedule: Box<ScheduleSpec>,
        /// The directory that declares it.
        directory: Directory,
    },
    /// A schedule is no longer declared.
    ScheduleRemoved {
        /// The schedule.
        schedule: ScheduleName,
        /// The directory that declared it.
        directory: Directory,
    },
    /// A schedule came round, and what it says is being done.
    ScheduleBegun {
        /// The schedule.
        schedule: ScheduleName,
        /// The directory that declares it.
        directory: Directory,
        /// For when it was planned.
        planned: Timestamp,
        /// Times before that one that were missed and are not made up.
        missed: u32,
    },
    /// What a schedule had begun is over.
    ScheduleEnded {
        /// The schedule.
        schedule: ScheduleName,
        /// The directory that declares it.
        directory: Directory,
        /// How.
        end: ScheduleEnd,
    },
    /// Times of a schedule came round and nothing was done for them; the reason stands beside it.
    ScheduleSkipped {
        /// The schedule.
        schedule: ScheduleName,
        /// The directory that declares it.
        directory: Directory,
        /// The last of those times.
        planned: Timestamp,
        /// How many times before that one were left out as well.
        missed: u32,
    },
    /// Another number of servers of a service is wanted, because of its load; why says which figures did it.
    Scaled {
        /// The service.
        service: ServiceName,
        /// How many were wanted until now.
        from: u32,
        /// How many are from now on.
        to: u32,
    },
    /// A volume is declared as it says from now on.
    VolumeDeclared {
        /// The volume.
        volume: Volume,
        /// The directory that declares it.
        directory: Directory,
    },
    /// A volume is no longer declared; its data stays.
    VolumeUndeclared {
        /// The volume.
        volume: VolumeName,
        /// The directory that declared it.
        directory: Directory,
    },
    /// Something was done with the data of a volume.
    VolumeChanged {
        /// The volume.
        volume: VolumeName,
        /// What.
        change: VolumeChange,
    },
    /// A server has a volume from now on, and nobody else until it is told that the lease ended.
    VolumeLeased {
        /// The volume.
        volume: VolumeName,
        /// The lease; higher than every one before.
        lease: LeaseToken,
        /// The service.
        service: ServiceName,
        /// Its server.
        instance: InstanceId,
    },
    /// A lease ended: nothing is left of the server that had it.
    VolumeReleased {
        /// The volume.
        volume: VolumeName,
        /// The lease.
        lease: LeaseToken,
    },
    /// A preview is as it says from now on. What it shows follows as a release of the service that it runs as.
    PreviewDeclared {
        /// The preview.
        preview: Preview,
    },
    /// Nothing is left of a preview.
    PreviewRemoved {
        /// Its name.
        preview: PreviewName,
        /// The service that it showed.
        service: ServiceName,
    },
    /// A server of the release before is started beside what serves, to see that a service could go back.
    RehearsalStarted {
        /// Which.
        rehearsal: Rehearsal,
    },
    /// A rehearsal is over.
    RehearsalEnded {
        /// How.
        end: RehearsalEnd,
    },
    /// Somebody has a service's servers taken away whatever a data guard of it says.
    DataGuardOverridden {
        /// The guard.
        guard: GuardName,
        /// The service.
        service: ServiceName,
        /// The rollout that does it.
        rollout: RolloutId,
    },
    /// Somebody rolls out although a guard refuses it.
    GuardOverridden {
        /// The guard.
        guard: String,
        /// What is brought up.
        directory: Directory,
    },
    /// What there was of a server that failed is kept in a bundle.
    BundleSealed {
        /// Its digest, signed.
        seal: Box<BundleSeal>,
    },
    /// Somebody decided about a schema step that failed, or of which nobody knows whether it did its work.
    StepRuled {
        /// The service.
        service: ServiceName,
        /// The release that has the step.
        release: ReleaseNumber,
        /// The step.
        step: StepName,
        /// What.
        ruling: StepRuling,
    },
    /// A server is to be replaced, and kept as it is until then for somebody to look at.
    InstanceQuarantined {
        /// The server.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
        /// When it is removed.
        until: Timestamp,
    },
    /// Nobody needs a server any longer that was kept.
    QuarantineEnded {
        /// The server.
        instance: InstanceId,
        /// Its service.
        service: ServiceName,
    },
    /// Somebody enters a server, which is replaced because of it; recorded before anything of that is done.
    GlassBroken {
        /// The session.
        session: Box<GlassSession>,
    },
    /// Nobody is in a server any longer.
    GlassMended {
        /// How that ended.
        end: Box<GlassEnd>,
    },
}

/// One write of a rollout's journal: the whole state of its machine, opaque to all but `rollout`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JournalEntry {
    /// The rollout.
    pub rollout: RolloutId,
    /// The service.
    pub service: ServiceName,
    /// The phase entered, for people and for `status`.
    pub phase: String,
    /// Whether the rollout is over.
    pub finished: bool,
    /// The machine's state.
    pub state: serde_json::Value,
}
