//! Bakes images: Debian bases from the signed archive and layers on top of them.
//!
//! [`bake`] is the way in: it keeps `hornero.lock` true, fetches and verifies packages, unpacks each once into the
//! store, configures them in the sandbox, copies files and runs steps, and takes from the cache whatever has the same
//! inputs as before. [`lock()`] only makes the lock; [`forecast`] says what a bake would do, [`forecast_packages`] whether
//! its packages are there; [`patch`] takes every
//! package as it is now and moves images onto their patched bases. Of an image that is there, [`ownership`] says whose
//! each file is, and [`reproduce`] bakes it again and compares.

mod accounts;
mod action;
mod bake;
mod baked;
mod baker;
mod changes;
mod clean;
mod context;
mod declared;
mod error;
pub mod facts;
mod fit;
mod foresight;
mod heal;
mod image;
mod install;
mod kept;
mod key_files;
mod limits;
mod line;
mod lineage;
mod locking;
mod maker;
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
mod resolving;
mod scan;
mod source;
pub mod sources;
mod stored;
mod supply;
mod surroundings;
mod workdir;

pub use action::{
    Action, Copied, CopiedKind, CopyAction, PathBytes, PlaybookAction, ProvisionAction,
    ProvisionKind, SecretOrigin,
};
pub use bake::{BakeOptions, Forecast, bake, forecast};
pub use baked::{BakedImage, BakedStep};
pub use changes::{PackageChange, PackageChangeKind, package_changes};
pub use context::BakeContext;
pub use error::{BakeError, RebaseError};
pub use foresight::{PackagesForecast, forecast_packages};
pub use heal::PackageCacheSource;
pub use hornero_apt::{LOCK_NAME, Lock, architecture, fetch::Patience, resolve::Unsatisfiable};
pub use hornero_rebase::RebaseRefusal;
pub use image::place::clean;
pub use lineage::recorded_elsewhere;
pub use locking::{LockMode, lock};
pub use ownership::{Owner, Ownership, ownership};
pub use patch::{PatchOptions, PatchReport, PatchedHow, PatchedImage, patch};
pub use provision::Environment;
pub use rebase::{RebaseOptions, Rebased, Rebaser, rebase};
pub use record::{BakeRecord, Moved, StepKind, StepRecord};
pub use reproduce::{Differs, FileDifference, LayerDifference, Reproduction, reproduce};
pub use source::{LayerSource, PackageSource};
