//! Compares running servers and directory trees with the image they should equal.
//!
//! [`Verifier`] looks at an instance as the kernel has it: its mounts, its root, and what its processes
//! execute and have mapped as code. [`verify_tree`] compares a whole directory, file by file. Both only
//! read, follow no symbolic link, and name what differs; what is to be done about it is the caller's.

mod attributes;
mod compare;
mod content;
mod error;
mod instance;
mod look;
mod mapped;
mod mounts;
mod outline;
mod processes;
mod report;
mod subject;
mod tree;
mod walk;

pub use error::{Result, VerifyError};
pub use hornero_model::Depth;
pub use instance::Verifier;
pub use report::{Checked, FINDINGS_MAX, Finding, FindingKind, Report};
pub use subject::InstanceUnderTest;
pub use tree::verify_tree;
