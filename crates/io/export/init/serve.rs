//! Inside the root: writable directories, host name, network, then the command until it ends.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::Command,
};

use super::{
    config::{Config, Place},
    network, say, system,
};

/// `/tmp` and `/dev/shm` may each take this much memory, as in Hornero's own instances.
const TMP_BYTES: u64 = 64 << 20;

/// Runs the command and gives its exit status, as a shell would.
pub fn serve(config: &Config) -> Result<i32, String> {
    if !config.handover.is_empty() {
        // It mounts what it wants itself.
        let error = Command::new(&config.handover).exec();
        return Err(format!("cannot start `{}`: {error}", config.handover));
    }
    system::pass_on_signals();
    mount_standard(config);
    for (path, size) in &config.scratch {
        mount_scratch(path, *size, config)?;
    }
    if matches!(config.place, Place::Disk { .. })
        && let Err(error) = system::set_host_name(&config.hostname)
    {
        say(&format!("cannot set the host name: {error}"));
    }
    // Any user may listen on any port: the machine is the server's own.
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let name_servers = network::bring_up(&config.hostname);
    provide_files(config, &name_servers);
    if config.command.is_empty() {
        // A container of an image without a command is there for whoever looks into it.
        system::idle();
        return Ok(0);
    }
    run(config)
}

fn mount_standard(config: &Config) {
    let flags = system::MS_NOSUID | system::MS_NODEV;
    let try_mount = |kind: &str, target: &str, flags, options: &str| {
        let made = fs::create_dir_all(target)
            .or_else(|error| if Path::new(target).is_dir() { Ok(()) } else { Err(error) });
        if let Err(error) = made.and_then(|()| system::mount_at(kind, target, kind, flags, options))
        {
            say(&format!("cannot mount `{target}`: {error}"));
        }
    };
    if matches!(config.place, Place::Disk { .. }) {
        try_mount(
            "devpts",
            "/dev/pts",
            system::MS_NOSUID | system::MS_NOEXEC,
            "ptmxmode=666,mode=620,gid=5",
        );
        try_mount("tmpfs", "/dev/shm", flags, &format!("size={TMP_BYTES},mode=1777"));
        for (link, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
            let _ = std::os::unix::fs::symlink(
                format!("/proc/self/fd{target}"),
                format!("/dev/{link}"),
            );
        }
    }
    if !config.scratch.iter().any(|(path, _)| path.trim_end_matches('/') == "/tmp") {
        try_mount("tmpfs", "/tmp", flags, &format!("size={TMP_BYTES},mode=1777"));
    }
}

/// The directory's mode and owner stay; one that belongs to root becomes the service's user's.
fn mount_scratch(path: &str, size: u64, config: &Config) -> Result<(), String> {
    // On a disk the directories are in the image; below another scratch directory they are made.
    let failed = |error| format!("cannot mount `{path}`: {error}");
    fs::create_dir_all(path).map_err(failed)?;
    let found = fs::metadata(path).map_err(failed)?;
    let (uid, gid) = match found.uid() {
        0 => (config.uid, config.gid),
        uid => (uid, found.gid()),
    };
    let mode = found.permissions().mode() & 0o7777;
    let options = format!("size={size},mode={mode:o},uid={uid},gid={gid}");
    system::mount_at("tmpfs", path, "tmpfs", system::MS_NOSUID | system::MS_NODEV, &options)
        .map_err(failed)
}

/// Host name, hosts and name servers: laid over the read-only files of a disk, written in a container.
fn provide_files(config: &Config, name_servers: &[String]) {
    let name = &config.hostname;
    let resolver: String =
        name_servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    let mut files = vec![("resolv.conf", resolver)];
    if matches!(config.place, Place::Disk { .. }) {
        files.push(("hostname", format!("{name}\n")));
        files.push((
            "hosts",
            format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {name}\n"),
        ));
    } else if name_servers.is_empty() {
        return;
    }
    for (file, contents) in files {
        if let Err(error) = provide(config, file, &contents) {
            say(&format!("cannot provide `/etc/{file}`: {error}"));
        }
    }
}

fn provide(config: &Config, file: &str, contents: &str) -> std::io::Result<()> {
    let target = format!("/etc/{file}");
    if config.place == Place::Container {
        match fs::remove_file(&target) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        return fs::write(&target, contents);
    }
    let own = format!("/dev/.hornero-{file}");
    fs::write(&own, contents)?;
    fs::set_permissions(&own, fs::Permissions::from_mode(0o444))?;
    system::mount_at(&own, &target, "", system::MS_BIND, "")?;
    fs::remove_file(&own)
}

fn run(config: &Config) -> Result<i32, String> {
    let program = &config.command[0];
    let mut command = Command::new(program);
    command.args(&config.command[1..]).env_clear().envs(config.env.iter().cloned());
    let workdir = if config.workdir.is_empty() { "/" } else { &config.workdir };
    let groups = config.groups.clone();
    let (uid, gid) = (config.uid, config.gid);
    command.current_dir(workdir).gid(gid);
    // SAFETY: between fork and exec only system calls are made. The user comes last: groups need root.
    unsafe {
        command.pre_exec(move || {
            system::set_groups(&groups)?;
            system::set_user(uid)?;
            system::set_no_new_privileges()
        });
    }
    let child = command
        .spawn()
        .map_err(|error| format!("cannot start `{program}` in `{workdir}`: {error}"))?;
    system::set_command(child.id());
    let status = system::reap_until(child.id())
        .map_err(|error| format!("cannot wait for `{program}`: {error}"))?;
    Ok(match status & 0x7f {
        0 => {
            let code = status >> 8 & 0xff;
            say(&format!("`{program}` ended with exit status {code}"));
            code
        }
        signal => {
            say(&format!("`{program}` was ended by signal {signal}"));
            128 + signal
        }
    })
}
