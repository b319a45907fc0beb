//! A machine under QEMU's software emulation: started, asked, cut from power, ended.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    agent::{Agent, CommandOutcome},
    archive::Mirror,
    image::Image,
};
use crate::run;

/// From power to the agent: 20 to 50 s on two free cores, many times as long where builds and tests run beside it.
const BOOT_TIMEOUT: Duration = Duration::from_secs(900);
/// How often it is switched on before a kernel that dies in its first second is given up.
const BOOT_TRIES: u32 = 3;
/// Where the example site listens in the machine.
pub const SITE_PORT: u16 = 8000;
/// Where a machine reaches the mirror, where it may.
pub const MIRROR_ADDRESS: &str = "10.0.2.100";
/// The time that Debian's own units get to start is for processors that don't share theirs with builds.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 root=/dev/vda rw mitigations=off panic=-1 \
    systemd.default_timeout_start_sec=900";
/// How much of the console is shown with a failure.
const CONSOLE_LINES: usize = 30;

/// A machine with its disk, running or not.
pub struct Machine {
    dir: PathBuf,
    image: Image,
    payload: PathBuf,
    mirror: Option<Mirror>,
    boots: u32,
    used: Duration,
    /// Where the host reaches the machine's [`SITE_PORT`].
    pub site: SocketAddr,
    running: Option<Running>,
}

struct Running {
    qemu: Child,
    agent: Agent,
}

impl Machine {
    /// A machine with a fresh copy of the image's disk in `dir`, not yet running.
    ///
    /// With a mirror its port 80, and nothing else outside, can be reached from it.
    pub fn new(dir: &Path, image: Image, payload: &Path, mirror: Option<Mirror>) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--reflink=auto"]).arg(&image.disk).arg(dir.join("disk"));
        run::check(&mut copy)?;
        // Free at this moment; QEMU takes it a little later.
        let site = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self {
            dir: dir.to_owned(),
            image,
            payload: payload.to_owned(),
            mirror,
            boots: 0,
            used: Duration::ZERO,
            site,
            running: None,
        })
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        &self.image.release
    }

    /// The mirror that it can reach.
    pub fn mirror(&self) -> Option<&Mirror> {
        self.mirror.as_ref()
    }

    /// Switches it on and waits for the agent.
    ///
    /// Once in a while a kernel dies under emulation in its first second, with none of its disks mounted. That says nothing
    /// of Hornero: it is switched on again, and said.
    pub fn boot(&mut self) -> Result<()> {
        for _ in 1..BOOT_TRIES {
            match self.boot_once() {
                Err(_) if died_before_init(&self.console()) => {
                    let console = self.console();
                    eprintln!(
                        "hosts: a kernel died before its first program, so again; {}",
                        console.display()
                    );
                }
                booted => return booted,
            }
        }
        self.boot_once()
    }

    fn boot_once(&mut self) -> Result<()> {
        self.boots += 1;
        // A short path: the target directory's may be longer than a socket's can be.
        let sockets = tempfile::tempdir()?;
        let socket = sockets.path().join("agent");
        let mut command = self.qemu(&socket);
        let qemu =
            command.spawn().with_context(|| format!("cannot run `{}`", run::line(&command)))?;
        let mut qemu = KillOnDrop(Some(qemu));
        let mut agent = Agent::connect(&socket)?;
        let console = self.console();
        let child = qemu.0.as_mut().context("QEMU was just started")?;
        agent.wait_ready(BOOT_TIMEOUT, &mut || still_runs(child)).with_context(|| {
            format!("it did not boot; its console ends with\n{}", tail(&console))
        })?;
        let qemu = qemu.0.take().context("QEMU was just started")?;
        self.running = Some(Running { qemu, agent });
        Ok(())
    }

    /// Runs a shell command in it for at most `seconds`, whatever comes of it.
    pub fn run(&mut self, seconds: u64, command: &str) -> Result<CommandOutcome> {
        let console = self.console();
        let running = self.running.as_mut().context("the machine is off")?;
        let Running { qemu, agent } = running;
        agent
            .run(seconds, command, &mut || still_runs(qemu))
            .with_context(|| format!("`{command}`; the console ends with\n{}", tail(&console)))
    }

    /// Takes its power: nothing in it gets to write or say anything more.
    pub fn cut_power(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else { bail!("the machine is off") };
        self.used += processor_time(running.qemu.id()).unwrap_or_default();
        running.qemu.kill().context("cannot kill QEMU")?;
        running.qemu.wait().context("cannot wait for QEMU")?;
        Ok(())
    }

    /// Processor time that its emulation has used since it was made, over all boots: on a busy builder a step takes
    /// longer, and this stays.
    pub fn processor_time(&self) -> Duration {
        let running = self.running.as_ref().and_then(|running| processor_time(running.qemu.id()));
        self.used + running.unwrap_or_default()
    }

    /// Whether it has power.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    fn console(&self) -> PathBuf {
        self.dir.join(format!("console-{}.log", self.boots))
    }

    fn qemu(&self, socket: &Path) -> Command {
        let drive = |path: &Path, more: &str| {
            // Without flushes to the host's disk: every write reaches QEMU's file, which outlives QEMU.
            format!("file={},format=raw,if=virtio,cache=unsafe{more}", path.display())
        };
        let mut forward =
            format!("user,id=link,restrict=on,hostfwd=tcp:{}-10.0.2.15:{SITE_PORT}", self.site);
        if let Some(mirror) = &self.mirror {
            // One busybox for each connection.
            let netcat = format!("busybox nc {} 80", mirror.host);
            forward += &format!(",guestfwd=tcp:{MIRROR_ADDRESS}:80-cmd:{netcat}");
        }
        let mut command = Command::new("qemu-system-x86_64");
        command
            // Without what slows emulation down: five levels of page tables, and machines within the machine.
            .args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,la57=off,svm=off"])
            .args(["-smp", "2", "-m", "2048"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(&self.image.kernel)
            .arg("-initrd")
            .arg(&self.image.initrd)
            .args(["-append", KERNEL_ARGUMENTS])
            .arg("-serial")
            .arg(format!("file:{}", self.console().display()))
            .arg("-drive")
            .arg(drive(&self.dir.join("disk"), ""))
            .arg("-drive")
            .arg(drive(&self.payload, ",readonly=on"))
            .args(["-device", "virtio-serial-pci", "-device", "virtio-rng-pci"])
            .arg("-chardev")
            .arg(format!("socket,id=agent,path={},server=on,wait=off", socket.display()))
            .args(["-device", "virtserialport,chardev=agent,name=hornero.agent"])
            .args(["-netdev", &forward, "-device", "virtio-net-pci,netdev=link"])
            .stdin(Stdio::null());
        // SAFETY: prctl is a system call and allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // QEMU does not outlive the thread that drives it, however that ends.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            drop(KillOnDrop(Some(running.qemu)));
        }
        // Gigabytes; the consoles stay.
        let _ = fs::remove_file(self.dir.join("disk"));
    }
}

/// Ends a process that nobody took over.
struct KillOnDrop(Option<Child>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether a console tells of a kernel that panicked before it ran any program.
fn died_before_init(console: &Path) -> bool {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.contains("Kernel panic") && !text.contains("as init process")
}

fn still_runs(qemu: &mut Child) -> Result<()> {
    match qemu.try_wait()? {
        None => Ok(()),
        Some(status) => bail!("QEMU has ended: {status}"),
    }
}

/// User and system time of a process that runs.
fn processor_time(pid: u32) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state is field 3, utime 14, stime 15.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: sysconf reads a constant.
    let rate = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    Some(Duration::from_millis(ticks * 1000 / rate.max(1)))
}

fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_panic_before_the_first_program_is_the_emulations() {
        let dir = tempfile::tempdir().unwrap();
        let console = dir.path().join("console");
        let says = |text: &str| {
            fs::write(&console, text).unwrap();
            died_before_init(&console)
        };
        assert!(says(
            "[    1.0] RIP: 0010:enqueue_timer\n[    1.1] Kernel panic - not syncing: x\n"
        ));
        assert!(!says(
            "[    2.7] Run /init as init process\n[    9.1] Kernel panic - not syncing: x\n"
        ));
        assert!(!says("[    1.0] still booting\n"));
        assert!(!died_before_init(&dir.path().join("none")));
    }
}
