//! Refuses specifications that can't be right before the kernel is asked.

use crate::{
    error::StartError,
    spec::{MAX_GROUPS, Root, SandboxSpec, SecretMount},
    volumes::VolumeMount,
};

/// Arguments and environment together; the kernel takes a quarter of the stack limit, 2 MiB.
const MAX_ARGUMENT_BYTES: usize = 1 << 20;
/// `PATH_MAX` of the kernel.
const MAX_PATH: usize = 4_096;
/// Each is a mount; an image with more is a mistake.
const MAX_SCRATCH: usize = 64;
/// As above.
const MAX_VIEWS: usize = 64;
/// Each is a mount, and a file system with its own memory.
const MAX_VOLUMES: usize = 16;
/// Each is a mount; a service has 16 files of configuration and as many secrets besides what every instance has.
const MAX_FILES: usize = 48;
/// Provided files are configuration of a few lines, and lie in memory.
const MAX_FILE_BYTES: usize = 64 << 10;
/// The kernel's limit for host names (`__NEW_UTS_LEN`).
const MAX_HOSTNAME: usize = 64;
/// The kernel's own largest number of processes (`PID_MAX_LIMIT`) is four times that.
const MAX_PIDS: u32 = 1 << 20;
/// Less can't hold the command's own pages while it starts.
const MIN_MEMORY_BYTES: u64 = 1 << 20;

pub(crate) fn check(spec: &SandboxSpec) -> Result<(), StartError> {
    command(spec)?;
    files(spec)?;
    if spec.hostname.len() > MAX_HOSTNAME || spec.hostname.contains('\0') {
        return refuse(format!("the host name is over {MAX_HOSTNAME} bytes"));
    }
    ids(spec)?;
    limits(spec)?;
    root(&spec.root)
}

fn refuse(reason: impl Into<String>) -> Result<(), StartError> {
    Err(StartError::Invalid(reason.into()))
}

fn command(spec: &SandboxSpec) -> Result<(), StartError> {
    if spec.command.first().is_none_or(String::is_empty) {
        return refuse("the command is empty");
    }
    let words = spec.command.iter().chain(spec.env.keys()).chain(spec.env.values());
    if words.clone().map(String::len).sum::<usize>() > MAX_ARGUMENT_BYTES {
        return refuse(format!("command and environment are over {MAX_ARGUMENT_BYTES} bytes"));
    }
    if words.clone().any(|word| word.contains('\0')) {
        return refuse("command or environment contain a null byte");
    }
    if let Some(name) = spec.env.keys().find(|name| name.is_empty() || name.contains('=')) {
        return refuse(format!("`{name}` is no name of an environment variable"));
    }
    if spec.workdir.is_empty() { Ok(()) } else { absolute("workdir", &spec.workdir) }
}

fn files(spec: &SandboxSpec) -> Result<(), StartError> {
    if spec.scratch.len() > MAX_SCRATCH {
        return refuse(format!("more than {MAX_SCRATCH} scratch directories"));
    }
    for scratch in &spec.scratch {
        absolute("scratch", &scratch.path)?;
        if scratch.path.trim_matches('/').is_empty() || scratch.size_bytes == 0 {
            return refuse(format!("scratch `{}` is the root or has no size", scratch.path));
        }
    }
    if spec.files.len() > MAX_FILES {
        return refuse(format!("more than {MAX_FILES} provided files"));
    }
    for file in &spec.files {
        absolute("provided file", &file.path)?;
        if file.contents.len() > MAX_FILE_BYTES {
            return refuse(format!("`{}` is over {MAX_FILE_BYTES} bytes", file.path));
        }
    }
    Ok(())
}

/// Refuses secrets that can't be right.
pub(crate) fn secrets(spec: &SandboxSpec, secrets: &[SecretMount]) -> Result<(), StartError> {
    if spec.files.len() + secrets.len() > MAX_FILES {
        return refuse(format!("more than {MAX_FILES} provided files"));
    }
    for secret in secrets {
        absolute("secret", &secret.path)?;
        let outside = |id: u32| spec.id_map.is_some_and(|map| id >= map.count);
        if outside(secret.uid) || outside(secret.gid) {
            return refuse(format!(
                "the owner of `{}` lies outside the sandbox's ids",
                secret.path
            ));
        }
    }
    Ok(())
}

/// Refuses volumes that can't be right.
pub(crate) fn volumes(spec: &SandboxSpec, volumes: &[VolumeMount]) -> Result<(), StartError> {
    if volumes.len() > MAX_VOLUMES {
        return refuse(format!("more than {MAX_VOLUMES} volumes"));
    }
    let scratch = spec.scratch.iter().map(|scratch| scratch.path.as_str());
    let scratch: Vec<&str> = scratch.chain(["/tmp", "/dev", "/proc", "/sys"]).collect();
    for (index, volume) in volumes.iter().enumerate() {
        let path = volume.path.as_str();
        absolute("volume", path)?;
        if path.trim_matches('/').is_empty() {
            return refuse("a volume is the root");
        }
        let others = volumes[..index].iter().chain(&volumes[index + 1..]);
        let others = others.map(|other| other.path.as_str());
        if let Some(above) = others.chain(scratch.iter().copied()).find(|of| lies_in(path, of)) {
            return refuse(format!("volume `{path}` lies in `{above}`"));
        }
    }
    Ok(())
}

/// Whether a path is a directory or lies below it.
fn lies_in(path: &str, directory: &str) -> bool {
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn ids(spec: &SandboxSpec) -> Result<(), StartError> {
    if spec.user.groups.len() > MAX_GROUPS {
        return refuse(format!("more than {MAX_GROUPS} groups"));
    }
    let Some(map) = spec.id_map else { return Ok(()) };
    if map.first == 0 || map.count == 0 || map.first.checked_add(map.count).is_none() {
        return refuse("the id range begins at the host's root, is empty or too large");
    }
    let of_files = spec.files.iter().flat_map(|file| [file.uid, file.gid]);
    let groups = spec.user.groups.iter().copied();
    let mut ids = [spec.user.uid, spec.user.gid].into_iter().chain(groups).chain(of_files);
    match ids.find(|id| *id >= map.count) {
        Some(id) => refuse(format!("id {id} lies outside the sandbox's {} ids", map.count)),
        None => Ok(()),
    }
}

fn limits(spec: &SandboxSpec) -> Result<(), StartError> {
    let Some(cgroup) = &spec.cgroup else { return Ok(()) };
    let limits = &cgroup.resources;
    if limits.memory_bytes < MIN_MEMORY_BYTES {
        return refuse(format!("a memory limit below {MIN_MEMORY_BYTES} bytes"));
    }
    if limits.pids == 0 || limits.pids > MAX_PIDS || limits.cpu_millis == 0 {
        return refuse("a limit of no processes, too many, or no processor time");
    }
    Ok(())
}

fn root(root: &Root) -> Result<(), StartError> {
    if let Root::Views(views) = root {
        if views.len() > MAX_VIEWS {
            return refuse(format!("more than {MAX_VIEWS} views"));
        }
        for view in views {
            absolute("view", view.at())?;
            if view.at().trim_matches('/').is_empty() {
                return refuse("a view is the root");
            }
        }
    }
    if let Root::Build { dir, .. } = root {
        for name in ["upper", "work"] {
            if !dir.join(name).is_dir() {
                return refuse(format!("`{}` lacks the directory `{name}`", dir.display()));
            }
        }
    }
    Ok(())
}

fn absolute(what: &str, path: &str) -> Result<(), StartError> {
    let sound = path.starts_with('/')
        && path.len() < MAX_PATH
        && !path.contains('\0')
        && !path.split('/').any(|part| part == "..");
    if sound {
        return Ok(());
    }
    let shown: String = path.chars().take(80).collect();
    Err(StartError::Invalid(format!("{what} `{shown}` is no absolute path without `..`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IdMap, Profile, ProvidedFile, User};
    use hornero_model::Scratch;

    fn plain() -> SandboxSpec {
        SandboxSpec {
            root: Root::Directory { path: "/".into(), writable: false },
            command: vec!["true".to_owned()],
            env: [("PATH".to_owned(), "/bin".to_owned())].into(),
            workdir: String::new(),
            user: User::default(),
            id_map: Some(IdMap { first: 100_000, count: 65_536 }),
            scratch: vec![],
            tmp_bytes: 1 << 20,
            files: vec![],
            hostname: "a".to_owned(),
            cgroup: None,
            profile: Profile::Service,
        }
    }

    #[test]
    fn what_can_not_be_right_is_refused() {
        let spoil: [fn(&mut SandboxSpec); 12] = [
            |spec| spec.files = vec![ProvidedFile { gid: 65_536, ..ProvidedFile::new("/a", "") }],
            |spec| spec.files = vec![ProvidedFile::new("/a/../b", "")],
            |spec| spec.command.clear(),
            |spec| spec.command = vec![String::new()],
            |spec| spec.command.push("a\0b".to_owned()),
            |spec| spec.env = [("a=b".to_owned(), String::new())].into(),
            |spec| spec.workdir = "relative".to_owned(),
            |spec| spec.scratch.push(Scratch { path: "/a/../b".to_owned(), size_bytes: 1 }),
            |spec| spec.scratch.push(Scratch { path: "/".to_owned(), size_bytes: 1 }),
            |spec| spec.user.uid = 65_536,
            |spec| spec.id_map = Some(IdMap { first: 0, count: 1 }),
            |spec| spec.hostname = "h".repeat(65),
        ];
        assert!(check(&plain()).is_ok());
        for (index, spoil) in spoil.into_iter().enumerate() {
            let mut spec = plain();
            spoil(&mut spec);
            assert!(matches!(check(&spec), Err(StartError::Invalid(_))), "case {index}");
        }
    }
}
