//! Starts one process in namespaces of its own, on a read-only root, with limits and least privilege.
//!
//! [`start`] assembles the root as detached mounts, clones the sandbox's first process (a tiny init that
//! reaps, forwards signals and dies with its caller), and returns a [`Running`]. No mount ever appears in the
//! host's mount namespace. Between clone and exec only system calls are made and nothing is allocated, so
//! callers may have threads.

mod calls;
mod capability;
mod cgroup;
mod check;
mod child;
mod command;
mod consumption;
mod devices;
mod ends;
mod enter;
mod error;
mod figures;
mod filter;
mod guest;
mod hierarchies;
mod identity;
mod init;
mod layers;
mod memory;
mod message;
mod module;
mod owners;
mod plan;
mod provided;
mod root;
mod running;
mod seccomp;
mod skeleton;
mod spec;
mod stage;
mod start;
mod support;
mod sys;
mod tmpfs;
mod user_namespace;
mod views;
mod volumes;

pub use cgroup::{Cgroup, Usage, groups_below, remove_parent};
pub use ends::Stdio;
pub use enter::{EnteredCommand, EntrySpec, enter};
pub use error::{StartError, Step};
pub use hierarchies::Hierarchies;
pub use hornero_model::User;
pub use memory::{MemoryRoom, memory_room};
pub use owners::settle_owners;
pub use root::Rung;
pub use running::Running;
pub use spec::{
    CgroupSpec, ComposedRoot, Fill, IdMap, MAX_GROUPS, Profile, ProvidedFile, Root, SandboxSpec,
    SecretMount, View,
};
pub use start::{Brought, Network, start, start_with};
pub use support::{ROOT_VARIABLE, Support, support};
pub use volumes::{FirstContent, VolumeMount, mount_ext4};

/// Prepares what every start of this process needs and what takes long to make (the compiled system call filter, the
/// look at the host), so that forks of it need not.
pub fn warm_up() {
    seccomp::program();
    support();
}

/// Keeps this process's memory out of core dumps, and from being read by whoever is not root.
pub fn leave_no_core() -> std::io::Result<()> {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure lives across the call; prctl takes integers only.
    let done = unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none) == 0
            && libc::prctl(libc::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
