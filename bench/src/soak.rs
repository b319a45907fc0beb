//! Many switches and rollbacks in turn under constant load: no request may fail.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use hornero_load::{Load, LoadPlan, Mode, Workers};

use crate::{
    hornero::{self, Home},
    process,
    setting::Setting,
    table::{Better, HORNERO, Table},
};

/// Our own reference upstream as the server: it streams and speaks WebSocket, which nginx alone does not.
const SPEC: &str = r#"
variable "listen" { default = 8000 }

image "base" {
  debian = "bookworm"
}

image "site" {
  from    = image.base
  copy "hornero-load" { to = "/usr/local/bin/hornero-load" }
  copy "marker"       { to = "/etc/marker" }
  user    = "nobody"
  command = ["/bin/sh", "-c", "exec hornero-load serve --listen 0.0.0.0:8080 --marker $(cat /etc/marker)"]
}

service "site" {
  image     = image.site
  instances = 2
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/health" }
    interval = "500ms"
  }
  route {
    listen = var.listen
    port   = "http"
  }
  rollout {
    drain_timeout = "20s"
    keep_warm     = "5s"
    watch         = "0s"
  }
}
"#;

pub fn measure(setting: &Setting, switches: u32) -> Result<Table> {
    let directory = setting.scratch.join("soak");
    fs::create_dir_all(&directory)?;
    fs::copy(setting.scratch.join(hornero::LOAD), directory.join(hornero::LOAD))?;
    fs::write(directory.join("hornero.hcl"), SPEC)?;
    let home = Home::new(setting.scratch.join("soak-home"))?;
    let address = process::free_address()?;
    let site = Soak { home, directory, listen: format!("listen={}", address.port()) };
    site.up(0)?;

    let load = Load::start(LoadPlan {
        duration: Duration::from_secs(24 * 3600),
        timeout: Duration::from_secs(30),
        ..LoadPlan::new(
            address,
            vec![
                Workers::new(Mode::KeepAlive, 4, "/"),
                Workers::new(Mode::NewConnection, 4, "/"),
                Workers::new(Mode::Slow, 2, "/stream?bytes=65536&ms=2000"),
                // A set drains until its last WebSocket ends: sessions of a second let the soak switch often.
                Workers::new(Mode::WebSocket, 1, "/echo").sessions_of(20),
            ],
        )
    })?;
    let mut table = Table::new("Soak: switches and rollbacks in turn under load");
    let mut failed = 0;
    for number in 1..=switches {
        let receipt = if number % 2 == 1 { site.up(number)? } else { site.rollback()? };
        failed += receipt["requests_failed"].as_u64().unwrap_or(u64::MAX);
        let ms = receipt["switch_ms"].as_f64().unwrap_or(f64::NAN);
        table.add("switch", "ms", Better::Less, HORNERO, ms);
        ensure!(load.report().failed == 0, "after switch {number}: {:?}", load.report().failures);
    }
    let report = load.stop();
    ensure!(
        report.failed == failed,
        "the load saw {} failures, the receipts {failed}",
        report.failed
    );
    table.remark(format!(
        "{switches} switches, {} requests, {} failed by the load generator's count and {failed} by the receipts'.",
        report.started, report.failed
    ));
    Ok(table)
}

struct Soak {
    home: Home,
    directory: PathBuf,
    listen: String,
}

impl Soak {
    fn up(&self, number: u32) -> Result<serde_json::Value> {
        write_marker(&self.directory, number)?;
        let directory = self.directory.display().to_string();
        self.home.up(&[&directory, "--var", &self.listen])
    }

    fn rollback(&self) -> Result<serde_json::Value> {
        Ok(self.home.run(&["rollback", "site"])?.1)
    }
}

fn write_marker(directory: &Path, number: u32) -> Result<()> {
    Ok(fs::write(directory.join("marker"), format!("{number}\n"))?)
}
