//! Bakes images: Debian bases from the signed archive and layers on top of them.
//!
//! [`bake`] is the way in: it keeps `hornero.lock` true, fetches and verifies packages, unpacks each once into the
//! store, configures them in the sandbox, copies files and runs steps, and takes from the cache whatever has the same
//! inputs as before. [`lock()`] only makes the lock; [`forecast`] says what a bake would do; [`patch`] takes every
//! package as it is now and moves images onto their patched bases. Of an image that is there, [`ownership`] says whose
//! each file is, and [`reproduce`] bakes it again and compares.

mod accounts;
mod action;
pub mod archive;
mod bake;
mod baker;
mod changes;
mod context;
pub mod deb;
mod error;
pub mod facts;
mod heal;
mod image;
mod install;
mod limits;
mod lineage;
pub mod lock;
mod locking;
mod making;
mod outcome;
mod ownership;
mod patch;
mod placed;
pub mod progress;
mod provision;
mod rebase;
mod record;
mod reproduce;
mod root;
mod source;
pub mod sources;
mod stored;
mod supply;
mod workdir;

pub use action::{Action, Copied, CopiedKind, CopyAction, PathBytes};
pub use bake::{BakeOptions, BakedImage, BakedStep, Forecast, bake, forecast};
pub use changes::{PackageChange, PackageChangeKind, package_changes};
pub use context::BakeContext;
pub use error::BakeError;
pub use heal::PackageCacheSource;
pub use image::place::clean;
pub use lineage::recorded_elsewhere;
pub use lock::{LOCK_NAME, Lock};
pub use locking::{LockMode, architecture, lock};
pub use ownership::{Owner, Ownership, ownership};
pub use patch::{PatchOptions, PatchReport, PatchedHow, PatchedImage, patch};
pub use provision::{Environment, PlaybookAction, ProvisionAction, ProvisionKind, SecretOrigin};
pub use rebase::{RebaseError, RebaseOptions, Rebased, Rebaser, rebase};
pub use record::{BakeRecord, Moved, StepKind, StepRecord};
pub use reproduce::{Differs, FileDifference, LayerDifference, Reproduction, reproduce};
pub use source::{LayerSource, PackageSource};
