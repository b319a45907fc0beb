//! What lies on top of a base: copied files and the results of steps that ran in the sandbox.

pub(crate) mod copy;
pub(crate) mod copy_key;
pub(crate) mod place;
pub(crate) mod room;
pub(crate) mod secret_files;
pub(crate) mod stat_cache;
pub(crate) mod step;
