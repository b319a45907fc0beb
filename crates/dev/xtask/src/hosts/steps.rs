//! What is tried on a machine, step by step; each says in a few words what was seen.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{
    catalogue::Expected,
    native, payload,
    session::{Session, json},
    traces::Traces,
    trial_kind::TrialKind,
};

/// What the site's front page says.
pub const TEXT: &str = "Baked once, never repaired.";
/// And after a change.
const NEW_TEXT: &str = "Baked anew, moved in.";
/// Instances of the example site.
const INSTANCES: usize = 3;
/// A bake with maintainer scripts, tests and a rollout take half a minute on a host; emulation is ten to twenty times
/// slower, and on a busy builder more.
const UP_SECONDS: u64 = 1800;
/// Unpacking, the maintainer scripts and control's start.
const PACKAGE_SECONDS: u64 = 300;
/// A command that only asks or stops something.
const SHORT_SECONDS: u64 = 120;
/// The tests of one program, one after the other, on every way of making roots.
const TESTS_SECONDS: u64 = 1800;
/// How long the site may take to answer after a boot, from when the agent runs.
const SERVING_AGAIN: Duration = Duration::from_secs(600);

/// A step of a trial.
pub struct Step {
    /// What it is called.
    pub name: &'static str,
    /// Does it, and says what was seen.
    pub run: fn(&mut Session) -> Result<String>,
}

/// An operator's steps on a machine, in a trial of this kind.
pub fn steps(expected: Expected, trial: TrialKind) -> Vec<Step> {
    let step = |name, run| Step { name, run };
    let mut steps = vec![
        step("boot", boot),
        step("look around", look_around),
        step("bring the home", bring_home),
        step("install", install),
    ];
    match expected {
        Expected::Serves if trial == TrialKind::OperatorQuickly => steps.extend([
            step("doctor", doctor),
            step("up", up),
            step("power cut", power_cut),
            step("down", down),
        ]),
        Expected::Serves => steps.extend([
            step("doctor", doctor),
            step("up", up),
            step("kill control", kill_control),
            step("change", change),
            step("power cut", power_cut),
            step("upgrade", upgrade),
            step("down", down),
        ]),
        Expected::Refuses => steps.push(step("refuse", refuse)),
    }
    steps.extend([step("purge", purge), step("compare", compare)]);
    if trial == TrialKind::OperatorWithTests && expected == Expected::Serves {
        steps.push(step("native tests", native_tests));
    }
    steps
}

/// Boots it, and looks that it is the machine that was asked for.
pub fn boot(session: &mut Session) -> Result<String> {
    session.machine.boot()?;
    session.eventually(SHORT_SECONDS, "systemctl is-system-running | grep -q -x running")?;
    let release = session.succeed(10, "uname -r")?;
    ensure!(release.trim() == session.machine.release(), "it runs {release}");
    let groups = session.succeed(10, "stat -fc %T /sys/fs/cgroup")?;
    ensure!(groups.trim() == "cgroup2fs", "its control groups are {groups}");
    Ok(format!("{} with systemd, cgroup2 only", release.trim()))
}

fn look_around(session: &mut Session) -> Result<String> {
    let traces = Traces::parse(&session.succeed(SHORT_SECONDS, "bash /payload/traces.sh")?)?;
    let count = traces.len();
    session.before = Some(traces);
    Ok(format!("{count} files, mounts, interfaces, rules, processes noted"))
}

fn install(session: &mut Session) -> Result<String> {
    // The older one where there is one.
    let install = "cd /payload/packages && if test -e previous.deb; then dpkg -i previous.deb; else dpkg -i current.deb; fi";
    session.succeed(PACKAGE_SECONDS, install)?;
    let version = session.succeed(30, "hornero --version")?;
    let older = session.machine.run(10, "test -e /payload/packages/previous.deb")?.code == 0;
    let expected = if older { payload::PREVIOUS } else { env!("CARGO_PKG_VERSION") };
    ensure!(version.contains(expected), "it says it is {version}");
    session.succeed(30, "systemctl is-enabled -q hornero")?;
    Ok(format!("{}, enabled", version.trim()))
}

fn bring_home(session: &mut Session) -> Result<String> {
    session.succeed(SHORT_SECONDS, "cp -a /payload/home /var/lib/hornero")?;
    let size = session.succeed(30, "du -sm /var/lib/hornero | cut -f1")?;
    Ok(format!("{} MB of images and packages, baked on the builder", size.trim()))
}

fn doctor(session: &mut Session) -> Result<String> {
    let report = json(&session.succeed(SHORT_SECONDS, "hornero doctor --json")?)?;
    ensure!(report["servers_run"] == true, "it says that servers can't run here:\n{report:#}");
    let degraded = report["checks"].as_array().into_iter().flatten();
    let degraded: Vec<&str> = degraded
        .filter(|check| check["state"] == "degraded")
        .filter_map(|check| check["id"].as_str())
        .collect();
    let summary = report["summary"].as_str().context("the report has no summary")?;
    Ok(format!("{summary} ({})", degraded.join(", ")))
}

fn up(session: &mut Session) -> Result<String> {
    session.succeed(SHORT_SECONDS, "cp -a /payload/site /root/site")?;
    let begun = Instant::now();
    session.succeed(UP_SECONDS, "hornero up --locked --reason 'the first day' /root/site")?;
    let took = begun.elapsed();
    session.site_says(TEXT, Duration::from_secs(30))?;
    let healthy = healthy(session)?;
    Ok(format!("{healthy} instances serve after {:.1} s", took.as_secs_f64()))
}

fn change(session: &mut Session) -> Result<String> {
    session.succeed(10, &format!("sed -i 's/{TEXT}/{NEW_TEXT}/' /root/site/public/index.html"))?;
    let load = Load::start(session)?;
    let begun = Instant::now();
    session.succeed(UP_SECONDS, "hornero up --locked --reason 'another page' /root/site")?;
    session.text = NEW_TEXT;
    let took = begun.elapsed();
    session.site_says(NEW_TEXT, Duration::from_secs(30))?;
    let requests = load.stop(session)?;
    Ok(format!("baked and switched in {:.1} s; {requests}", took.as_secs_f64()))
}

fn kill_control(session: &mut Session) -> Result<String> {
    let load = Load::start(session)?;
    let old = control(session)?;
    session.succeed(30, &format!("kill -KILL {old}"))?;
    let deadline = Instant::now() + Duration::from_secs(90);
    let begun = Instant::now();
    while control(session).ok().is_none_or(|new| new == old) {
        ensure!(Instant::now() < deadline, "nobody started control again within 90 s");
        std::thread::sleep(Duration::from_millis(250));
    }
    let took = begun.elapsed();
    let requests = load.stop(session)?;
    healthy(session)?;
    Ok(format!("control answers again after {:.1} s; {requests}", took.as_secs_f64()))
}

fn power_cut(session: &mut Session) -> Result<String> {
    session.machine.cut_power()?;
    session.machine.boot()?;
    let text = session.text;
    let waited = session.site_says(text, SERVING_AGAIN)?;
    session.eventually(60, "hornero status --json")?;
    let healthy = healthy(session)?;
    Ok(format!("{healthy} instances serve {:.1} s after the agent", waited.as_secs_f64()))
}

fn refuse(session: &mut Session) -> Result<String> {
    session.succeed(SHORT_SECONDS, "cp -a /payload/site /root/site")?;
    let report = session.expect_code(1, SHORT_SECONDS, "hornero doctor --json")?;
    ensure!(json(&report.stdout)?["servers_run"] == false, "doctor says:\n{}", report.stdout);
    let before = session.succeed(SHORT_SECONDS, "find /var/lib/hornero | sort")?;
    let begun = Instant::now();
    let outcome = session.expect_code(1, SHORT_SECONDS, "hornero up --locked /root/site")?;
    let took = begun.elapsed();
    // A bake takes minutes here: this is before anything of it.
    ensure!(took < Duration::from_secs(20), "it took {:.1} s to refuse", took.as_secs_f64());
    ensure!(outcome.stderr.contains("hint:"), "it does not say what to do:\n{}", outcome.stderr);
    let after = session.succeed(SHORT_SECONDS, "find /var/lib/hornero | sort")?;
    ensure!(after == before, "it changed the home from\n{before}\nto\n{after}");
    let first = outcome.stderr.lines().next().unwrap_or_default();
    Ok(format!("in {:.1} s: {}", took.as_secs_f64(), first.trim()))
}

fn down(session: &mut Session) -> Result<String> {
    let begun = Instant::now();
    session.succeed(SHORT_SECONDS, "hornero down --reason 'the last day'")?;
    ensure!(session.page().is_err(), "the site still answers");
    Ok(format!("in {:.1} s", begun.elapsed().as_secs_f64()))
}

fn upgrade(session: &mut Session) -> Result<String> {
    let load = Load::start(session)?;
    let begun = Instant::now();
    session.succeed(PACKAGE_SECONDS, "dpkg -i /payload/packages/current.deb")?;
    let installed = session.succeed(30, "dpkg-query -W -f '${Version}' hornero")?;
    let status = "hornero status --json | grep -q '\"version\": *\"'$(dpkg-query -W -f '${Version}' hornero)'\"'";
    session.eventually(120, status).context("control is still the old one")?;
    let took = begun.elapsed();
    healthy(session)?;
    let requests = load.stop(session)?;
    session.site_says(NEW_TEXT, Duration::from_secs(30))?;
    Ok(format!(
        "{} to {} in {:.1} s; {requests}",
        payload::PREVIOUS,
        installed.trim(),
        took.as_secs_f64()
    ))
}

fn purge(session: &mut Session) -> Result<String> {
    session.succeed(PACKAGE_SECONDS, "dpkg --purge hornero 2>&1")?;
    session.succeed(10, "test ! -e /var/lib/hornero && rm -rf /root/site")?;
    Ok("the package, and the home with it".to_owned())
}

fn compare(session: &mut Session) -> Result<String> {
    let before = session.before.take().context("nothing was noted before")?;
    // What ends by itself, such as a timer's service, gets the time to.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let after = Traces::parse(&session.succeed(SHORT_SECONDS, "bash /payload/traces.sh")?)?;
        let differences = after.differences(&before);
        if differences.is_empty() {
            return Ok("nothing is left".to_owned());
        }
        let shown: Vec<_> = differences.iter().take(60).cloned().collect();
        ensure!(
            Instant::now() < deadline,
            "{} differences to before:\n{}",
            differences.len(),
            shown.join("\n")
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn native_tests(session: &mut Session) -> Result<String> {
    session.succeed(SHORT_SECONDS, "/payload/tests/set-up")?;
    let mut counts = Vec::new();
    for name in native::names() {
        // One at a time: their deadlines are for processors that are theirs.
        let command = format!(
            "cd /tmp && RUSTC=/payload/tests/rustc /payload/tests/{name} --test-threads 1 2>&1"
        );
        let output = session.succeed(TESTS_SECONDS, &command)?;
        counts.push(format!("{name} {}", native::passed(&output)?));
    }
    Ok(format!("passed: {}", counts.join(", ")))
}

/// The control process, as it says itself.
fn control(session: &mut Session) -> Result<u64> {
    let status = json(&session.succeed(30, "hornero status --json")?)?;
    status["control"]["pid"].as_u64().context("`status` names no control process")
}

/// How many instances serve; all must.
fn healthy(session: &mut Session) -> Result<usize> {
    let status = session.succeed(30, "hornero status --json")?;
    let value = json(&status)?;
    let instances = value["services"][0]["instances"].as_array().into_iter().flatten();
    let serving = instances.filter(|instance| instance["state"] == "serving").count();
    ensure!(serving == INSTANCES, "{serving} of {INSTANCES} instances serve:\n{status}");
    Ok(serving)
}

/// Asks for pages until `/run/load.stop` exists, ten times a second: emulated machines have little more to give.
const LOAD: &str = "until test -e /run/load.stop; do sleep 0.5; done | /payload/bin/hornero-load run 127.0.0.1:8000 \
    --json --until-stdin-ends --seconds 900 --timeout 20 --keep-alive 2 --new-connection 2 --interval-ms 400 \
    >/run/load.json";

/// Load on the site from inside of the machine.
struct Load;

impl Load {
    fn start(session: &mut Session) -> Result<Self> {
        session.succeed(
            30,
            &format!("rm -f /run/load.*; systemd-run -q --unit=load bash -c '{LOAD}'"),
        )?;
        Ok(Self)
    }

    /// Ends it, and says how many requests there were; none may have failed.
    fn stop(self, session: &mut Session) -> Result<String> {
        session.succeed(
            60,
            "touch /run/load.stop; while systemctl is-active -q load; do sleep 0.2; done",
        )?;
        let report = session.succeed(30, "cat /run/load.json; rm -f /run/load.*")?;
        let value = json(&report)?;
        let failed = value["failed"].as_u64().context("the load's report has no `failed`")?;
        ensure!(failed == 0, "{failed} requests failed:\n{report}");
        let started = value["started"].as_u64().context("the load's report has no `started`")?;
        ensure!(started > 0, "the load asked for nothing:\n{report}");
        let modes = value["modes"].as_object().into_iter().flat_map(|modes| modes.values());
        let longest =
            modes.filter_map(|mode| mode["latency"]["max_ms"].as_f64()).fold(0.0, f64::max);
        Ok(format!(
            "{started} requests, none failed, the last of a backlog {longest:.0} ms after it was due"
        ))
    }
}
