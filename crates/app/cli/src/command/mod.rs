//! The commands, one file a family.

pub mod bake;
pub mod collect;
pub mod diff;
pub mod doctor;
pub mod editor;
pub mod export;
pub mod format;
pub mod home;
pub mod image;
pub mod init;
pub mod manual;
pub mod named;
pub mod names;
pub mod operation;
pub mod patching;
pub mod process;
pub mod sbom;
pub mod show;
pub mod sign;
pub mod storage;
pub mod transport;
pub mod up;
pub mod upgrade;
pub mod validate;
pub mod verify;
