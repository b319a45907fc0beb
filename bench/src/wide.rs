//! Warm rollbacks under load where the route table is large: how long the whole command takes.

use std::{
    fmt::Write as _,
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

/// Services beside the one that goes back; nothing of them runs, as of most services at most times, but for what their
/// first release needed to be proven.
const OTHERS: usize = 99;
/// Routes of each service.
const ROUTES: usize = 10;
/// Rollbacks for each run that is asked for.
const EACH: usize = 20;
const COMMAND: &str = "warm rollback, the whole command";
const TAIL: &str = "the 99th percentile of them";
const SWITCH: &str = "from the switch's begin to its end, by the receipt";

const SPEC: &str = r#"
variable "listen" { default = 8000 }
variable "page" { default = "1" }

image "base" {
  debian = "bookworm"
}

image "site" {
  from    = image.base
  copy "hornero-load" { to = "/usr/local/bin/hornero-load" }
  user    = "nobody"
  command = ["/usr/local/bin/hornero-load", "serve", "--listen", "0.0.0.0:8080"]
}

service "site" {
  image     = image.site
  instances = 2
  env       = { PAGE = var.page }
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/health" }
    interval = "500ms"
  }
  rollout {
    watch     = "0s"
    keep_warm = "1h"
  }
  budget {
    per_hour = 10000
    per_day  = 10000
  }
  resources { memory = "32MiB" }
"#;

/// The declaration of everything.
fn spec() -> Result<String> {
    let mut text = SPEC.to_owned();
    for route in 0..ROUTES {
        add_route(&mut text, "site", route)?;
    }
    text.push_str("}\n");
    for number in 0..OTHERS {
        let name = format!("other-{number}");
        write!(
            text,
            "\nservice \"{name}\" {{\n  image = image.site\n  scale {{\n    minimum = 0\n    maximum = 1\n    \
             in_flight = 100\n    idle = \"3s\"\n  }}\n  port \"http\" {{ container = 8080 }}\n  \
             health {{\n    http = {{ port = \"http\", path = \"/health\" }}\n  }}\n  rollout {{ watch = \"0s\" }}\n  \
             resources {{ memory = \"32MiB\" }}\n"
        )?;
        for route in 0..ROUTES {
            add_route(&mut text, &name, route)?;
        }
        text.push_str("}\n");
    }
    Ok(text)
}

fn add_route(text: &mut String, service: &str, route: usize) -> Result<()> {
    // The load asks by address: one route has no host.
    let host = match (service, route) {
        ("site", 0) => String::new(),
        _ => format!("    host   = \"r{route}.{service}.example.org\"\n"),
    };
    write!(text, "  route {{\n    listen = var.listen\n    port   = \"http\"\n{host}  }}\n")?;
    Ok(())
}

pub fn measure(setting: &Setting) -> Result<Table> {
    let directory = setting.scratch.join("wide");
    fs::create_dir_all(&directory)?;
    fs::copy(setting.scratch.join(hornero::LOAD), directory.join(hornero::LOAD))?;
    fs::write(directory.join("hornero.hcl"), spec()?)?;
    let home = Home::new(setting.scratch.join("wide-home"))?;
    let address = process::free_address()?;
    for page in ["1", "2"] {
        up(&home, &directory, address.port(), page)?;
    }
    let workers = |mode| Workers::new(mode, 2, "/").every(Duration::from_millis(2));
    let load = Load::start(LoadPlan {
        duration: Duration::from_secs(24 * 3600),
        ..LoadPlan::new(address, vec![workers(Mode::KeepAlive), workers(Mode::NewConnection)])
    })?;
    let mut table = Table::new(
        "Wide: warm rollback with 100 services and 1,000 routes in the table, under load",
    );
    let mut taken = Vec::new();
    for number in 0..setting.runs * EACH {
        let to = if number % 2 == 0 { "1" } else { "2" };
        let (ms, receipt) = home.run(&["rollback", "site", "--to", to])?;
        ensure!(receipt["warm"] == true, "it was not warm: {receipt}");
        table.add(COMMAND, "ms", Better::Less, HORNERO, ms);
        taken.push(ms);
        let switch_ms = receipt["switch_ms"].as_f64().unwrap_or(f64::NAN);
        table.add(SWITCH, "ms", Better::Less, HORNERO, switch_ms);
    }
    let report = load.stop();
    ensure!(report.failed == 0, "{:?}", report.failures);
    taken.sort_by(f64::total_cmp);
    let tail = taken[(taken.len() * 99).div_ceil(100) - 1];
    table.add(TAIL, "ms", Better::Less, HORNERO, tail);
    table.remark(format!(
        "{} rollbacks in turn, {} requests meanwhile, {} failed. {OTHERS} further services with {ROUTES} routes each are in the \
         table; nothing of them runs. The command's time has the start of its process in it, and its end.",
        taken.len(),
        report.started,
        report.failed
    ));
    Ok(table)
}

fn up(home: &Home, directory: &Path, port: u16, page: &str) -> Result<()> {
    let directory: PathBuf = directory.to_owned();
    let (listen, page) = (format!("listen={port}"), format!("page={page}"));
    home.run(&["up", &directory.display().to_string(), "--var", &listen, "--var", &page])?;
    Ok(())
}
