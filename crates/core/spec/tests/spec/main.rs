//! `hornero.hcl` goes in; what was read, or what is said of it, comes out.

mod any_input;
mod building;
mod bytes;
mod check;
mod documents;
mod network;
mod paths;
mod reads;
mod references;
mod structure;
mod values;
