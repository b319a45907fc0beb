//! A Debian root: packages merged into one tree, dpkg's database, configuring, and what is cleaned afterwards.

pub(crate) mod clean;
pub(crate) mod compose;
pub(crate) mod configure;
pub(crate) mod database;
