//! Many small servers of one service on one host: what several measurements keep running.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    hornero::{self, Home},
    process,
    setting::Setting,
};

/// Each is asked twice a second: with 500 of them these are 1,000 probes a second.
const SPEC: &str = r#"
variable "listen" { default = 8000 }
variable "instances" { default = 1 }

image "base" {
  debian = "bookworm"
}

image "small" {
  from = image.base
  copy "hornero-load" { to = "/usr/local/bin/hornero-load" }
  user    = "nobody"
  command = ["/usr/local/bin/hornero-load", "serve", "--listen", "0.0.0.0:8080"]
  test "serves" { http = { port = 8080, path = "/health" } }
}

service "small" {
  image     = image.small
  instances = var.instances
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/health" }
    interval = "500ms"
  }
  route {
    listen = var.listen
    port   = "http"
  }
  rollout { watch = "0s" }
  resources { memory = "32MiB" }
}
"#;

/// A service of small servers, in a home of its own.
pub struct Small {
    pub home: Home,
    /// Where the service is reached.
    pub address: SocketAddr,
    directory: PathBuf,
    instances: usize,
}

impl Small {
    /// Bakes it: what is measured is what comes after. `name` is that of its directories.
    pub fn new(setting: &Setting, name: &str, instances: usize) -> Result<Self> {
        Self::of(setting, name, instances, SPEC)
    }

    /// The same with a `scale` block in the place of a number of servers.
    pub fn scaled(setting: &Setting, name: &str, scale: &str) -> Result<Self> {
        Self::of(setting, name, 1, &SPEC.replace("instances = var.instances", scale))
    }

    fn of(setting: &Setting, name: &str, instances: usize, spec: &str) -> Result<Self> {
        let directory = setting.scratch.join(name);
        fs::create_dir_all(&directory)?;
        fs::copy(setting.scratch.join(hornero::LOAD), directory.join(hornero::LOAD))?;
        fs::write(directory.join("hornero.hcl"), spec)?;
        let home = Home::new(setting.scratch.join(format!("{name}-home")))?;
        let small = Self { home, address: process::free_address()?, directory, instances };
        let arguments = small.arguments();
        let build: Vec<&str> =
            ["build"].into_iter().chain(arguments.iter().map(String::as_str)).collect();
        small.home.run(&build)?;
        Ok(small)
    }

    /// `hornero up`; gives the receipt.
    pub fn up(&self) -> Result<Value> {
        let arguments = self.arguments();
        self.home.up(&arguments.each_ref().map(String::as_str))
    }

    fn arguments(&self) -> [String; 5] {
        let (port, instances) = (self.address.port(), self.instances);
        [
            self.directory.display().to_string(),
            "--var".to_owned(),
            format!("listen={port}"),
            "--var".to_owned(),
            format!("instances={instances}"),
        ]
    }
}

/// The processes of a home, but for its servers.
pub struct Processes {
    pub control: u32,
    pub edge: u32,
    /// Launcher, shims, and the first process of each instance.
    pub keepers: Vec<u32>,
}

impl Processes {
    pub fn of(home: &Path) -> Result<Self> {
        let home = home.display().to_string();
        let role = |role: &str| {
            let end = format!("--home {home} {role}");
            pids(|command| command.trim_end().ends_with(&end))
        };
        Ok(Self {
            control: *role("serve")?.first().context("control was not found")?,
            edge: *role("edge")?.first().context("the edge was not found")?,
            keepers: role("shim")?,
        })
    }
}

/// Processes by their command line, its words joined by spaces.
pub fn pids(wanted: impl Fn(&str) -> bool) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ended meanwhile is none.
        let Ok(line) = fs::read_to_string(format!("/proc/{pid}/cmdline")) else { continue };
        if wanted(&line.replace('\0', " ")) {
            found.push(pid);
        }
    }
    Ok(found)
}
