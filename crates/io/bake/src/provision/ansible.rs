//! Runs a playbook against the tree being baked: Ansible on the host, its modules in the build sandbox.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hornero_model::Digest;
use hornero_sandbox::ProvidedFile;
use hornero_store::Tree;

use super::{
    Cover, Playbook,
    agent::{self, Agent},
    confine::confine,
    tool,
};
use crate::{BakeError, image::step::Step, install::Surroundings};

/// The connection plugin; its name is that of its file.
const PLUGIN: &str = include_str!("connection.py");
const CONNECTION: &str = "hornero_build";
/// The exit code that the agent is told when Ansible failed.
const GIVEN_UP: u8 = 75;
/// How often it is looked whether Ansible has ended; it takes seconds.
const PATROL: Duration = Duration::from_millis(10);

/// How Ansible ended.
enum Ended {
    Well,
    /// By itself, with its exit status and its last lines.
    Badly(String, String),
    /// Because the sandbox had ended before it.
    Abandoned,
}

/// Runs a playbook and stores what it changed; None where it changed nothing that stays.
pub(super) fn run(
    surroundings: &Surroundings<'_>,
    playbook: &Playbook,
    mut step: Step<'_>,
    tree: &Arc<Tree>,
    epoch: u64,
) -> Result<Option<Digest>, BakeError> {
    let (image, title) = (step.image, step.title.clone());
    let program = tool::find()
        .ok_or_else(|| BakeError::NoAnsible { image: image.clone(), step: title.clone() })?;
    let python = python(tree).map_err(|reason| BakeError::NoPython {
        image: image.clone(),
        step: title.clone(),
        reason,
    })?;
    let place = step.dir.join("ansible");
    playbook.files.stage(image, &place.join("playbook"))?;
    let failed = |error| BakeError::file(&place, error);
    let command = prepare(playbook, &step, &place, &program, python).map_err(failed)?;
    let agent = Agent::listen(step.dir).map_err(failed)?;
    step.script = format!("exec {python} -I -B {}", agent::PATH);
    step.env.extend([
        // Compiled modules carry the time that their source was written at.
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
        ("PYTHONHASHSEED".to_owned(), "0".to_owned()),
    ]);
    step.extras.files.push(ProvidedFile::new(agent::PATH, agent::PROGRAM));
    step.extras.stdin = Some(agent.stdin().map_err(failed)?);
    let sandbox_ended = AtomicBool::new(false);
    let (ended, made) = thread::scope(|scope| {
        let ansible = scope.spawn(|| {
            let ended = follow(surroundings, &step, command, &sandbox_ended);
            agent.end(if matches!(ended, Ok(Ended::Well)) { 0 } else { GIVEN_UP });
            ended
        });
        let made = surroundings.run_and_capture(&step, tree, epoch);
        sandbox_ended.store(true, Ordering::Relaxed);
        (ansible.join().expect("following Ansible does not panic"), made)
    });
    let told = format!("exit code {GIVEN_UP}");
    let failed = |cause, tail| BakeError::Step { image: image.clone(), step: title, cause, tail };
    match (ended.map_err(|error| BakeError::file(&program, error))?, made) {
        (Ended::Well, made) => made,
        (Ended::Abandoned, Err(error)) => Err(error),
        (Ended::Abandoned, Ok(_)) => {
            Err(failed("the sandbox ended before Ansible did".to_owned(), String::new()))
        }
        // What ended the sandbox is why Ansible failed; what Ansible says of it is less.
        (Ended::Badly(_, tail), Err(BakeError::Step { cause, .. })) if cause != told => {
            Err(failed(cause, tail))
        }
        (Ended::Badly(cause, tail), Ok(_) | Err(BakeError::Step { .. })) => {
            Err(failed(cause, tail))
        }
        (Ended::Badly(..), Err(error)) => Err(error),
    }
}

/// The image's Python, with what modules need of it.
fn python(tree: &Tree) -> Result<&'static str, &'static str> {
    if tree.resolve(b"usr/bin/python3", true).is_ok() {
        let whole = tree.entries().iter().any(|entry| {
            let path = entry.path.as_bytes();
            path.starts_with(b"usr/lib/python3") && path.ends_with(b"/json/__init__.py")
        });
        let minimal = "its `/usr/bin/python3` has no standard library";
        return if whole { Ok("/usr/bin/python3") } else { Err(minimal) };
    }
    match tree.resolve(b"usr/local/bin/python3", true) {
        Ok(_) => Ok("/usr/local/bin/python3"),
        Err(_) => Err("it has no `/usr/bin/python3`"),
    }
}

/// Writes what Ansible reads, and gives the command.
fn prepare(
    playbook: &Playbook,
    step: &Step<'_>,
    place: &Path,
    program: &Path,
    python: &str,
) -> io::Result<(Command, io::PipeReader)> {
    let (plugins, home) = (place.join("plugins"), place.join("home"));
    fs::create_dir_all(&plugins)?;
    fs::create_dir_all(home.join("tmp"))?;
    fs::write(plugins.join(format!("{CONNECTION}.py")), PLUGIN)?;
    fs::write(place.join("ansible.cfg"), "[defaults]\n")?;
    let host = step.image.as_str();
    let groups: BTreeMap<&str, _> = playbook
        .groups
        .iter()
        .map(|group| (group.as_str(), serde_json::json!({ "hosts": { host: {} } })))
        .collect();
    let facts = serde_json::json!({
        "ansible_python_interpreter": python,
        // As whom modules run anyway: `become` to root then does nothing.
        "ansible_user": "root",
    });
    let inventory = serde_json::json!({ "all": { "hosts": { host: facts }, "children": groups } });
    fs::write(place.join("inventory.json"), inventory.to_string())?;
    // Over everything, delegation and `connection: local` included: whatever a task does, it does in the sandbox.
    let mut vars = playbook.extra_vars.clone();
    vars.insert("ansible_connection".to_owned(), CONNECTION.into());
    fs::write(place.join("vars.json"), serde_json::to_string(&vars).map_err(io::Error::other)?)?;
    let (reader, writer) = io::pipe()?;
    let playbooks = place.join("playbook");
    let mut command = Command::new(program);
    command
        .arg("--inventory")
        .arg(place.join("inventory.json"))
        .arg("--extra-vars")
        .arg(format!("@{}", place.join("vars.json").display()))
        .arg("--")
        .arg(playbooks.join(&playbook.path))
        .current_dir(&playbooks)
        .env_clear()
        .envs(environment(place, step.dir, &step.env))
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    confine(&mut command, &home, &place.join("dev"), step.network)?;
    Ok((command, reader))
}

/// The environment of Ansible: nothing of the baking process's own, and no configuration of a user or the host.
fn environment(
    place: &Path,
    dir: &Path,
    step: &BTreeMap<String, String>,
) -> Vec<(&'static str, PathBuf)> {
    let (home, playbooks) = (place.join("home"), place.join("playbook"));
    let words = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONHASHSEED", "0"),
        ("ANSIBLE_NOCOLOR", "1"),
        ("ANSIBLE_NOCOWS", "1"),
        ("ANSIBLE_STDOUT_CALLBACK", "default"),
        ("ANSIBLE_DEPRECATION_WARNINGS", "0"),
        ("ANSIBLE_LOCALHOST_WARNING", "0"),
        ("ANSIBLE_RETRY_FILES_ENABLED", "0"),
        ("ANSIBLE_PIPELINING", "1"),
        // Every Debian has it, and root needs no password for it.
        ("ANSIBLE_BECOME_METHOD", "su"),
        // The sandbox's own tmpfs: nothing of it is in the image.
        ("ANSIBLE_REMOTE_TMP", "/tmp/.ansible"),
        ("ANSIBLE_REMOTE_TEMP", "/tmp/.ansible"),
        ("ANSIBLE_ASYNC_DIR", "/tmp/.ansible_async"),
    ];
    let paths = [
        ("HOME", home.clone()),
        ("TMPDIR", home.join("tmp")),
        ("ANSIBLE_HOME", home.clone()),
        ("ANSIBLE_LOCAL_TEMP", home.join("tmp")),
        ("ANSIBLE_CONFIG", place.join("ansible.cfg")),
        ("ANSIBLE_CONNECTION_PLUGINS", place.join("plugins")),
        ("ANSIBLE_ROLES_PATH", playbooks.join("roles")),
        ("ANSIBLE_COLLECTIONS_PATH", playbooks.join("collections")),
        ("HORNERO_BUILD_DIR", dir.to_owned()),
    ];
    let epoch = step.get("SOURCE_DATE_EPOCH").map(|epoch| ("SOURCE_DATE_EPOCH", epoch.into()));
    words.into_iter().map(|(name, word)| (name, word.into())).chain(paths).chain(epoch).collect()
}

/// Kills Ansible unless it has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for one that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts Ansible and passes its output on until it has ended, or the sandbox has.
fn follow(
    surroundings: &Surroundings<'_>,
    step: &Step<'_>,
    (mut command, reader): (Command, io::PipeReader),
    sandbox_ended: &AtomicBool,
) -> io::Result<Ended> {
    let child = command.spawn();
    // Its ends of the pipe: as long as one is open, the output has no end.
    drop(command);
    let mut running = Running(child?);
    thread::scope(|scope| {
        let cover = Cover::new(step.extras.secrets.needles());
        let reading = scope.spawn(|| surroundings.steps.read_lines(step.image, reader, cover));
        let status = loop {
            if let Some(status) = running.0.try_wait()? {
                break Some(status);
            }
            if sandbox_ended.load(Ordering::Relaxed) {
                break None;
            }
            thread::sleep(PATROL);
        };
        drop(running);
        let tail = reading.join().unwrap_or_default();
        Ok(match status {
            None => Ended::Abandoned,
            Some(status) if status.success() => Ended::Well,
            Some(status) => {
                let tail = tail.into_iter().collect::<Vec<_>>().join("\n");
                let cause = match status.code() {
                    Some(code) => format!("Ansible ended with exit code {code}"),
                    None => format!("Ansible was ended: {status}"),
                };
                Ended::Badly(cause, tail)
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use hornero_store::{Entry, EntryKind, Layer, Metadata, TreePath};

    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut entries: BTreeMap<TreePath, Entry> = BTreeMap::new();
        for path in paths {
            let mut at = TreePath::new(*path).unwrap();
            let mut kind = EntryKind::File { digest: Digest::of(b""), size: 0 };
            while !at.is_root() {
                let parent = at.parent().unwrap();
                let entry = Entry { path: at.clone(), kind, metadata: Metadata::default() };
                entries.entry(at).or_insert(entry);
                (at, kind) = (parent, EntryKind::Directory { opaque: false });
            }
        }
        Tree::merge([Layer::from_entries(entries.into_values().collect()).unwrap()])
    }

    #[test]
    fn the_images_python_must_be_whole() {
        let json = "usr/lib/python3.11/json/__init__.py";
        assert_eq!(python(&tree(&["usr/bin/python3", json])), Ok("/usr/bin/python3"));
        assert_eq!(python(&tree(&["usr/local/bin/python3"])), Ok("/usr/local/bin/python3"));
        let minimal = python(&tree(&["usr/bin/python3", "usr/lib/python3.11/os.py"]));
        assert!(minimal.unwrap_err().contains("no standard library"));
        assert!(python(&tree(&["bin/sh"])).is_err());
    }
}
