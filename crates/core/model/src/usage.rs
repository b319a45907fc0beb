//! What an instance uses of its host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What one instance uses, read at one moment. Totals grow from its start; what the kernel can't tell is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InstanceUsage {
    /// Memory in bytes, page cache included.
    pub memory_bytes: u64,
    /// The most that ever was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// Time in which it was ready to run and over its processor limit, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_us: Option<u64>,
    /// Processes and threads.
    pub processes: u64,
    /// Open file descriptors of all its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<u64>,
    /// Processes of it that the kernel killed for want of memory.
    #[serde(default)]
    pub out_of_memory_kills: u64,
    /// Time in which something of it waited for processor, memory or disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

/// Time in which at least one task of a group waited for want of something, in microseconds (the kernel's pressure stall
/// information, `Documentation/accounting/psi.rst`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// For a processor.
    pub cpu_us: u64,
    /// For memory.
    pub memory_us: u64,
    /// For a disk.
    pub io_us: u64,
}
