//! What travels over the API.

use std::net::{IpAddr, SocketAddr};

use hornero_model::{
    Digest, EdgeConnections, Health, ImageName, InstanceId, InstanceState, Protocol, Receipt,
    ReleaseNumber, RolloutId, ServiceName, ServiceSpec, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Asks what an apply would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// The images of the directory and whether they would be baked.
    pub images: Vec<PlanImage>,
    /// The services; the digest of an image that is still to be baked is that of its last bake, or zeros.
    pub services: Vec<ServiceSpec>,
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
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlanChange {
    /// `image` or `service`.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// What would be done, such as `bake`, `create`, `replace`, `repair`.
    pub action: String,
    /// Why.
    pub reason: String,
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

/// One line of the streamed answer to `apply`, `rollback` and `down`.
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
}

/// Where other services find a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InternalAddress {
    /// `SERVICE.internal`.
    pub name: String,
    /// What it resolves to.
    pub address: IpAddr,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutStatus {
    /// Its number.
    pub id: RolloutId,
    /// Its phase.
    pub phase: String,
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
    /// The host's process id of its first process.
    pub pid: Option<u32>,
    /// When it was made.
    pub created: Timestamp,
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
    /// The release that answers.
    pub release: Option<ReleaseNumber>,
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

/// An instance that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifiedInstance {
    /// Its id.
    pub id: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// The image it should equal.
    pub image: Digest,
    /// Whether it does.
    pub ok: bool,
    /// How long the comparison took, in milliseconds.
    pub millis: u64,
    /// Every difference, sorted by path.
    pub findings: Vec<DriftFinding>,
    /// Differences beyond those listed.
    #[serde(default)]
    pub left_off: u64,
}

/// One difference between a server and its image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DriftFinding {
    /// In what it differs: `mount`, `root`, `executable`, `library`, `deleted`, `process`, `object`, and of files
    /// `added`, `removed`, `kind`, `content`, `mode`, `owner`, `target`, `device`, `attributes`, `unreadable`.
    pub kind: String,
    /// Where, as inside the instance.
    pub path: String,
    /// What the image has; empty where it has nothing.
    pub expected: String,
    /// What is there; empty where nothing is.
    pub found: String,
    /// The process it was found at, in ids of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
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
