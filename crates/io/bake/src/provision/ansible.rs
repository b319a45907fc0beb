//! Runs a playbook against the tree being baked: Ansible in a sandbox of its own, its modules in that of the step.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hornero_model::{Digest, ExitCause};
use hornero_sandbox::{ProvidedFile, Stdio};
use hornero_store::Tree;

use super::{
    Cover,
    agent::{self, Agent},
    controller::{self, GIVEN, HOST_USER, PLAYBOOK, Run, TMP},
    playbook::Playbook,
    tool::{self, Tool},
};
use crate::{
    BakeError,
    image::step::{Step, describe},
    surroundings::Surroundings,
};

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
    let tool = tool::find()
        .ok_or_else(|| BakeError::NoAnsible { image: image.clone(), step: title.clone() })?;
    let python = python(tree).map_err(|reason| BakeError::NoPython {
        image: image.clone(),
        step: title.clone(),
        reason,
    })?;
    let place = step.dir.join("ansible");
    playbook.files.stage(image, &place.join("playbook"))?;
    let failed = |error| BakeError::file(&place, error);
    prepare(playbook, &step, &place.join("given"), python).map_err(failed)?;
    let agent = Agent::listen(step.dir, HOST_USER).map_err(failed)?;
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
            let ended = follow(surroundings, &step, playbook, &tool, &sandbox_ended);
            agent.end(if matches!(ended, Ok(Ended::Well)) { 0 } else { GIVEN_UP });
            ended
        });
        let made = surroundings.run_and_capture(&step, tree, epoch);
        sandbox_ended.store(true, Ordering::Relaxed);
        (ansible.join().expect("following Ansible does not panic"), made)
    });
    let told = format!("exit code {GIVEN_UP}");
    let failed = |cause, tail| BakeError::Step { image: image.clone(), step: title, cause, tail };
    match (ended?, made) {
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

/// Writes what Ansible reads.
fn prepare(playbook: &Playbook, step: &Step<'_>, given: &Path, python: &str) -> io::Result<()> {
    let plugins = given.join("plugins");
    fs::create_dir_all(&plugins)?;
    fs::write(plugins.join(format!("{CONNECTION}.py")), PLUGIN)?;
    fs::write(given.join("ansible.cfg"), "[defaults]\n")?;
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
    fs::write(given.join("inventory.json"), inventory.to_string())?;
    // Over everything, delegation and `connection: local` included: whatever a task does, it does in the step's sandbox.
    let mut vars = playbook.extra_vars.clone();
    vars.insert("ansible_connection".to_owned(), CONNECTION.into());
    fs::write(given.join("vars.json"), serde_json::to_string(&vars).map_err(io::Error::other)?)
}

fn arguments(playbook: &Playbook) -> Vec<String> {
    let inventory = format!("--inventory={GIVEN}/inventory.json");
    let vars = format!("--extra-vars=@{GIVEN}/vars.json");
    vec![inventory, vars, "--".to_owned(), format!("{PLAYBOOK}/{}", playbook.path)]
}

/// The environment of Ansible: nothing of the baking process's own, and no configuration of a user or the host.
fn environment(step: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let words = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("PYTHONHASHSEED", "0"),
        ("HOME", TMP),
        ("TMPDIR", TMP),
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
        ("ANSIBLE_LOCAL_TEMP", TMP),
    ];
    let paths = [
        ("ANSIBLE_HOME", TMP, ".ansible"),
        ("ANSIBLE_CONFIG", GIVEN, "ansible.cfg"),
        ("ANSIBLE_CONNECTION_PLUGINS", GIVEN, "plugins"),
        ("ANSIBLE_ROLES_PATH", PLAYBOOK, "roles"),
        ("ANSIBLE_COLLECTIONS_PATH", PLAYBOOK, "collections"),
    ];
    let epoch = step.get("SOURCE_DATE_EPOCH").map(|epoch| ("SOURCE_DATE_EPOCH", epoch.clone()));
    words
        .into_iter()
        .map(|(name, word)| (name, word.to_owned()))
        .chain(paths.map(|(name, place, below)| (name, format!("{place}/{below}"))))
        .chain(epoch)
        .map(|(name, word)| (name.to_owned(), word))
        .collect()
}

/// Starts Ansible and passes its output on until it has ended, or the step's sandbox has.
fn follow(
    surroundings: &Surroundings<'_>,
    step: &Step<'_>,
    playbook: &Playbook,
    tool: &Tool,
    sandbox_ended: &AtomicBool,
) -> Result<Ended, BakeError> {
    let failed = |error| BakeError::file(step.dir, error);
    let home = surroundings.steps.home;
    let place = step.place(home)?;
    let (arguments, env) = (arguments(playbook), environment(&step.env));
    let run = Run { tool, dir: step.dir, arguments, env, home };
    let sandbox = controller::sandbox(run, &place).map_err(failed)?;
    let (reader, writer) = io::pipe().map_err(failed)?;
    let stderr = writer.try_clone().map_err(failed)?;
    let stdio = Stdio { stdin: None, stdout: writer.into(), stderr: stderr.into() };
    let started = place.start(&sandbox, stdio).map_err(|source| BakeError::Sandbox {
        image: step.image.clone(),
        step: step.title.clone(),
        source: Box::new(source),
    });
    let mut running = started?;
    let (cause, tail) = thread::scope(|scope| {
        let cover = Cover::new(step.extras.secrets.needles());
        let reading =
            scope.spawn(|| surroundings.steps.read_lines(step.image, reader, cover, None));
        let cause = loop {
            match running.wait(Some(PATROL)) {
                Ok(None) if sandbox_ended.load(Ordering::Relaxed) => break Ok(None),
                Ok(None) => {}
                other => break other,
            }
        };
        // As long as one of its processes is there, the output has no end.
        drop(running);
        (cause, reading.join().unwrap_or_default())
    });
    Ok(match cause.map_err(failed)? {
        None => Ended::Abandoned,
        Some(ExitCause::Code(0)) => Ended::Well,
        Some(cause) => {
            let tail = tail.into_iter().collect::<Vec<_>>().join("\n");
            let cause = match cause {
                ExitCause::Code(code) => format!("Ansible ended with exit code {code}"),
                other => format!("Ansible was ended: {}", describe(&other)),
            };
            Ended::Badly(cause, tail)
        }
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
