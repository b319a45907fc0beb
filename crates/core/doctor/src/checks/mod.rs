//! The checks themselves, one file an area or two: pure functions over facts.

pub(crate) mod control;
pub(crate) mod firewall;
pub(crate) mod home;
pub(crate) mod kernel;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod rights;
