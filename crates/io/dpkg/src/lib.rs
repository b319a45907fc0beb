//! Stands in for dpkg while an image is baked: unpacks package files into layers, says in which order packages are
//! unpacked and configured, merges them as dpkg would have unpacked them one after another, keeps dpkg's database, and
//! says what is left for dpkg itself to run.
//!
//! Nothing is run or fetched in here. [`deb`] opens package files; [`plan`] is the order; for each of its rounds
//! [`place`] says where files go, [`compose`] merges them, [`database`] writes what dpkg has to know of them, and
//! [`scripts`] has what a sandbox runs. [`existing`] is what a root has already.

pub mod compose;
pub mod database;
pub mod deb;
pub mod diversions;
mod error;
pub mod existing;
mod limits;
pub mod place;
pub mod plan;
pub mod scripts;

pub use error::DpkgError;
