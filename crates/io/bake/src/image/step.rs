//! Runs one step in the sandbox: nothing of the host in sight, limits on, its output shown as it comes.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read},
    os::fd::OwnedFd,
    path::Path,
    thread,
    time::Duration,
};

use hornero_model::{ExitCause, ImageName};
use hornero_sandbox::{
    ComposedRoot, IdMap, Profile, ProvidedFile, Root, Running, SandboxSpec, Stdio, User,
};
use hornero_store::RootFiles;

use super::{
    place::{MEMORY_BYTES, Place},
    room::{Ended, Overfull, Room},
};
use crate::{
    BakeError,
    progress::{BakeEvent, BakeProgress},
    provision::{Cover, Secrets},
};

/// Lines of output that an error repeats.
const TAIL_LINES: usize = 40;
/// As above, where all of them are about what failed.
const SECTION_LINES: usize = 400;
/// Longest line that is shown; the rest of it is dropped.
const LINE_BYTES: usize = 2_000;
/// A step that takes longer than this hangs.
const STEP_TIMEOUT: Duration = Duration::from_secs(3_600);
/// `/tmp` of a step.
pub(crate) const TMP_BYTES: u64 = 4 << 30;
/// Host ids of build steps: 65,536 above 1,610,612,736, which no distribution gives to people or services.
const ID_MAP: IdMap = IdMap { first: 0x6000_0000, count: 0x1_0000 };

/// Scripts write the machine's own name into configuration files, as postfix's do: one that is true on every machine, and
/// the same wherever an image is baked.
pub(crate) const HOST_NAME: &str = "localhost";
/// Scripts ask for addresses.
pub(crate) const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

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
    pub lower: Option<RootFiles>,
    /// A directory with `upper` and `work`.
    pub dir: &'s Path,
    /// Whether it has a network.
    pub network: bool,
    /// Most bytes that it may write.
    pub max_bytes: u64,
    /// What a provision adds.
    pub extras: Extras,
}

impl Step<'_> {
    /// What a process of it has of the home.
    pub(crate) fn place(&self, home: &Path) -> Result<Place, BakeError> {
        Place::new(home, self.network).map_err(|source| BakeError::Network {
            image: self.image.clone(),
            step: self.title.clone(),
            source,
        })
    }
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
    /// Whose lines begin with this line, where several packages write: an error then has all of the last one's.
    pub section: Option<Section>,
}

/// Tells the name of what begins with a line.
pub(crate) type Section = fn(&str) -> Option<&str>;

/// Starts steps for one home.
pub(crate) struct Steps<'s> {
    /// The home, for its network.
    pub home: &'s Path,
    /// Is told what a step writes.
    pub progress: &'s dyn BakeProgress,
}

impl Steps<'_> {
    /// Runs a step to its end; anything but exit code 0 is an error with the last lines it wrote.
    pub(crate) fn run(&self, step: &Step<'_>) -> Result<(), BakeError> {
        let place = step.place(self.home)?;
        let spec = self.sandbox(step, &place)?;
        let started = || -> io::Result<_> {
            let (reader, writer) = io::pipe()?;
            Ok((reader, writer.try_clone()?, writer))
        };
        let (reader, stdout, stderr) =
            started().map_err(|error| BakeError::file(step.dir, error))?;
        let stdin = step.extras.stdin.as_ref().map(OwnedFd::try_clone).transpose();
        let stdin = stdin.map_err(|error| BakeError::file(step.dir, error))?;
        let stdio = Stdio { stdin, stdout: stdout.into(), stderr: stderr.into() };
        let running = place.start(&spec, stdio);
        let running = running.map_err(|error| BakeError::Sandbox {
            image: step.image.clone(),
            step: step.title.clone(),
            source: Box::new(error),
        })?;
        let upper = step.dir.join("upper");
        let room = Room::new(&upper, step.max_bytes);
        let room = room.map_err(|error| BakeError::file(&upper, error))?;
        let (cause, tail) = self.follow(step, running, reader, room);
        drop(place);
        hornero_sandbox::settle_owners(step.dir, ID_MAP)
            .map_err(|error| BakeError::file(step.dir, error))?;
        let (image, title) = (step.image.clone(), step.title.clone());
        match cause {
            Ok(None) => Ok(()),
            Ok(Some(Overfull::Limit)) => {
                Err(BakeError::StepTooLarge { image, step: title, limit_bytes: step.max_bytes })
            }
            Ok(Some(Overfull::Disk { free_bytes })) => {
                Err(BakeError::StepFillsDisk { image, step: title, free_bytes })
            }
            Err(cause) => Err(BakeError::Step {
                image,
                step: title,
                cause,
                tail: tail.into_iter().collect::<Vec<_>>().join("\n"),
            }),
        }
    }

    fn sandbox(&self, step: &Step<'_>, place: &Place) -> Result<SandboxSpec, BakeError> {
        for name in ["upper", "work"] {
            let path = step.dir.join(name);
            std::fs::create_dir_all(&path).map_err(|error| BakeError::file(&path, error))?;
        }
        let mut files = vec![
            provided("/etc/hosts", HOSTS),
            provided("/etc/hostname", &format!("{HOST_NAME}\n")),
        ];
        if let Some(resolvers) = place.resolvers() {
            files.push(provided("/etc/resolv.conf", resolvers));
        }
        files.extend(step.extras.files.iter().cloned());
        let lower = step.lower.as_ref().map(|files| ComposedRoot {
            metadata: files.metadata.clone(),
            objects: files.objects.clone(),
        });
        Ok(SandboxSpec {
            root: Root::Build { lower, dir: step.dir.to_owned() },
            command: vec!["/bin/sh".to_owned(), "-c".to_owned(), step.script.clone()],
            env: step.env.clone(),
            workdir: "/".to_owned(),
            user: User::default(),
            id_map: Some(ID_MAP),
            scratch: Vec::new(),
            tmp_bytes: TMP_BYTES,
            files,
            hostname: HOST_NAME.to_owned(),
            cgroup: Some(place.cgroup.clone()),
            profile: Profile::Build,
        })
    }

    /// Passes output on until the step has ended.
    fn follow(
        &self,
        step: &Step<'_>,
        mut running: Running,
        reader: io::PipeReader,
        mut room: Room<'_>,
    ) -> (Result<Option<Overfull>, String>, VecDeque<String>) {
        thread::scope(|scope| {
            let cover = Cover::new(step.extras.secrets.needles());
            let reading =
                scope.spawn(|| self.read_lines(step.image, reader, cover, step.extras.section));
            let ended = room.wait(&mut running, STEP_TIMEOUT);
            // Whatever it left running holds the pipe open.
            drop(running);
            let tail = reading.join().unwrap_or_default();
            let cause = match ended {
                Ok(Ended::Itself(ExitCause::Code(0))) => Ok(None),
                Ok(Ended::Itself(cause)) => Err(describe(&cause)),
                Ok(Ended::Overfull(overfull)) => Ok(Some(overfull)),
                Ok(Ended::TimedOut) => {
                    Err(format!("it ran for more than {} s", STEP_TIMEOUT.as_secs()))
                }
                Err(error) => Err(format!("its end could not be waited for: {error}")),
            };
            (cause, tail)
        })
    }

    /// Passes lines on as they come, secrets covered; gives the last ones, from where the last section begins.
    pub(crate) fn read_lines(
        &self,
        image: &ImageName,
        mut reader: io::PipeReader,
        mut cover: Cover,
        section: Option<Section>,
    ) -> VecDeque<String> {
        let mut tail = VecDeque::new();
        let mut line = Vec::new();
        let mut buffer = [0_u8; 8192];
        let mut finish = |line: &mut Vec<u8>| {
            let text = clean_line(line);
            line.clear();
            if section.is_some_and(|begins| begins(&text).is_some()) {
                tail.clear();
            }
            if tail.len() == if section.is_some() { SECTION_LINES } else { TAIL_LINES } {
                tail.pop_front();
            }
            tail.push_back(text.clone());
            self.progress.event(BakeEvent::Output { image: image.clone(), line: text });
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
}

/// Words for people on how a step ended.
pub(crate) fn describe(cause: &ExitCause) -> String {
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
