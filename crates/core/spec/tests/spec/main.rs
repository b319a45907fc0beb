//! `hornero.hcl` goes in; what was read, or what is said of it, comes out.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod any_input;
mod budget;
mod building;
mod bytes;
mod check;
mod configuration;
mod documents;
mod freezes;
mod guards;
mod jobs;
mod listeners;
mod metrics;
mod migrate;
mod network;
mod paths;
mod places;
mod reads;
mod references;
mod rollouts;
mod scale;
mod schedules;
mod settings;
mod structure;
mod values;
