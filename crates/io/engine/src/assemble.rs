//! Turns an instance's specification into a sandbox's.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr, path::Path};

use hornero_model::{Digest, InstanceId, InstanceUsage};
use hornero_sandbox::{
    Cgroup, CgroupSpec, ComposedRoot, IdMap, MemoryRoom, Profile, ProvidedFile, Root, SandboxSpec,
    memory_room,
};
use hornero_store::RootFiles;

use hornero_engine_port::InstanceSpec;

use crate::{configuration, recorded::RecordedSpec};

/// `/tmp` and `/dev/shm` may each take this much of the instance's memory limit.
const TMP_BYTES: u64 = 64 << 20;

/// What programs expect when the image says nothing.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is laid over the root of every instance.
pub(crate) const PROVIDED_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// The control group that a home's instances share. Another home has another path and so another name.
pub(crate) fn cgroup_parent(home: &Path) -> String {
    let digest = Digest::of(home.as_os_str().as_encoded_bytes()).hex();
    format!("hornero-{}", &digest[..12])
}

/// What memory there is for more instances of a home.
pub(crate) fn room(home: &Path) -> Option<hornero_model::Room> {
    let MemoryRoom { available_bytes, limit_bytes } = memory_room(&cgroup_parent(home))?;
    Some(hornero_model::Room { available_bytes, limit_bytes })
}

/// The processor time that instances have used, in microseconds, those that have a control group.
pub(crate) fn processor_use(home: &Path, ids: &[InstanceId]) -> BTreeMap<InstanceId, u64> {
    let parent = cgroup_parent(home);
    let groups = ids.iter().map(|id| (id, Cgroup::at(&parent, id.as_str())));
    let there = groups.filter(|(_, group)| group.exists());
    there.map(|(id, group)| (id.clone(), group.usage().cpu_us)).collect()
}

/// What instances use, those that have a control group.
pub(crate) fn usage(home: &Path, ids: &[InstanceId]) -> BTreeMap<InstanceId, InstanceUsage> {
    let parent = cgroup_parent(home);
    let used =
        |id: &InstanceId| Some((id.clone(), Cgroup::at(&parent, id.as_str()).consumption()?));
    ids.iter().filter_map(used).collect()
}

/// A root of some files.
pub(crate) fn root_of(files: &RootFiles) -> Root {
    Root::Composed(ComposedRoot {
        metadata: files.metadata.clone(),
        objects: files.objects.clone(),
    })
}

/// Where an instance is on the network: its own address and that of its name server.
pub(crate) struct NetworkPlace {
    pub address: IpAddr,
    pub name_server: IpAddr,
}

/// The whole environment of an instance's command.
pub(crate) fn environment(spec: &RecordedSpec) -> BTreeMap<String, String> {
    let mut env = spec.env.clone();
    let home_directory = if spec.user.uid == 0 { "/root" } else { "/" };
    for (name, value) in [("PATH", PATH), ("HOME", home_directory), ("HOSTNAME", &spec.hostname)] {
        env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    env
}

pub(crate) fn sandbox_spec(
    home: &Path,
    spec: &RecordedSpec,
    id_map: Option<IdMap>,
    place: Option<&NetworkPlace>,
) -> Result<SandboxSpec, String> {
    let env = environment(spec);
    let mut files = made_files(spec, place);
    files.extend(configuration::files(spec)?);
    Ok(SandboxSpec {
        root: spec.root.clone(),
        command: spec.command.clone(),
        env,
        workdir: spec.workdir.clone(),
        user: spec.user.clone(),
        id_map,
        scratch: spec.scratch.clone(),
        tmp_bytes: TMP_BYTES,
        files,
        hostname: spec.hostname.clone(),
        cgroup: Some(CgroupSpec {
            parent: cgroup_parent(home),
            name: spec.id.to_string(),
            resources: spec.resources.clone(),
        }),
        profile: Profile::Service,
    })
}

/// The files that every instance has.
fn made_files(spec: &RecordedSpec, place: Option<&NetworkPlace>) -> Vec<ProvidedFile> {
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost\n");
    let own = place.map_or(IpAddr::from([127, 0, 1, 1]), |place| place.address);
    // Writing to a string can't fail.
    let _ = writeln!(hosts, "{own} {}", spec.hostname);
    for entry in &spec.hosts {
        let _ = writeln!(hosts, "{} {}", entry.address, entry.name);
    }
    let resolver =
        place.map(|place| format!("nameserver {}\n", place.name_server)).unwrap_or_default();
    let contents = [format!("{}\n", spec.hostname), hosts, resolver];
    std::iter::zip(PROVIDED_FILES, contents)
        .map(|(path, contents)| ProvidedFile::new(path, contents))
        .collect()
}

/// Refuses what would break the files made for an instance; the sandbox checks the rest.
pub(crate) fn check(spec: &InstanceSpec) -> Result<(), String> {
    let is_host_name = |name: &str| {
        (1..=253).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if !is_host_name(&spec.hostname) || spec.hostname.len() > 63 {
        return Err(format!("`{}` is no host name of 1 to 63 letters", spec.hostname));
    }
    // Each is a line of a file of 64 KiB at most.
    const MAX_HOSTS: usize = 200;
    if spec.hosts.len() > MAX_HOSTS {
        return Err(format!("more than {MAX_HOSTS} lines for `/etc/hosts`"));
    }
    match spec.hosts.iter().find(|entry| !is_host_name(&entry.name)) {
        Some(entry) => Err(format!("`{}` is no host name", entry.name)),
        None => Ok(()),
    }
}
