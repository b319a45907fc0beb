//! Reads of this host what decides whether Hornero can run on it; changes nothing.
//!
//! [`collect`] never fails: what can't be read is `None` in the facts, since kernels, containers and distributions lack
//! files that others have. What the facts mean is decided in `hornero-doctor`.

mod files;
mod home;
mod kernel;
mod mounts;
mod security;
mod system;

use std::path::{Path, PathBuf};

use hornero_doctor::{ControlFacts, HostFacts, NetworkFacts};
use hornero_model::Timestamp;

use files::Files;

/// What only the caller can know of a home.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// What its control process answered.
    pub control: ControlFacts,
    /// The time of the newest event in its ledger.
    pub newest_event: Option<Timestamp>,
}

/// Everything about this host, and the home in this directory, there or not.
pub fn collect(home: &Path, asked: Asked) -> HostFacts {
    let mut facts = from_files(&Files::of_host(), home);
    facts.sandbox = hornero_sandbox::support().features.clone();
    facts.clock.now = Timestamp::now();
    facts.clock.synchronised = kernel::clock_synchronised();
    facts.clock.newest_event = asked.newest_event;
    facts.control = asked.control;
    facts.limits.open_files = kernel::open_files();
    facts.rights.user = rustix::process::geteuid().as_raw();
    survey_network(&mut facts.network, home);
    facts
}

/// What stands in files below `/proc`, `/sys`, `/etc` and the home.
fn from_files(files: &Files, home: &Path) -> HostFacts {
    let mounts = mounts::read(files);
    let system = system::read(files);
    HostFacts {
        rights: security::rights(files),
        security: security::read(files),
        sandbox: Vec::new(),
        modules: kernel::modules(files, &system.kernel),
        namespaces: kernel::namespaces(files),
        control_groups: kernel::control_groups(files, &mounts),
        limits: kernel::limits(files),
        clock: hornero_doctor::ClockFacts::default(),
        home: home::read(home, &mounts),
        control: ControlFacts::Absent,
        network: kernel::network(files, &mounts),
        archive: system::archive(files),
        system,
    }
}

fn survey_network(network: &mut NetworkFacts, home: &Path) {
    match hornero_net::survey(home) {
        Ok(survey) => {
            network.bridge = survey.bridge;
            network.bridge_exists = survey.bridge_exists;
            network.subnet = survey.subnet.map(|subnet| subnet.to_string());
            network.overlaps = survey.overlaps;
            network.no_subnet = survey.no_subnet;
            network.uplinks = survey.uplinks;
            network.links_fault = survey.links_fault;
            network.filter_fault = survey.filter_fault;
        }
        Err(error) => network.links_fault = Some(chain(&error)),
    }
}

/// An error with what is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// The home as an absolute path, whatever of it exists.
pub(crate) fn absolute(home: &Path) -> PathBuf {
    std::path::absolute(home).unwrap_or_else(|_| home.to_owned())
}
