//! Figures: what instances use, what releases answer, and where instances are scraped.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_model::{
    Health, InstanceId, InstanceState, InstanceUsage, PortName, ReleaseNumber, ServiceName,
    Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What runs now uses and answers. Rates are averages over the last `seconds`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FiguresReport {
    /// When it was seen.
    pub at: Timestamp,
    /// The time that rates are told from; 0 where there is no earlier look yet, and no rates.
    pub seconds: f64,
    /// Each release behind each port of each service, as the edge counts it.
    pub releases: Vec<ReleaseFigures>,
    /// Each instance.
    pub instances: Vec<InstanceFigures>,
}

/// What a release answers behind a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseFigures {
    /// The service.
    pub service: ServiceName,
    /// Its port.
    pub port: PortName,
    /// The release that its servers were made from.
    pub release: ReleaseNumber,
    /// Requests (or TCP connections) in flight.
    pub in_flight: u64,
    /// Requests that wait for a server now, of all releases of the port.
    pub waiting: u64,
    /// Requests (or TCP connections) since the edge knows it.
    pub requests: u64,
    /// Those that failed at the edge.
    pub failed: u64,
    /// Answers of 500 and more.
    pub server_errors: u64,
    /// Requests that waited before they were let in.
    pub held: u64,
    /// Attempts beyond the first.
    pub retries: u64,
    /// What came lately; absent while nothing is known of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lately: Option<ReleaseRates>,
}

/// What came to a release lately.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseRates {
    /// Requests (or TCP connections) a second.
    pub requests_per_second: f64,
    /// Requests that failed at the edge, and answers of 500 and more, a second.
    pub errors_per_second: f64,
    /// Bytes a second to instances.
    pub bytes_in_per_second: f64,
    /// Bytes a second from instances.
    pub bytes_out_per_second: f64,
    /// How long half of the answers took to begin at the most, in milliseconds; absent where there were none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The same of 99 in a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// What an instance uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceFigures {
    /// Its id.
    pub id: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// Where it is in its life.
    pub state: InstanceState,
    /// What the edge last found it to be.
    pub health: Health,
    /// Its address, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The most memory that it may use.
    pub memory_limit_bytes: u64,
    /// The most processor time that it may use, in thousandths of a core.
    pub cpu_limit_millis: u32,
    /// Processor time that it used lately, in cores; absent while nothing is known of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// What it uses; absent where it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<InstanceUsage>,
}

/// Figures of one service or instance over time, also of one that is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FigureHistory {
    /// The service or instance.
    pub object: String,
    /// How much time each point stands for.
    pub step_seconds: u64,
    /// Oldest first; a time of which nothing is known has none.
    pub points: Vec<FigurePoint>,
}

/// What was seen within a step; averages, but for the most memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FigurePoint {
    /// When the step begins.
    pub at: Timestamp,
    /// Instances of which something is known.
    pub instances: u32,
    /// Processor time used, in cores, of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// The most memory that all of them used together, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes killed for want of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory_kills: Option<u64>,
    /// Requests a second; of a service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// Failed requests and answers of 500 and more, a second; of a service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_per_second: Option<f64>,
    /// How long half of the answers took to begin at the most, in milliseconds; of a service only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// The same of 99 in a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// Where one instance is scraped, as Prometheus' discovery by HTTP and by files reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScrapeTarget {
    /// Its address and port; always one.
    pub targets: Vec<String>,
    /// `service`, `release` and `instance`; `__metrics_path__`; what its service is labelled with as
    /// `__meta_hornero_label_NAME`.
    pub labels: BTreeMap<String, String>,
}
