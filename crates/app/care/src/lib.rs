//! Care of a home: a backup while it runs, a new home from a backup, a home at another path, and what is wrong with one.

mod backup;
mod check;
mod copy;
mod error;
mod manifest;
mod parts;
mod relocate;
mod restore;

pub use backup::{BackupPlan, BackupReport, backup};
pub use check::{CheckOptions, HomeProblem, Severity, check};
pub use error::CareError;
pub use manifest::{BackupHead, BackupManifest};
pub use parts::CareStep;
pub use relocate::{Living, living, relocate};
pub use restore::{RestoreReport, restore};
