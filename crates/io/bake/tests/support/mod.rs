//! Homes to bake in.

#![allow(dead_code, missing_docs)]

pub mod home;
