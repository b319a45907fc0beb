//! The first hour of somebody who has a bare Debian machine and Hornero's package: each command and what it printed.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    session::Session,
    steps::{Step, boot},
};

/// What a page says first, and after a change.
const TEXT: &str = "Hello from my first service.";
const NEW_TEXT: &str = "Hello again, changed.";
/// A first bake fetches and configures eighty packages; emulation is ten to twenty times slower than a machine.
const BAKE_SECONDS: u64 = 2700;
const SECONDS: u64 = 600;
/// How long pages may take to answer after a boot, from when the agent runs.
const SERVING_AGAIN: Duration = Duration::from_secs(600);
/// Where the transcript is kept beside the machine's logs.
const TRANSCRIPT: &str = "newcomer.txt";

/// The steps, each told in the transcript.
pub fn steps() -> Vec<Step> {
    let step = |name, run| Step { name, run };
    vec![
        step("boot", boot),
        step("mirror", reach_mirror),
        step("install", install),
        step("init", init),
        step("up", up),
        step("change", change),
        step("rollback", roll_back),
        step("reboot", reboot),
        step("down", down),
    ]
}

/// The one address that is let out of the machine is Debian's mirror, as the builder reaches it.
fn reach_mirror(session: &mut Session) -> Result<String> {
    let mirror = session.machine.mirror().context("this machine has no way to a mirror")?;
    let (host, address) = (mirror.host.clone(), super::machine::MIRROR_ADDRESS);
    session.succeed(10, &format!("echo '{address} {host}' >> /etc/hosts"))?;
    let sources =
        session.succeed(10, "cat /etc/apt/sources.list /etc/apt/sources.list.d/* || true")?;
    ensure!(sources.contains(&host), "apt's sources are\n{sources}");
    Ok(host)
}

fn install(session: &mut Session) -> Result<String> {
    session.succeed(10, "cp /payload/packages/current.deb /root/hornero.deb")?;
    let page = format!("<!doctype html><title>Hello</title><p>{TEXT}</p>");
    session
        .succeed(10, &format!("mkdir -p /root/hello && echo '{page}' >/root/hello/index.html"))?;
    tell(session, SECONDS, "dpkg -i hornero.deb")?;
    tell(session, SECONDS, "hornero doctor")?;
    Ok("the package".to_owned())
}

fn init(session: &mut Session) -> Result<String> {
    tell(session, 60, "hornero init hello")?;
    tell(session, 10, "cat hello/hornero.hcl")?;
    // The port that the builder reaches the machine by.
    let found =
        session.succeed(10, "grep -n -E '(listen|default) *= *8' /root/hello/hornero.hcl")?;
    ensure!(found.contains("8000"), "`init` chose no port 8000:\n{found}");
    Ok("a first hornero.hcl".to_owned())
}

fn up(session: &mut Session) -> Result<String> {
    tell(session, BAKE_SECONDS, "hornero up hello")?;
    session.site_says(TEXT, Duration::from_secs(30))?;
    tell(session, 30, "curl -s http://127.0.0.1:8000/")?;
    tell(session, 60, "hornero status")?;
    Ok("the first release serves".to_owned())
}

fn change(session: &mut Session) -> Result<String> {
    tell(session, 10, &format!("sed -i 's/{TEXT}/{NEW_TEXT}/' hello/index.html"))?;
    tell(session, BAKE_SECONDS, "hornero up hello --reason 'a friendlier page'")?;
    session.site_says(NEW_TEXT, Duration::from_secs(30))?;
    tell(session, 30, "curl -s http://127.0.0.1:8000/")?;
    Ok("the second release serves".to_owned())
}

fn roll_back(session: &mut Session) -> Result<String> {
    tell(session, SECONDS, "hornero rollback hello --reason 'the old one was better'")?;
    session.site_says(TEXT, Duration::from_secs(30))?;
    tell(session, 60, "hornero history hello")?;
    Ok("the first release serves again".to_owned())
}

fn reboot(session: &mut Session) -> Result<String> {
    session.succeed(30, "sync")?;
    session.machine.cut_power()?;
    session.machine.boot()?;
    let waited = session.site_says(TEXT, SERVING_AGAIN)?;
    note(session, "(the machine is switched off and on)\n")?;
    tell(session, 30, "curl -s http://127.0.0.1:8000/")?;
    tell(session, 60, "journalctl -b -u hornero --no-pager -o cat")?;
    Ok(format!("serves {:.1} s after the agent", waited.as_secs_f64()))
}

fn down(session: &mut Session) -> Result<String> {
    tell(session, SECONDS, "hornero down")?;
    let path = session.logs.join(TRANSCRIPT);
    Ok(format!("the transcript is {}", path.display()))
}

/// Runs a command in root's home, as one would type it there, and writes down what it printed.
fn tell(session: &mut Session, seconds: u64, command: &str) -> Result<()> {
    let printed = session.succeed(seconds, &format!("cd /root && {{ {command}; }} 2>&1"))?;
    note(session, &format!("# {command}\n{printed}\n"))
}

fn note(session: &Session, text: &str) -> Result<()> {
    let path = session.logs.join(TRANSCRIPT);
    let mut all = fs::read_to_string(&path).unwrap_or_default();
    all += text;
    fs::write(&path, all).with_context(|| format!("cannot write `{}`", path.display()))
}
