//! What runs.

use std::{collections::BTreeMap, net::SocketAddr};

use hornero_model::{
    BundleBody, Digest, Directory, EdgeConnections, Protocol, ReleaseNumber, ServiceName, Share,
    Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::access::ApiStatus;
use super::call::CallStatus;
use super::freeze::FreezeStatus;
use super::glass::GlassStatus;
use super::instance::{InstanceStatus, InternalAddress};
use super::job::JobStatus;
use super::preview::PreviewStatus;
use super::quarantine::QuarantineStatus;
use super::rehearsal::{ProofStatus, RehearsalStatus};
use super::resume::ServiceStop;
use super::rollout::RolloutStatus;
use super::run::RunStatus;
use super::schedule::ScheduleStatus;
use super::step::StepStatus;

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
    /// Jobs that are declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<JobStatus>,
    /// Freezes that have not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub freezes: Vec<FreezeStatus>,
    /// Schedules that are declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleStatus>,
    /// Previews, by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<PreviewStatus>,
    /// Which service calls which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<CallStatus>,
    /// Servers that failed in the last hour and of which there is a bundle, the newest first; a few of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<BundleBody>,
    /// Servers that are kept for somebody to look at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantined: Vec<QuarantineStatus>,
    /// Sessions in servers that are there still: those that somebody is in, or was, and that are to be replaced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<GlassStatus>,
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
    /// Why it runs with other settings than those of the home's file: that has mistakes, or can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings_fault: Option<String>,
    /// The witness of the ledger; absent where none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<WitnessStatus>,
    /// Whether no control process runs, so that this is what the ledger and the logs alone tell: the last one's version
    /// and start, and no process id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
    /// Where its API is reached beside the home's socket; empty where nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api: Vec<ApiStatus>,
    /// The newest event of the ledger of which this is: `/v1/events?after=` it misses nothing.
    #[serde(default)]
    pub sequence: u64,
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
    /// What people say of it, such as who owns it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How many instances are wanted: as many as its release says, or as its load needs.
    pub wanted: u32,
    /// How its load decides that; absent where its release does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleStatus>,
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
    /// The last proof that it could go back; null where there is none.
    #[serde(default)]
    pub proof: Option<ProofStatus>,
    /// The last rehearsal of its rollback, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalStatus>,
    /// The schema steps of the release that serves, or that is on its way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
}

/// How many servers a service has by its load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleStatus {
    /// How many are wanted now.
    pub now: u32,
    /// The fewest.
    pub minimum: u32,
    /// The most.
    pub maximum: u32,
    /// The figures that made it so; null before its load changed it for the first time.
    pub why: Option<String>,
    /// Since when it is so; null before that.
    pub since: Option<Timestamp>,
    /// Why it is not as its load wants it; absent where it is, or nothing is known of its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
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
