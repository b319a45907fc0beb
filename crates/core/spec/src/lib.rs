//! Reads `hornero.hcl` into valid types, with errors that point at the file.
//!
//! [`parse`] is the only way in: bytes and variables go in, a [`Spec`] or every error that could be found comes
//! out. The crate does no I/O; what lies beside the file is asked of [`Sources`].

mod call;
mod canonical;
pub mod defaults;
mod error;
mod evaluate;
mod for_each;
mod format;
mod function;
mod image;
mod job;
mod library;
pub mod limits;
mod order;
mod parse;
mod path;
mod places;
mod provision;
mod read_alerts;
mod read_api;
mod read_archive;
mod read_base;
mod read_budget;
mod read_check;
mod read_command;
mod read_configuration;
mod read_copy;
mod read_cron;
mod read_freeze;
mod read_guard;
mod read_image;
mod read_job;
mod read_judge;
mod read_listener;
mod read_metrics;
mod read_migrate;
mod read_otlp;
mod read_port;
mod read_provision;
mod read_rollout;
mod read_route;
mod read_scale;
mod read_schedule;
mod read_service;
mod read_sticky;
mod read_trust;
mod read_value;
mod read_volume;
mod read_word;
mod resolve;
mod scan;
mod section;
mod service;
mod settings;
mod sources;
mod spec;
mod suggest;
mod template;
mod traverse;
mod units;
mod value;
mod variable;
pub mod vocabulary;

pub use canonical::canonical;
pub use error::{ErrorCode, Errors, Place, SpecError};
pub use image::{
    ArchiveDefinition, Base, CopyOwner, CopySource, ImageDefinition, SourceKind, StoredImage,
};
pub use job::JobDefinition;
pub use order::Order;
pub use parse::{declared_services, parse};
pub use places::Places;
pub use provision::{AnsibleProvision, Provision, ProvisionWork, SecretName, SecretSource};
pub use read_otlp::Collector;
pub use service::{ConfigDefinition, Mount, SecretDefinition, ServiceDefinition, VolumeDefinition};
pub use settings::{SETTINGS_FILE, Settings, settings};
pub use sources::{AtPath, Sources};
pub use spec::Spec;
pub use variable::{VARIABLE_PREFIX, VariableArgumentError, Variables};

/// The name of the file that describes images and services.
pub const FILE_NAME: &str = "hornero.hcl";
