//! Packages made of programs of this machine, with the libraries they need.

use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::OnceLock};

use crate::Package;

/// An essential package with a shell, three accounts' worth of `/etc/passwd` and `/etc/group`, and nothing else.
pub fn shell() -> Package {
    static SHELL: OnceLock<Package> = OnceLock::new();
    let make = || {
        let package = Package::new("shell", "1")
            .essential()
            .link("usr/bin/sh", "dash")
            .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/sh\n")
            .file("etc/group", 0o644, "root:x:0:\nwww:x:34:\nstaff:x:50:\n")
            .file("var/log/README", 0o644, "logs\n");
        with_programs(package, &[("/bin/dash", "usr/bin/dash")])
    };
    SHELL.get_or_init(make).clone()
}

/// The package `dpkg`, so that packages of the archive can have maintainer scripts: this machine's `dpkg` with a few
/// programs that scripts use (`cat`, `chmod`, `cp`, `ln`, `mkdir`, `mv`, `rm`, `touch`); those it only looks for do nothing. It needs [`shell`].
pub fn dpkg() -> Package {
    static DPKG: OnceLock<Package> = OnceLock::new();
    let make = || {
        let mut package = Package::new("dpkg", "1").essential().depends("shell");
        for name in ["diff", "dpkg-deb", "dpkg-split", "ldconfig", "start-stop-daemon", "tar"] {
            package = package.file(&format!("usr/sbin/{name}"), 0o755, "#!/bin/sh\nexit 0\n");
        }
        let taken = [
            ("/usr/bin/dpkg", "usr/bin/dpkg"),
            ("/usr/bin/dpkg-divert", "usr/bin/dpkg-divert"),
            ("/usr/bin/dpkg-query", "usr/bin/dpkg-query"),
            ("/usr/bin/dpkg-statoverride", "usr/bin/dpkg-statoverride"),
            ("/usr/bin/dpkg-trigger", "usr/bin/dpkg-trigger"),
            ("/bin/cat", "usr/bin/cat"),
            ("/bin/chmod", "usr/bin/chmod"),
            ("/bin/cp", "usr/bin/cp"),
            ("/bin/ln", "usr/bin/ln"),
            ("/bin/mkdir", "usr/bin/mkdir"),
            ("/bin/mv", "usr/bin/mv"),
            ("/bin/rm", "usr/bin/rm"),
            ("/bin/touch", "usr/bin/touch"),
        ];
        let shell = shell();
        let theirs: BTreeSet<&str> = shell.files.iter().map(|(path, _, _)| path.as_str()).collect();
        let mut package = with_programs(package, &taken);
        package.files.retain(|(path, _, _)| !theirs.contains(path.as_str()));
        package
    };
    DPKG.get_or_init(make).clone()
}

/// A package with one program of this machine at a path without a leading `/`, and all the libraries it needs.
pub fn program(name: &str, version: &str, host: &str, path: &str) -> Package {
    with_programs(Package::new(name, version), &[(host, path)])
}

/// Adds programs and the libraries that `ldd` finds for them, each once.
fn with_programs(mut package: Package, programs: &[(&str, &str)]) -> Package {
    let mut added = BTreeSet::new();
    for (host, path) in programs {
        let host = fs::canonicalize(host).unwrap_or_else(|error| panic!("`{host}`: {error}"));
        for library in libraries(&host) {
            if added.insert(library.clone()) {
                let bytes = fs::read(&library).unwrap();
                package = package.file(library.trim_start_matches('/'), 0o755, bytes);
            }
        }
        package = package.file(path, 0o755, fs::read(&host).unwrap());
    }
    package
}

fn libraries(program: &Path) -> Vec<String> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    // A static program, which `ldd` refuses, needs none.
    let text = String::from_utf8(listed.stdout).unwrap();
    let lines = text.lines().filter_map(|line| {
        line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned)
    });
    lines.collect()
}
