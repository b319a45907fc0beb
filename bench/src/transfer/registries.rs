//! Debian's registry, and what it grows by.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, ensure};

use super::rows::{PATCHES, PULLED, PUSHED, REGISTRY, STORED, row};
use crate::{
    process::{self, Server},
    table::Table,
};

/// Debian's registry on loopback, with a directory of its own; it ends when it is dropped.
pub(super) struct Registry {
    _server: Server,
    address: String,
    data: PathBuf,
}

impl Registry {
    pub(super) fn start(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let (config, data) = (directory.join("config.yml"), directory.join("data"));
        let address = process::free_address()?;
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
                 rootdirectory: {}\nhttp:\n  addr: {address}\n  secret: bench\n",
                data.display()
            ),
        )?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
        let mut server = Server::start("docker-registry", &mut command, &directory.join("log"))?;
        server.wait_for(address)?;
        Ok(Self { _server: server, address: address.to_string(), data })
    }

    pub(super) fn name(&self, number: usize) -> String {
        format!("{}/app:{number}", self.address)
    }

    pub(super) fn bytes(&self) -> Result<u64> {
        bytes_below(&self.data)
    }
}

/// Bytes of one contestant's pushes, as its registry grew.
#[derive(Default)]
pub(super) struct Moved {
    all: u64,
    patches: u64,
}

impl Moved {
    /// Publishes a state; gives the bytes it moved.
    pub(super) fn add(
        &mut self,
        registry: &Registry,
        number: usize,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        publish()?;
        let grown = registry.bytes()? - self.all;
        ensure!(grown > 0, "state {number} moved nothing");
        self.all += grown;
        self.patches += if number > 0 { grown } else { 0 };
        Ok(grown)
    }

    pub(super) fn report(
        &self,
        table: &mut Table,
        who: &str,
        stored: u64,
        registry: &Registry,
    ) -> Result<()> {
        row(table, STORED, who, stored);
        row(table, REGISTRY, who, registry.bytes()?);
        for what in [PUSHED, PULLED] {
            row(table, what, who, self.all);
            row(table, &format!("{what}: {PATCHES}"), who, self.patches);
        }
        Ok(())
    }
}

/// Lengths of all files below a directory, each once however many names it has; 0 where there is none.
pub(super) fn bytes_below(directory: &Path) -> Result<u64> {
    let (mut bytes, mut seen) = (0, BTreeSet::new());
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        // A daemon may remove what it made for a moment.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry?;
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else if metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}
