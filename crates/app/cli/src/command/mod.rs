//! The commands, one file a family.

pub mod bake;
pub mod image;
pub mod named;
pub mod operation;
pub mod process;
pub mod show;
pub mod up;
pub mod verify;
