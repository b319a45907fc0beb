//! A small signed archive made by the tests, a server that can be told to misbehave, and homes to bake in.

#![allow(dead_code, missing_docs)]

pub mod archive;
pub mod deb;
pub mod home;
pub mod server;
pub mod shell;
pub mod signing;
