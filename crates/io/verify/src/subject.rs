//! What is compared with its image.

use hornero_model::FileIdentity;

/// An instance as whoever started it knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceUnderTest {
    /// The host's process id of its command.
    pub pid: u32,
    /// Its scratch directories, absolute; `/tmp` and `/dev/shm` need not be among them.
    pub scratch: Vec<String>,
    /// Where it has volumes, absolute: what lies there is no part of its image.
    pub volumes: Vec<String>,
    /// The files laid over its root, absolute, such as `/etc/resolv.conf`.
    pub files: Vec<String>,
    /// The file that its root's metadata was mounted from; none where that is not known. The kernel does not tell it
    /// of a mount that is only a layer of another.
    pub metadata: Option<FileIdentity>,
}
