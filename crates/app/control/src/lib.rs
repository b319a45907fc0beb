//! The control process: joins the ledger, planner, rollout driver, engine and edge.
//!
//! One thread owns the driver and takes one `Input` at a time; effects run on threads of their own and send their
//! results back to it; the API asks it. Everything else in here is an adapter of a port.

mod absent;
mod access;
mod account;
mod against;
mod answer;
mod answers;
mod api;
mod audit_filter;
mod belonging;
mod beside;
mod boot;
mod calls;
mod cancel;
mod check;
mod child;
mod churn;
mod clock;
mod copies;
pub mod dashboard;
pub mod difference;
mod edge;
mod forensics;
pub mod format;
mod guards;
mod handler;
mod image_tests;
mod input;
mod instances;
mod jobs;
mod local;
mod lock;
mod logs;
mod metadata;
mod metrics;
mod network;
mod notify;
mod offline;
mod operations;
mod outcome;
mod ports;
mod predecessor;
mod previews;
mod program;
mod provenance;
mod quarantines;
mod rehearsals;
mod replay;
mod report;
mod request;
mod restoration;
mod runs;
mod schedules;
mod serve;
mod server;
mod signals;
mod snapshot_times;
mod socket;
mod start;
mod steps;
mod succession;
mod tail;
mod tenure;
mod timekeeper;
mod turns;
mod turnstile;
mod underway;
mod up;
mod verify;
mod volumes;
mod witness;
mod work;

pub use absent::{events_offline, history_offline, receipts_offline, status_offline};
pub use account::churn_report;
pub use against::{WITNESS_BYTES_MAX, ledger_holds, ledger_holds_all};
pub use boot::boot_id;
pub use hornero_driver::{Account, ServiceAccount, Use};
pub use hornero_engine_port::log::{LineLevel, LogFilter};
pub use hornero_rollout::{Hold, KeepOverride, Retained};
pub use local::{LogLimits, abandon, trim_logs};
pub use logs::{LAST_LINES_MAX, LogWish, logs_offline};
pub use metrics::{Exposition, FamilyKind};
pub use notify::status_file;
pub use offline::{
    ImageHistory, KeptImages, history_of, image_of, newest_event, plan_offline, retained_images,
    secrets_in_use, secrets_of_jobs, verify_ledger,
};
pub use predecessor::readable;
pub use program::{OWN_PROGRAM, Program};
pub use provenance::{Denied, ProvenanceCheck};
pub use quarantines::quarantines_offline;
pub use serve::{Ended, Options, serve};
pub use volumes::volumes_offline;
pub use witness::WitnessPlace;
