//! A package with a shell: this machine's own, with the libraries it needs.

use std::{fs, process::Command, sync::OnceLock};

use super::deb::Deb;

pub fn shell() -> Deb {
    static SHELL: OnceLock<Deb> = OnceLock::new();
    SHELL.get_or_init(make).clone()
}

fn make() -> Deb {
    let program = fs::canonicalize("/bin/dash").expect("Debian machines have dash");
    let listed = Command::new("ldd").arg(&program).output().unwrap();
    assert!(listed.status.success());
    let mut deb = Deb::new("shell", "1")
        .field("Essential", "yes")
        .file("usr/bin/dash", 0o755, fs::read(&program).unwrap())
        .file("usr/bin/sh", 0, "dash")
        .file("etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/:/bin/sh\n")
        .file("etc/group", 0o644, "root:x:0:\nwww:x:34:\nstaff:x:50:\n")
        .file("var/log/README", 0o644, "logs\n");
    for line in String::from_utf8(listed.stdout).unwrap().lines() {
        let path = line.split_whitespace().find(|word| word.starts_with('/'));
        if let Some(path) = path {
            deb = deb.file(path.trim_start_matches('/'), 0o755, fs::read(path).unwrap());
        }
    }
    deb
}
