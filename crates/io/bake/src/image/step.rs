//! Runs one step in the sandbox: nothing of the host in sight, limits on, its output shown as it comes.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read},
    net::IpAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use hornero_model::{Digest, ExitCause, ImageName, InstanceId, Resources};
use hornero_net::{Attachment, HomeNetwork};
use hornero_sandbox::{
    CgroupSpec, ComposedRoot, IdMap, Network, Profile, ProvidedFile, Root, Running, SandboxSpec,
    Stdio, User,
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{
    BakeError, limits,
    progress::{Event, Progress},
    provision::{Cover, Secrets},
    workdir::WorkDir,
};

/// Lines of output that an error repeats.
const TAIL_LINES: usize = 40;
/// Longest line that is shown; the rest of it is dropped.
const LINE_BYTES: usize = 2_000;
/// A step that takes longer than this hangs.
const STEP_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Enough for compilers; one runaway step must not take the host down.
const MEMORY_BYTES: u64 = 8 << 30;
/// As above, for processes and threads.
const PIDS: u32 = 8_192;
/// `/tmp` of a step.
const TMP_BYTES: u64 = 4 << 30;
/// Host ids of build steps: 65,536 above 1,610,612,736, which no distribution gives to people or services.
const ID_MAP: IdMap = IdMap { first: 0x6000_0000, count: 0x1_0000 };

/// Scripts ask for the machine's own name.
const HOSTS: &str =
    "127.0.0.1 localhost\n127.0.1.1 hornero-build\n::1 localhost ip6-localhost ip6-loopback\n";

/// A step to run.
pub(crate) struct Step<'s> {
    /// The image it belongs to.
    pub image: &'s ImageName,
    /// The step, for people, such as "run `nginx -t`".
    pub title: String,
    /// The shell script.
    pub script: String,
    /// Its environment.
    pub env: BTreeMap<String, String>,
    /// What lies below.
    pub lower: Option<ComposedRoot>,
    /// A directory with `upper` and `work`.
    pub dir: &'s Path,
    /// Whether it has a network.
    pub network: bool,
    /// What a provision adds.
    pub extras: Extras,
}

/// What a step may have beside its script.
#[derive(Default)]
pub(crate) struct Extras {
    /// Files laid over the root, read-only; those of the secrets are among them.
    pub files: Vec<ProvidedFile>,
    /// Its standard input; none means an empty one.
    pub stdin: Option<OwnedFd>,
    /// What must be neither shown nor kept.
    pub secrets: Secrets,
}

/// Starts steps for one home.
pub(crate) struct Steps<'s> {
    /// The home, for its network.
    pub home: &'s Path,
    /// Is told what a step writes.
    pub progress: &'s dyn Progress,
}

static NUMBER: AtomicU64 = AtomicU64::new(0);

impl Steps<'_> {
    /// Runs a step to its end; anything but exit code 0 is an error with the last lines it wrote.
    pub(crate) fn run(&self, step: &Step<'_>) -> Result<(), BakeError> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("bake-{}-{number}", std::process::id());
        let network = if step.network { Some(self.network(step, &name)?) } else { None };
        let spec = self.sandbox(step, name, network.as_ref())?;
        let started = || -> io::Result<_> {
            let (reader, writer) = io::pipe()?;
            Ok((reader, writer.try_clone()?, writer))
        };
        let (reader, stdout, stderr) =
            started().map_err(|error| BakeError::file(step.dir, error))?;
        let stdin = step.extras.stdin.as_ref().map(OwnedFd::try_clone).transpose();
        let stdin = stdin.map_err(|error| BakeError::file(step.dir, error))?;
        let stdio = Stdio { stdin, stdout: stdout.into(), stderr: stderr.into() };
        let running = match &network {
            None => hornero_sandbox::start(&spec, stdio, Network::Isolated),
            Some(network) => {
                let mut attach = |netns: std::os::fd::BorrowedFd<'_>| {
                    network.attach(netns).map_err(|error| error.to_string())
                };
                hornero_sandbox::start(&spec, stdio, Network::Attach(&mut attach))
            }
        };
        let running = running.map_err(|error| BakeError::Sandbox {
            image: step.image.clone(),
            step: step.title.clone(),
            source: Box::new(error),
        })?;
        let (cause, tail) = self.follow(step, running, reader);
        drop(network);
        hornero_sandbox::settle_owners(step.dir, ID_MAP)
            .map_err(|error| BakeError::file(step.dir, error))?;
        match cause {
            Ok(()) => Ok(()),
            Err(cause) => Err(BakeError::Step {
                image: step.image.clone(),
                step: step.title.clone(),
                cause,
                tail: tail.into_iter().collect::<Vec<_>>().join("\n"),
            }),
        }
    }

    fn sandbox(
        &self,
        step: &Step<'_>,
        name: String,
        network: Option<&StepNetwork>,
    ) -> Result<SandboxSpec, BakeError> {
        for name in ["upper", "work"] {
            let path = step.dir.join(name);
            std::fs::create_dir_all(&path).map_err(|error| BakeError::file(&path, error))?;
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let cpu_millis = u32::try_from(cores * 1_000).unwrap_or(u32::MAX);
        let resources = Resources { memory_bytes: MEMORY_BYTES, cpu_millis, pids: PIDS };
        let mut files =
            vec![provided("/etc/hosts", HOSTS), provided("/etc/hostname", "hornero-build\n")];
        if let Some(network) = network {
            files.push(provided("/etc/resolv.conf", &network.resolvers));
        }
        files.extend(step.extras.files.iter().cloned());
        Ok(SandboxSpec {
            root: Root::Build { lower: step.lower.clone(), dir: step.dir.to_owned() },
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), step.script.clone()],
            env: step.env.clone(),
            workdir: "/".to_owned(),
            user: User::default(),
            id_map: Some(ID_MAP),
            scratch: Vec::new(),
            tmp_bytes: TMP_BYTES,
            files,
            hostname: "hornero-build".to_owned(),
            cgroup: Some(CgroupSpec { parent: cgroup_parent(self.home), name, resources }),
            profile: Profile::Build,
        })
    }

    /// Passes output on until the step has ended.
    fn follow(
        &self,
        step: &Step<'_>,
        mut running: Running,
        reader: io::PipeReader,
    ) -> (Result<(), String>, VecDeque<String>) {
        thread::scope(|scope| {
            let cover = Cover::new(step.extras.secrets.needles());
            let reading = scope.spawn(|| self.read_lines(step.image, reader, cover));
            let ended = running.wait(Some(STEP_TIMEOUT));
            // Whatever it left running holds the pipe open.
            drop(running);
            let tail = reading.join().unwrap_or_default();
            let cause = match ended {
                Ok(Some(ExitCause::Code(0))) => Ok(()),
                Ok(Some(cause)) => Err(describe(&cause)),
                Ok(None) => Err(format!("it ran for more than {} s", STEP_TIMEOUT.as_secs())),
                Err(error) => Err(format!("its end could not be waited for: {error}")),
            };
            (cause, tail)
        })
    }

    /// Passes lines on as they come, secrets covered; gives the last ones.
    pub(crate) fn read_lines(
        &self,
        image: &ImageName,
        mut reader: io::PipeReader,
        mut cover: Cover,
    ) -> VecDeque<String> {
        let mut tail = VecDeque::new();
        let mut line = Vec::new();
        let mut buffer = [0_u8; 8192];
        let mut finish = |line: &mut Vec<u8>| {
            let text = clean_line(line);
            line.clear();
            if tail.len() == TAIL_LINES {
                tail.pop_front();
            }
            tail.push_back(text.clone());
            self.progress.event(Event::Output { image: image.clone(), line: text });
        };
        let mut ended = false;
        while !ended {
            let shown = match reader.read(&mut buffer) {
                Ok(count) if count > 0 => cover.pass(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(_) | Err(_) => {
                    ended = true;
                    cover.finish()
                }
            };
            for byte in shown {
                if byte == b'\n' {
                    finish(&mut line);
                } else if line.len() < LINE_BYTES {
                    line.push(byte);
                }
            }
        }
        if !line.is_empty() {
            finish(&mut line);
        }
        tail
    }

    fn network(&self, step: &Step<'_>, name: &str) -> Result<StepNetwork, BakeError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BakeError::Network {
            image: step.image.clone(),
            step: step.title.clone(),
            source,
        };
        let resolvers = host_resolvers().map_err(|error| failed(error.into()))?;
        let mut network = HomeNetwork::open(self.home).map_err(|error| failed(error.into()))?;
        network.up().map_err(|error| failed(error.into()))?;
        let instance = InstanceId::new(name).map_err(|error| failed(error.into()))?;
        let address = network.allocate_address(&instance).map_err(|error| failed(error.into()))?;
        let attachment = Attachment { instance, address, egress: true };
        Ok(StepNetwork { network, attachment, resolvers })
    }
}

/// Words for people on how a step ended.
fn describe(cause: &ExitCause) -> String {
    match cause {
        ExitCause::Code(code) => format!("exit code {code}"),
        ExitCause::Signal(signal) => format!("killed by signal {signal}"),
        ExitCause::OutOfMemory => {
            format!("it needed more than {} MiB of memory", MEMORY_BYTES >> 20)
        }
        other => format!("{other:?}"),
    }
}

/// A line without what a terminal would act on.
fn clean_line(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let text = text.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    text.chars().map(|char| if char.is_control() && char != '\t' { ' ' } else { char }).collect()
}

fn provided(path: &str, contents: &str) -> ProvidedFile {
    ProvidedFile::new(path, contents)
}

/// The control group of a home's build steps.
pub(crate) fn cgroup_parent(home: &Path) -> String {
    let path: PathBuf = std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    let digest = Digest::of(path.as_os_str().as_encoded_bytes()).hex();
    format!("hornero-bake-{}", &digest[..8])
}

/// Removes what bakes of this home that were killed left behind: work directories and control groups.
///
/// A bake does so when it begins; this is for those that free room or take a home down.
///
/// # Errors
/// [`BakeError`] when a work directory can't be removed.
pub fn clean(home: &Path) -> Result<(), BakeError> {
    let tmp = home.join("tmp");
    WorkDir::clean(&tmp).map_err(|error| BakeError::file(&tmp, error))?;
    clean_cgroups(home);
    Ok(())
}

/// Removes the groups that steps of dead bakes left, and the parent where nothing is left in it.
pub(crate) fn clean_cgroups(home: &Path) {
    let parent = cgroup_parent(home);
    for name in hornero_sandbox::groups_below(&parent) {
        let owner = name.strip_prefix("bake-").and_then(|rest| rest.split('-').next());
        if !owner.is_some_and(|owner| is_at_work(home, owner)) {
            // What cannot be removed now is tried again by the next bake.
            let _ = hornero_sandbox::Cgroup::at(&parent, &name).remove();
        }
    }
    hornero_sandbox::remove_parent(&parent);
}

/// Whether the process that had this id when it made a group still bakes: each step runs in a work directory, which
/// stays locked. A process of that id alone says nothing, as ids are used again.
fn is_at_work(home: &Path, owner: &str) -> bool {
    let Ok(entries) = std::fs::read_dir(home.join("tmp")) else { return false };
    let prefix = format!("bake-{owner}-");
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let is_lock =
            name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".lock"));
        is_lock
            && std::fs::File::open(entry.path()).is_ok_and(|lock| {
                let locked = flock(&lock, FlockOperation::NonBlockingLockShared);
                locked == Err(Errno::WOULDBLOCK)
            })
    })
}

/// A step's way to the outside; given back when dropped.
struct StepNetwork {
    network: HomeNetwork,
    attachment: Attachment,
    resolvers: String,
}

impl StepNetwork {
    fn attach(&self, netns: std::os::fd::BorrowedFd<'_>) -> Result<(), hornero_net::Error> {
        self.network.attach(netns, &self.attachment)
    }
}

impl Drop for StepNetwork {
    fn drop(&mut self) {
        // An address that is not given back now expires with its id, which is used once.
        let _ = self.network.detach(&self.attachment.instance);
        let _ = self.network.release_address(&self.attachment.instance);
    }
}

/// The host's name servers that can be reached from a namespace of its own: those on loopback cannot, and what they
/// forward to is asked instead where systemd-resolved says so.
fn host_resolvers() -> Result<String, String> {
    /// resolv.conf files are a few hundred bytes.
    const RESOLV_CONF_BYTES: u64 = 64 << 10;
    let files = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    for file in files {
        let Ok(text) = limits::read_text(file.as_ref(), RESOLV_CONF_BYTES) else { continue };
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| {
                let mut words = line.split_whitespace();
                match (words.next(), words.next()) {
                    (Some("nameserver"), Some(address)) => address
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.is_ipv4() && !address.is_loopback()),
                    (Some("search" | "options" | "domain"), Some(_)) => true,
                    _ => false,
                }
            })
            .collect();
        if kept.iter().any(|line| line.starts_with("nameserver")) {
            return Ok(kept.join("\n") + "\n");
        }
    }
    Err("this host has no name server that is not on its own loopback".to_owned())
}
