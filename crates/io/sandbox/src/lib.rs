//! Starts one process in namespaces of its own, on a read-only root, with limits and least privilege.
//!
//! [`start`] assembles the root as detached mounts, clones the sandbox's first process (a tiny init that
//! reaps, forwards signals and dies with its caller), and returns a [`Running`]. No mount ever appears in the
//! host's mount namespace. Between clone and exec only system calls are made and nothing is allocated, so
//! callers may have threads.

mod error;
mod spec;

pub use error::{StartError, Step};
pub use spec::{CgroupSpec, ComposedRoot, IdMap, Profile, ProvidedFile, Root, SandboxSpec, User};

/// The kernel's own limit is 65536; more than this in one image is a mistake.
pub const MAX_GROUPS: usize = 64;
