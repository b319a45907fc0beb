//! The answers to the API's requests, by what they are about.

mod accepting;
mod access;
mod changes;
mod churn;
pub mod events;
mod figures;
mod frozen;
mod glass;
mod guards;
mod image_test;
mod jobs;
mod metrics;
mod operation;
mod previews;
mod quarantines;
mod recording;
mod records;
mod rehearsals;
mod runs;
mod status;
mod verification;
mod volume_deeds;
mod volumes;
mod written;
