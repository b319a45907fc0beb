//! Receipts: the signed record of one switch of traffic.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Actor, Batched, CanaryStep, Digest, Intervention, ReleaseNumber, RolloutId, ServiceName,
    Timestamp,
};

/// What a receipt says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiptBody {
    /// Its number; that of the rollout it belongs to.
    pub id: RolloutId,
    /// The service.
    pub service: ServiceName,
    /// The release that served before; none for the first.
    pub from: Option<ReleaseNumber>,
    /// The release that serves now.
    pub to: ReleaseNumber,
    /// The image that served before.
    pub from_image: Option<Digest>,
    /// The image that serves now.
    pub to_image: Digest,
    /// The route table that made the switch.
    pub generation: u64,
    /// When the switch was done.
    pub switched: Timestamp,
    /// How long the edge took to make the switch, in milliseconds; or for how long it held requests, where servers were
    /// replaced in their place.
    pub switch_ms: f64,
    /// How many edges made the switch; absent in receipts from before edges were counted, and where nothing is routed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<u32>,
    /// From the first edge's confirmation of the switch to the last one's, in milliseconds: 0 with one edge; absent with
    /// `edges`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew_ms: Option<f64>,
    /// From the request for the rollout to the switch, in milliseconds.
    pub total_ms: f64,
    /// Requests in flight on the old set at the switch that then ended by themselves.
    pub drained: u64,
    /// Requests still in flight when the drain timeout cut them off.
    pub cut_off: u64,
    /// Requests that failed at the edge, on either set, from the switch to the end of the drain.
    pub requests_failed: u64,
    /// Whether the old set was still running when it became the target of a rollback.
    pub warm: bool,
    /// What became of each step of a canary; left out of other rollouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<CanaryStep>,
    /// What people did to the rollout while it was under way; left out where nobody did anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interventions: Vec<Intervention>,
    /// Requests and connections that waited at the edge until a server was there again. This and the next two are left out
    /// where servers were not replaced in their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<u64>,
    /// The time without service, in milliseconds: from when the servers that left were told to stop until the edge had
    /// confirmed that requests go to those that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable_ms: Option<f64>,
    /// The snapshot of the service's volume that was taken in between, such as `orders@3`; left out where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// That it went batch by batch for want of room; left out where there was enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batched: Option<Batched>,
    /// Why the release that was rolled out was taken back, where this is the switch back to what served before; left out of
    /// every other receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<String>,
    /// Who asked for it, and why.
    #[serde(flatten)]
    pub by: Actor,
}

/// A receipt with its signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// What it says.
    #[serde(flatten)]
    pub body: ReceiptBody,
    /// Ed25519 over the body as JSON, in lower-case hex.
    pub signature: String,
    /// The public key that verifies it, in lower-case hex.
    pub key: String,
}
