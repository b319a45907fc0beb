//! How a new release takes over from the one before.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Millis, PortName, Share, Sticky, Timestamp};

/// How a new release takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A whole new set beside the old one, then one switch.
    BlueGreen,
    /// The same, with growing shares of the requests before the switch. At each the new release is judged beside the old
    /// one. What nothing serves beside takes over at once.
    Canary(CanaryPolicy),
    /// Batch by batch: as soon as some new servers are healthy, as many old ones go. Both releases get requests by the
    /// number of their servers until the last batch is there.
    Rolling(RollingPolicy),
    /// For servers that can't run twice: the old ones end, then the new ones are started, and requests wait meanwhile.
    Replace(ReplacePolicy),
}

/// How servers that can't run twice are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplacePolicy {
    /// How long requests may wait while no server is there.
    pub hold: Millis,
    /// How many may wait at the same time.
    pub hold_requests: u32,
    /// What is run, in the image that serves, before its servers make room for those of the release; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<Quiesce>,
    /// That snapshots of the service's volumes are taken in between, to which a release goes back that fails before
    /// anybody is let in to it; absent where it goes back to the data as it left it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotPolicy>,
}

/// Snapshots that are taken while servers are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotPolicy {
    /// How long each is kept.
    pub keep: Millis,
}

/// A command that is run while the servers that are about to be replaced still serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quiesce {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Millis,
}

/// How servers are replaced batch by batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingPolicy {
    /// How many servers may run beyond the number that is wanted, which is how many a batch has; a quarter of them where
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<u32>,
}

/// How a canary goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryPolicy {
    /// The new release's shares one after the other, each larger than the one before and less than all, in the unit of
    /// [`Share::weight`].
    pub steps: Vec<u32>,
    /// How long a step waits for a verdict.
    pub step_timeout: Millis,
    /// What is done where there is none by then.
    pub on_inconclusive: OnInconclusive,
    /// By what a client's requests stick to one of the two releases; each is shared out by itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// How sure the judge has to be, and what it lets pass, where that is not as usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgePolicy>,
    /// Requests of the edge's own that both releases get while they share what comes; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<CanaryProbe>,
}

/// How sure the judge of a canary has to be, and what it lets pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JudgePolicy {
    /// How often a release that does no worse may be called worse, in the unit of [`Share::weight`].
    pub false_alarms: u32,
    /// Requests of each release before it may be called the same or better.
    pub minimum_requests: u32,
    /// Errors more for each request that don't count, in the unit of [`Share::weight`].
    pub errors: u32,
    /// How much longer answers may take, in percent of how long they took.
    pub slowdown: u32,
    /// How much longer they may take in any case.
    pub pause: Millis,
}

/// Requests that the edge makes by itself to both releases of a canary, so that something can be said of them where little
/// comes from outside. They are counted apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryProbe {
    /// The port that is asked; each that speaks HTTP/1.1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortName>,
    /// The path of the request, a GET.
    pub path: String,
    /// How often each release is asked.
    pub interval: Millis,
}

/// What is done with a canary about which nothing can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInconclusive {
    /// It is taken back.
    Abort,
    /// It goes on to its next step.
    Promote,
    /// It stays where it is until there is a verdict, or a person decides.
    Wait,
}

/// What became of a step of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// The new release's share, in the unit of [`Share::weight`].
    pub weight: u32,
    /// The verdict on it: `better`, `worse`, `same` or `inconclusive`; `promoted` where a person waited for none.
    pub verdict: String,
    /// What the verdict follows from, for people.
    pub reasons: Vec<String>,
    /// When it was reached.
    pub judged: Timestamp,
}

impl Share {
    /// A weight as people write it, such as `12.5%`.
    pub fn percent(weight: u32) -> String {
        format!("{}%", f64::from(weight) * 100.0 / f64::from(Self::WHOLE))
    }
}

impl Default for JudgePolicy {
    fn default() -> Self {
        Self {
            false_alarms: 100,
            minimum_requests: 100,
            errors: 50,
            slowdown: 50,
            pause: Millis(5),
        }
    }
}

impl ReplacePolicy {
    /// Requests wait, and nothing else is done.
    pub const fn holding(hold: Millis, hold_requests: u32) -> Self {
        Self { hold, hold_requests, quiesce: None, snapshot: None }
    }
}

impl RollingPolicy {
    /// How many servers a batch has where `instances` are wanted: at least one.
    pub fn surge(&self, instances: u32) -> u32 {
        self.max_surge.unwrap_or_else(|| instances.div_ceil(4)).clamp(1, instances.max(1))
    }
}

impl CanaryPolicy {
    /// Its steps as people write them.
    pub fn steps_text(&self) -> String {
        let steps: Vec<String> = self.steps.iter().map(|step| Share::percent(*step)).collect();
        steps.join(", ")
    }
}
