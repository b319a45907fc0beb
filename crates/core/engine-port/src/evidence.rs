//! What an engine can tell of an instance that is sick or has ended.

use std::collections::BTreeMap;

use hornero_model::{Digest, GroupFigures};
use serde::{Deserialize, Serialize};

/// What was seen of one instance. Nothing of it was looked at for secrets yet, but that nothing was read where secrets of the
/// instance are mounted, and neither its environment nor its memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Whether everything in it stood still while it was looked at.
    pub frozen: bool,
    /// Its processes, by id.
    pub processes: Vec<ObservedProcess>,
    /// Sockets of its network.
    pub sockets: Vec<ObservedSocket>,
    /// What its control group has counted.
    pub group: Option<GroupFigures>,
    /// What it wrote to its writable directories, by path.
    pub scratch: Vec<ScratchFile>,
    /// The small ones of these files, by path.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// What the kernel wrote about it.
    pub kernel: Vec<String>,
    /// What could not be seen.
    pub missed: Vec<MissedPart>,
}

/// Something that was not seen, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedPart {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Evidence {
    /// Says that something was not seen.
    pub fn miss(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.missed.push(MissedPart { what: what.into(), why: why.into() });
    }
}

/// A process, with ids as the host has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedProcess {
    /// Its id.
    pub pid: u32,
    /// That of its parent.
    pub parent: u32,
    /// What its program calls itself.
    pub name: String,
    /// What it does, by the kernel's letter: `R` runs, `S` and `D` wait, `Z` has ended.
    pub state: String,
    /// Its command line.
    pub command: Vec<String>,
    /// Memory that it has in fact, in bytes.
    pub resident_bytes: u64,
    /// Its threads, the first one included.
    pub threads: Vec<ObservedThread>,
    /// Its limits, as the kernel writes them.
    pub limits: Vec<String>,
    /// Its open files, by number.
    pub files: BTreeMap<u32, String>,
    /// Files that are mapped, with the bytes that are.
    pub mapped: BTreeMap<String, u64>,
}

/// A thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedThread {
    /// Its id.
    pub id: u32,
    /// What it calls itself.
    pub name: String,
    /// The kernel's letter.
    pub state: String,
    /// The function of the kernel in which it waits; empty where it does not.
    pub waits_in: String,
    /// Its stack in the kernel, the innermost first; nothing where the kernel does not show it.
    pub stack: Vec<String>,
}

/// A socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedSocket {
    /// `tcp`, `tcp6`, `udp`, `udp6` or `unix`.
    pub kind: String,
    /// Its own address, or path.
    pub local: String,
    /// The other end's.
    pub remote: String,
    /// The state's name; empty where the kind has none.
    pub state: String,
    /// What waits in it to be read, in bytes; where it listens, connections that wait to be taken.
    pub waiting: u64,
}

impl ObservedSocket {
    /// The port that it listens on.
    pub fn listens_on(&self) -> Option<u16> {
        let listens = self.kind.starts_with("tcp") && self.state == "listen";
        let port = self.local.rsplit_once(':').filter(|_| listens);
        port?.1.parse().ok()
    }
}

/// A file, directory or other entry of a writable directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScratchFile {
    /// Its path inside.
    pub path: String,
    /// `file`, `directory`, `link`, `socket`, `pipe` or `other`.
    pub kind: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// What a file holds; none where it was not read to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Why its content is not kept, where it is not for its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}
