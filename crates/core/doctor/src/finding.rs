//! What one check found.

use hornero_model::HostState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a check is about.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// What the command may do.
    Rights,
    /// What the kernel has.
    Kernel,
    /// Links, forwarding and firewalls.
    Network,
    /// The home's directory and its disk.
    Home,
    /// Files, processes, memory.
    Limits,
    /// The clock.
    Clock,
    /// The home's control process and its start at boot.
    Control,
    /// What bakes need.
    Bake,
}

impl Area {
    /// The word that people and scripts read.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rights => "rights",
            Self::Kernel => "kernel",
            Self::Network => "network",
            Self::Home => "home",
            Self::Limits => "limits",
            Self::Clock => "clock",
            Self::Control => "control",
            Self::Bake => "bake",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFinding {
    /// The check's stable name.
    pub id: String,
    /// What it is about.
    pub area: Area,
    /// How this host does.
    pub state: HostState,
    /// What was observed.
    pub observed: String,
    /// What it costs; absent where it costs nothing.
    pub cost: Option<String>,
    /// The line to run, or what else to do.
    pub hint: Option<String>,
}
