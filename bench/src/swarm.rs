//! A changed page on every server, and back again: Hornero beside Docker in swarm mode.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use hornero_load::{Load, LoadPlan, LoadReport, Marker, Mode, Workers};

use crate::{
    docker::Docker,
    hornero::{self, Home},
    peers, process,
    roots::DebianRoot,
    setting::Setting,
    table::{BEFORE, Better, HORNERO, Table, in_turn},
};

/// Replicas and health interval of both.
const REPLICAS: &str = "3";
const HEALTH_INTERVAL: &str = "500ms";
/// How long a change may take before something must be wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// The page that every run begins and ends with.
const FIRST: &str = "0";
/// What the example says of the old set, and what it is to say for a cold rollback.
const KEEP_WARM: &str = r#"keep_warm     = "10m""#;
const STOP_SOON: &str = r#"keep_warm     = "1s""#;

const ALL_NEW: &str = "changed page: all servers and all new requests on it";
const ALL_BACK: &str = "rollback: all servers and all new requests on the old page";
const ALL_BACK_COLD: &str = "rollback after the old set was stopped";
const COMMANDS: &str = "changed page: until the commands return";
const SWITCH: &str = "the switch itself";
const SWARM: &str = "docker build, swarm";

pub fn measure(setting: &Setting) -> Result<Table> {
    let mut table = Table::new("Deploy and roll back: 3 servers, health every 500 ms");
    if let Some(before) = &setting.before {
        let mut sites = Vec::new();
        for warm in [true, false] {
            sites.push((HORNERO, Site::start(&setting.scratch, warm)?));
            sites.push((BEFORE, Site::start(before, warm)?));
        }
        for run in 1..=setting.runs {
            for pair in sites.chunks(2) {
                for (who, site) in in_turn(pair, run) {
                    site.measure(run, who, &mut table)?;
                }
            }
        }
        return Ok(table);
    }
    peers::install(peers::CONTAINERS)?;
    let root = DebianRoot::make(&setting.scratch)?;
    let swarm = Swarm::start(&setting.scratch, &root)?;
    let mut sites = Vec::new();
    if !setting.peers_only {
        sites.push(Site::start(&setting.scratch, true)?);
        sites.push(Site::start(&setting.scratch, false)?);
    }
    for run in 1..=setting.runs {
        for site in &sites {
            site.measure(run, HORNERO, &mut table)?;
        }
        swarm.measure(run, &mut table)?;
    }
    drop((sites, swarm));
    table.remark(
        "Docker: `docker build`, then `docker service update` with `--update-order start-first` and all three tasks at \
         once (its quickest way; the default goes one by one), until three healthy containers of the new image and none \
         of the old run; no published port, no network. Until the commands return, Docker also watches the new tasks \
         for 5 s, its default. Hornero: `hornero up`, seen by a load generator that asks every millisecond: the last \
         request that was started and still got the old page; image tests, edge and journal included.",
    );
    Ok(table)
}

struct Swarm {
    docker: Docker,
    context: PathBuf,
}

impl Swarm {
    fn start(scratch: &Path, root: &DebianRoot) -> Result<Self> {
        let docker = Docker::start(scratch)?;
        docker.import(&root.tar, "bench-root")?;
        let context = scratch.join("context");
        fs::create_dir_all(&context)?;
        let dockerfile = "FROM bench-root\nCOPY index.html /srv/site/index.html\n\
                          CMD [\"/usr/sbin/nginx\", \"-g\", \"daemon off;\"]\n";
        fs::write(context.join("Dockerfile"), dockerfile)?;
        let swarm = Self { docker, context };
        swarm.build(FIRST)?;
        let listen = process::free_address()?.to_string();
        swarm.docker.run(&[
            "swarm",
            "init",
            "--advertise-addr=127.0.0.1",
            "--listen-addr",
            &listen,
        ])?;
        swarm.docker.run(&[
            "service",
            "create",
            "--quiet",
            "--no-resolve-image",
            "--name=site",
            "--replicas",
            REPLICAS,
            "--update-order=start-first",
            "--update-parallelism=0",
            "--rollback-order=start-first",
            "--rollback-parallelism=0",
            "--health-interval",
            HEALTH_INTERVAL,
            "--health-timeout=1s",
            "--health-cmd=bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080'",
            &format!("site:{FIRST}"),
        ])?;
        swarm.wait_for(FIRST)?;
        Ok(swarm)
    }

    fn build(&self, version: &str) -> Result<()> {
        fs::write(self.context.join("index.html"), page(version))?;
        let (tag, context) = (format!("site:{version}"), self.context.display().to_string());
        self.docker.run(&["build", "--quiet", "--tag", &tag, &context]).map(drop)
    }

    fn measure(&self, run: usize, table: &mut Table) -> Result<()> {
        let version = run.to_string();
        let image = format!("site:{version}");
        let update =
            ["service", "update", "--quiet", "--no-resolve-image", "--image", &image, "site"];

        let begun = Instant::now();
        self.build(&version)?;
        std::thread::scope(|scope| {
            let command = scope.spawn(|| {
                self.docker.run(&update)?;
                Ok::<f64, anyhow::Error>(milliseconds(begun))
            });
            self.wait_for(&version)?;
            table.add(ALL_NEW, "ms", Better::Less, SWARM, milliseconds(begun));
            let returned = command.join().map_err(|_| anyhow::anyhow!("docker panicked"))??;
            table.add(COMMANDS, "ms", Better::Less, SWARM, returned);
            Ok::<(), anyhow::Error>(())
        })?;

        self.settle()?;
        let begun = Instant::now();
        self.docker.run(&["service", "rollback", "--detach", "--quiet", "site"])?;
        self.wait_for(FIRST)?;
        let ms = milliseconds(begun);
        table.add(ALL_BACK, "ms", Better::Less, SWARM, ms);
        table.add(ALL_BACK_COLD, "ms", Better::Less, SWARM, ms);
        self.settle()
    }

    /// Waits until every server is a healthy one of `version`.
    fn wait_for(&self, version: &str) -> Result<()> {
        let wanted = format!("site:{version} healthy");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.docker.run(&["ps", "--format", "{{.Image}} {{.Status}}"])?;
            let states: Vec<String> = listed
                .lines()
                .map(|line| {
                    let image = line.split(' ').next().unwrap_or_default();
                    let health = if line.contains("(healthy)") { "healthy" } else { "not yet" };
                    format!("{image} {health}")
                })
                .collect();
            if states.len().to_string() == REPLICAS && states.iter().all(|state| *state == wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the swarm never got to `{wanted}`:\n{listed}");
            }
        }
    }

    /// Waits until no update is under way.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let state = ["service", "inspect", "--format", "{{.UpdateStatus.State}}", "site"];
        while !self.docker.run(&state)?.contains("completed") {
            ensure!(Instant::now() < deadline, "the swarm's update never ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Hornero with a site of the same page behind its edge.
struct Site {
    home: Home,
    directory: PathBuf,
    address: SocketAddr,
    /// Whether the old set is kept running after a switch.
    warm: bool,
}

impl Site {
    fn start(scratch: &Path, warm: bool) -> Result<Self> {
        let name = if warm { "site-warm" } else { "site-cold" };
        let directory = scratch.join(name);
        fs::create_dir_all(directory.join("public"))?;
        fs::write(directory.join("nginx.conf"), include_str!("../../examples/site/nginx.conf"))?;
        fs::write(directory.join("public/field-notes.txt"), "")?;
        fs::write(directory.join("public/index.html"), page(FIRST))?;
        let spec = include_str!("../../examples/site/hornero.hcl");
        ensure!(spec.contains(KEEP_WARM), "`examples/site` no longer says `{KEEP_WARM}`");
        let spec = if warm { spec.to_owned() } else { spec.replace(KEEP_WARM, STOP_SOON) };
        fs::write(directory.join("hornero.hcl"), spec)?;
        let home = Home::new(scratch.join(name).with_extension("home"))?;
        let site = Self { home, directory, address: process::free_address()?, warm };
        site.up()?;
        ensure!(
            hornero::get(site.address)?.contains(&page(FIRST)),
            "the site does not serve its page"
        );
        Ok(site)
    }

    fn up(&self) -> Result<(f64, serde_json::Value)> {
        let listen = format!("listen={}", self.address.port());
        self.home.run(&["up", &self.directory.display().to_string(), "--var", &listen])
    }

    /// Deploys a new page and goes back to the first one.
    fn measure(&self, run: usize, who: &str, table: &mut Table) -> Result<()> {
        let version = run.to_string();
        fs::write(self.directory.join("public/index.html"), page(&version))?;
        let load = self.load()?;
        let begun = unix_ms();
        let (returned, answer) = self.up()?;
        let receipt = self.receipt(&answer["services"][0]["receipt"])?;
        // By number: without one it goes to the last proven release, and that was not always the one before.
        let before = receipt["from"].to_string();
        let moved_after = moved(load, FIRST, &version, begun)?;
        if self.warm {
            add_switch(table, who, &receipt)?;
            table.add(COMMANDS, "ms", Better::Less, who, returned);
            table.add(ALL_NEW, "ms", Better::Less, who, moved_after);
        } else {
            self.wait_until_old_set_is_gone()?;
        }

        let load = self.load()?;
        let begun = unix_ms();
        let (_, receipt) = self.home.run(&["rollback", "site", "--to", &before])?;
        let moved_after = moved(load, &version, FIRST, begun)?;
        ensure!(receipt["warm"] == self.warm, "`warm` should be {}: {receipt}", self.warm);
        add_switch(table, who, &receipt)?;
        let name = if self.warm { ALL_BACK } else { ALL_BACK_COLD };
        table.add(name, "ms", Better::Less, who, moved_after);
        Ok(())
    }

    fn wait_until_old_set_is_gone(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, status) = self.home.run(&["status"])?;
            let left = status["services"][0]["instances"].as_array().map_or(0, Vec::len);
            if left.to_string() == REPLICAS {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the old set was never stopped: {status}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn receipt(&self, named: &serde_json::Value) -> Result<serde_json::Value> {
        if named.is_object() {
            return Ok(named.clone());
        }
        Ok(self.home.run(&["receipt", &named.to_string()])?.1)
    }

    fn load(&self) -> Result<Load> {
        let workers = |mode| Workers::new(mode, 2, "/").every(Duration::from_millis(2));
        let workers = vec![workers(Mode::KeepAlive), workers(Mode::NewConnection)];
        let mut plan = LoadPlan::new(self.address, workers);
        plan.marker = Some(Marker { before: "<!--release:".to_owned(), after: "-->".to_owned() });
        Ok(Load::start(plan)?)
    }
}

/// Milliseconds from `begun` to the last request that was started and still got the `old` page.
fn moved(load: Load, old: &str, new: &str, begun: f64) -> Result<f64> {
    let deadline = Instant::now() + PATIENCE;
    while load.report().marker(new).is_none_or(|seen| seen.count < 20) {
        ensure!(Instant::now() < deadline, "page {new} was never seen");
        std::thread::sleep(Duration::from_millis(5));
    }
    let report: LoadReport = load.stop();
    ensure!(report.failed == 0, "requests failed: {:?}", report.failures);
    let last = report.marker(old).context("the old page was never seen")?.last_started_ms;
    Ok(report.started_unix_ms + last - begun)
}

fn add_switch(table: &mut Table, who: &str, receipt: &serde_json::Value) -> Result<()> {
    let ms =
        receipt["switch_ms"].as_f64().with_context(|| format!("no `switch_ms` in {receipt}"))?;
    ensure!(receipt["requests_failed"] == 0, "requests failed: {receipt}");
    table.add(SWITCH, "ms", Better::Less, who, ms);
    Ok(())
}

fn page(version: &str) -> String {
    format!("<!doctype html><!--release:{version}--><h1>Page {version}</h1>\n")
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn unix_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}
