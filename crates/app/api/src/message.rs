//! What travels over the API.

mod rollout;

use std::net::{IpAddr, SocketAddr};

use hornero_model::{
    CanaryStep, Digest, Directory, EdgeConnections, Health, ImageName, InstanceId, InstanceState,
    Intervention, Place, Protocol, Receipt, ReleaseNumber, RolloutId, ServiceName, ServiceSpec,
    Share, Standing, Steer, Timestamp, VerifiedInstance,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rollout::{CanaryStatus, Judgement, PausedStatus, RollingStatus, RolloutStatus};

pub use crate::resume::{ResumeReport, ResumeRequest, ServiceStop};
pub use crate::run::{CancelRunRequest, RunLine, RunRequest, RunSource, RunStatus};

/// Why a request is made, and from which state of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The reason a person gave; empty for none.
    #[serde(default)]
    pub why: String,
    /// The git commit of the directory.
    #[serde(default)]
    pub commit: Option<String>,
}

/// Asks for services to run as specified.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// The services, those that others depend on first.
    pub services: Vec<ServiceSpec>,
    /// The directory that declares them and nothing else: they belong to it from now on, and what belongs to another one is
    /// refused. Absent where no directory declares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// Services of other directories that it takes over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopt: Vec<ServiceName>,
    /// Services that it declared before, and that are taken down.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<ServiceName>,
    /// How services stood when this was planned: refused where they stand otherwise. Empty where no plan is carried out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Standing>,
    /// Whether releases that failed are tried again; refused otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry_failed: bool,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for a service to go back to a proven release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The service.
    pub service: ServiceName,
    /// The release to go back to; the last proven one before the present when absent.
    #[serde(default)]
    pub to: Option<ReleaseNumber>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for services to be taken down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DownRequest {
    /// The services; every service of the home when absent.
    #[serde(default)]
    pub services: Option<Vec<ServiceName>>,
    /// Takes the one service that is named down before everything else that waits, whatever it is doing: requests in flight
    /// are cut off, and its servers end ten seconds later even where the edge does not answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for what is under way for a service to end: its rollout goes back to what served before, and its new set is taken
/// down; what waits ends before it begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRequest {
    /// The service; the one that something is under way for when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for what serves to be replaced by new servers of the same release, one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecycleRequest {
    /// A service, for all of its instances, or one instance.
    pub object: String,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks for something to be done to the rollout of a service that is under way. Operations that wait are let be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SteerRequest {
    /// The service; the one that a rollout is under way for when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// What.
    pub steer: Steer,
    /// Why.
    #[serde(default)]
    pub intent: Intent,
}

/// Asks what an apply would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The images of the directory and whether they would be baked.
    pub images: Vec<PlanImage>,
    /// The services; the digest of an image that is still to be baked is that of its last bake, or zeros.
    pub services: Vec<ServiceSpec>,
    /// The directory that declares them and nothing else; absent where no directory does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
}

/// An image in a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanImage {
    /// Its name.
    pub name: ImageName,
    /// Why it would be baked; absent when it is cached.
    #[serde(default)]
    pub bake: Option<String>,
}

/// What an apply would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanReport {
    /// The changes in the order they would be made; empty when there is nothing to do.
    pub changes: Vec<PlanChange>,
    /// What would keep them from being made, as far as it can be told before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<PlanProblem>,
    /// What was not looked at, because nothing on this host could tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_checked: Vec<NotChecked>,
    /// How the services of the directory stand, as far as the plan depends on it; for plans that are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standings: Vec<Standing>,
}

/// What would keep a change from being made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanProblem {
    /// `image` or `service`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Which of a service's routes it is, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<usize>,
    /// The file that declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line there, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column there, in characters from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The guard that says so and refuses it: `belonging` where the service belongs to another directory, `bounded-churn`
    /// where more servers would be made than may be, `failed-release` where the same failed before, `shared-failure` where
    /// what serves fails as another release did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<String>,
    /// The directory that the service belongs to, where that is the matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
}

/// What a plan did not look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NotChecked {
    /// `image` or `service`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What of it, such as `packages`.
    pub what: String,
    /// Why nothing could tell.
    pub reason: String,
    /// What to do, so that it can be.
    pub hint: String,
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanChange {
    /// `image` or `service`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What would be done: `bake`, `create`, `replace`, `repair`, `scale`, `adjust` or `remove`.
    pub action: String,
    /// Why.
    pub reason: String,
    /// The name that a service seems to have had before, or to have now, where it seems to have been renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed: Option<String>,
}

/// Asks for the tests of an image to be run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The service that the image is meant for, with the image's digest.
    pub service: ServiceSpec,
}

/// How the tests of an image went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestReport {
    /// Each test, in the image's order; empty for an image that declares none.
    pub tests: Vec<TestResult>,
    /// The last lines that the tested server wrote, where a test failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// How one test went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was seen; empty where it passed.
    pub detail: String,
}

/// One line of the streamed answer to `apply`, `rollback`, `down`, `recycle`, `cancel` and `steer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OperationLine {
    /// The request was taken; it goes on whatever becomes of the client.
    Accepted {
        /// The operation's number, for reading its lines again.
        operation: u64,
    },
    /// Something happened.
    Progress {
        /// The service it concerns.
        service: Option<ServiceName>,
        /// The rollout it belongs to.
        rollout: Option<RolloutId>,
        /// The phase, such as `starting` or `draining`.
        phase: String,
        /// A sentence for people.
        message: String,
    },
    /// It is over; the last line.
    Finished {
        /// How it ended.
        outcome: Outcome,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// In one word.
    pub result: OutcomeKind,
    /// The services it concerned, as they are now.
    pub services: Vec<ServiceOutcome>,
    /// What went wrong, where something did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How an operation ended, in one word; each has an exit code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    /// Done and read back.
    Done,
    /// Failed; what served before serves still.
    Failed,
    /// A guard or the watchdog refused it.
    Refused,
    /// The new release failed after the switch; the old one serves again.
    RolledBack,
    /// No such object.
    NotFound,
}

impl OutcomeKind {
    /// The exit code of the command line for it.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 3,
            Self::RolledBack => 4,
            Self::NotFound => 5,
        }
    }
}

/// A service after an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceOutcome {
    /// Its name.
    pub name: ServiceName,
    /// The release that serves now; none when it was taken down.
    pub release: Option<ReleaseNumber>,
    /// Its image.
    pub image: Option<Digest>,
    /// The rollout that brought it there; none where nothing had to change.
    pub rollout: Option<RolloutId>,
    /// The receipt of the switch; none where nothing had to change.
    pub receipt: Option<Receipt>,
    /// Whether the servers that ran serve on under another release, which would make the same ones: nothing was switched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adjusted: bool,
    /// Instances that were replaced by new ones of the same release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recycled: Vec<InstanceId>,
}

/// What went wrong in an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// What failed and why.
    pub reason: String,
    /// The instance that failed, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// The last lines of its log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusReport {
    /// The services.
    pub services: Vec<ServiceStatus>,
    /// The ways in.
    pub routes: Vec<RouteStatus>,
    /// The control process.
    pub control: ControlStatus,
    /// The edge; absent while it is down.
    pub edge: Option<EdgeReport>,
    /// What of the isolation this host can't do, and why.
    pub limits: Vec<SupportReport>,
    /// One-off work that has not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunStatus>,
}

/// The control process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlStatus {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// Why nothing can be written to the ledger now, as on a full disk: control decides nothing until it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal_fault: Option<String>,
    /// The witness of the ledger; absent where none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<WitnessStatus>,
    /// Whether no control process runs, so that this is what the ledger and the logs alone tell: the last one's version
    /// and start, and no process id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// How it stands with the witness of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WitnessStatus {
    /// Where it is.
    pub place: String,
    /// The event whose head it has by what this control process sent it; 0 before the first.
    pub event: u64,
    /// When it took that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
    /// Why it does not take the newest; absent where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_since: Option<Timestamp>,
}

/// The edge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EdgeReport {
    /// Its process id.
    pub pid: u32,
    /// The route table in force.
    pub generation: u64,
    /// Its version; absent where it is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether it runs another program than the control process, and is to be succeeded.
    #[serde(default)]
    pub other_program: bool,
    /// Why its last successor did not take over; it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succession_failure: Option<String>,
    /// From whom it took over; absent where it took over from nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<EdgePredecessor>,
    /// Its clients' connections; absent where it is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<EdgeConnections>,
}

/// The edge before the one that serves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EdgePredecessor {
    /// Its process id; 0 where it was too old to tell.
    pub pid: u32,
    /// Its version; absent where it was too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// From the first question to its word that it accepts nothing more, in milliseconds.
    pub took_ms: f64,
    /// Client connections that were open there when it had handed over; absent where it was too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Those that are open still; absent once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<u64>,
    /// Whether it has ended.
    pub ended: bool,
}

/// A feature of the host that the engine wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SupportReport {
    /// The feature.
    pub feature: String,
    /// What was tried, and the kernel's answer.
    pub reason: String,
    /// What is lost by it; empty where nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cost: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// The release that serves; none before the first.
    pub release: Option<ReleaseNumber>,
    /// Its image.
    pub image: Option<Digest>,
    /// The directory that it belongs to; absent where it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<Directory>,
    /// How many instances its release wants.
    pub wanted: u32,
    /// Its name and address inside Hornero's network.
    pub internal: Option<InternalAddress>,
    /// The rollout under way.
    pub rollout: Option<RolloutStatus>,
    /// Its instances, those of the serving release first.
    pub instances: Vec<InstanceStatus>,
    /// Failures in a row after which nothing more is replaced until somebody asks for it; absent where it is whole or
    /// is being made whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gave_up_after: Option<u32>,
    /// Why nothing of it is made or removed by itself; absent where that is not so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<ServiceStop>,
}

/// Where other services find a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InternalAddress {
    /// `SERVICE.internal`.
    pub name: String,
    /// What it resolves to.
    pub address: IpAddr,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStatus {
    /// Its id.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Option<Digest>,
    /// Where it is in its life.
    pub state: InstanceState,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The process id of its first process, where that is a process of control's host.
    pub pid: Option<u32>,
    /// The host that it runs on: `local` is control's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// When it was made.
    pub created: Timestamp,
    /// When it is due to be replaced for its age; absent where its service has no `max_age`, or it does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycle_due: Option<Timestamp>,
    /// Why it is to be replaced by a new one of the same release, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recycling: Option<String>,
    /// Why it ended, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What the edge last found it to be; absent where control is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Why its last check failed, where it is not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_error: Option<String>,
}

/// A way in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteStatus {
    /// Where the edge listens.
    pub listen: SocketAddr,
    /// What is spoken.
    pub protocol: Protocol,
    /// Only for this host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only below this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// The service and its port.
    pub pool: String,
    /// The port that requests are sent to by TLS instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_to: Option<u16>,
    /// The release that answers; where several do, the one whose ways in are open.
    pub release: Option<ReleaseNumber>,
    /// How its requests are shared out, where several releases answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// What is wrong with the way in, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<RouteFault>,
}

/// What is wrong with a way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RouteFault {
    /// Why.
    pub reason: String,
    /// Whether it serves all the same, as with the certificate from before.
    pub serves: bool,
}

/// A release in a service's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Its number.
    pub release: ReleaseNumber,
    /// Its image.
    pub image: Digest,
    /// The base its image was made on; absent for one made on nothing, and in old releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Whether it passed its tests and once served healthy.
    pub proven: bool,
    /// Whether it serves now.
    pub serving: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Who made it.
    pub who: String,
    /// Why.
    pub why: String,
    /// From which commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When the host was started again while this release served; it was brought up again then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_started: Vec<Timestamp>,
    /// When a way into the service was down or not as it should be while this release served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener_faults: Vec<ListenerFaultEntry>,
    /// What became of its steps as a canary, the last time that it was one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<CanaryStep>,
    /// What people did to its last rollout in which they did anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
    /// How it failed when it was last tried; absent where it did not. It is not tried again without a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<ReleaseFailure>,
}

/// How a release failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseFailure {
    /// When.
    pub at: Timestamp,
    /// Who had asked for it.
    pub who: String,
    /// Why.
    pub why: String,
    /// How it failed.
    pub reason: String,
}

/// A time during which the edge could not serve a listener, or not as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerFaultEntry {
    /// Where it listens, or should.
    pub listen: SocketAddr,
    /// Why.
    pub reason: String,
    /// Whether it served all the same, as with the certificate from before.
    pub serves: bool,
    /// Since when.
    pub from: Timestamp,
    /// Until when; absent while it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What the verification of the ledger found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// Whether every event is as it was written.
    pub intact: bool,
    /// How many events were read.
    pub events: u64,
    /// The first event that was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<u64>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Heads that a witness gave, each of which the ledger was compared with; absent where none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_heads: Option<u64>,
}

/// Asks for running servers to be compared with their images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// Only this service; every one of the home when absent.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Read and hash every content, and compare the whole root.
    #[serde(default)]
    pub full: bool,
}

/// What the comparison of running servers with their images found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// Every service that was looked at, by name.
    pub services: Vec<VerifiedService>,
}

/// A service that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedService {
    /// Its name.
    pub name: ServiceName,
    /// Its running instances; empty where nothing of it runs.
    pub instances: Vec<VerifiedInstance>,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was written.
    pub time: Timestamp,
    /// The instance that wrote it.
    pub instance: InstanceId,
    /// `stdout`, `stderr`, or `hornero` for what the shim says itself.
    pub stream: String,
    /// The text, without its line end.
    pub text: String,
}

/// The answer to a request that was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable word, such as `no_such_service`.
    pub code: String,
    /// What failed and why.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An answer without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}
