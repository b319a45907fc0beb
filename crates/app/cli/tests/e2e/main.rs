//! The whole of Hornero, tried from the command line on real packages: each test has a home of its own.

mod authoring;
mod bad_release;
mod boot;
mod collecting;
mod contents;
mod crash;
mod first_loop;
mod fleet;
mod home;
mod isolation;
mod logs;
mod old_homes;
mod owned;
mod patching;
mod provenance;
mod reproduce;
mod site;
mod soak;
mod store;
mod traffic;
mod transport;
mod validators;
mod verify;
