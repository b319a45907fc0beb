//! Homes to bake in, and what runs from there.

#![allow(dead_code, missing_docs)]

pub mod home;
pub mod sandbox;
