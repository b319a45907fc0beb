//! Proofs of what an image starts: its command and tests, where they start, as whom, and what runs scripts.

use hornero_model::{ImageConfig, ImageTest, Millis, Scratch, TestCheck};

use super::{Draft, base, changed, file, refused, refused_with, words};
use crate::{Entry, RefusalKind};

fn command(text: &str) -> ImageConfig {
    ImageConfig { command: words(text), ..ImageConfig::default() }
}

/// A base with a web server and an interpreter that has a version in its name.
fn server(nginx: &str, python: &str) -> Draft {
    base()
        .elf(nginx, "needs=libc.so.6 interpreter=/lib/ld.so")
        .elf(&format!("usr/bin/{python}"), "needs=libc.so.6 interpreter=/lib/ld.so")
        .link("usr/bin/python3", python)
        .script("usr/bin/gunicorn", "#!/usr/bin/python3\n")
        .text("srv/www/index.html", "page")
}

fn page() -> Draft {
    Draft::default().text("srv/page", "own")
}

#[test]
fn the_command_and_the_tests_still_start() {
    let nginx = "usr/sbin/nginx";
    let check = |command: &str, new: Draft| {
        let config = self::command(command);
        refused_with(server(nginx, "python3.12"), new, page(), &config)
    };
    let patched = || server(nginx, "python3.12").text("usr/share/doc/nginx", "fixed");
    for command in ["/usr/sbin/nginx -g x", "nginx", "python3 /srv/app.py", "env -i A=b gunicorn"] {
        assert_eq!(check(command, patched()), [], "{command}");
    }
    let gone = |expected: &str| {
        (
            RefusalKind::CommandMissing,
            format!(
                "`/usr/sbin/nginx` needs to be there, as the image's command runs it; the new base has {expected}"
            ),
        )
    };
    let without = || {
        let mut draft = server(nginx, "python3.12");
        draft.entries.retain(|entry| *entry.path != *nginx.as_bytes());
        draft.elf.remove(nginx);
        draft
    };
    assert_eq!(check("/usr/sbin/nginx -g x", without()), [gone("no `nginx`")]);
    assert_eq!(check("nginx", without()), [gone("no `nginx`")]);
    // At another place: found by `PATH` all the same, but not by its path.
    let elsewhere = || server("usr/local/bin/nginx", "python3.12");
    assert_eq!(check("/usr/sbin/nginx", elsewhere()), [gone("`/usr/local/bin/nginx`")]);
    assert_eq!(check("nginx", server("usr/bin/nginx", "python3.12")), []);
    // There, but not to be run.
    let plain = without().entry(Entry { mode: 0o644, ..file(nginx, "nginx") });
    assert_eq!(check("/usr/sbin/nginx", plain), [gone("no `nginx`")]);
    // What was never there is no need.
    assert_eq!(check("/opt/none", patched()), []);

    let run = TestCheck::Run(words("/usr/sbin/nginx -t"));
    let test = ImageTest { name: "syntax".to_owned(), check: run, timeout: Millis(1) };
    let config = ImageConfig { tests: vec![test], ..ImageConfig::default() };
    let found = refused_with(server(nginx, "python3.12"), without(), page(), &config);
    assert!(
        found.len() == 1 && found[0].1.contains("as the image's test `syntax` runs it"),
        "{found:?}"
    );
}

#[test]
fn an_interpreter_stays_the_same_program() {
    let (old, new) =
        (|| server("usr/sbin/nginx", "python3.12"), || server("usr/sbin/nginx", "python3.13"));
    let changed = |need: &str| {
        let text = format!("{need}; the new base has `/usr/bin/python3.13`");
        [(RefusalKind::ProgramChanged, text)]
    };
    let script = || Draft::default().script("srv/app", "#!/usr/bin/python3\n");
    assert_eq!(
        refused(old(), new(), script()),
        changed("`/srv/app` needs the interpreter `/usr/bin/python3` to be `/usr/bin/python3.12`")
    );
    let looked_for = || Draft::default().script("srv/app", "#!/usr/bin/env python3\n");
    let env = |draft: Draft| draft.elf("usr/bin/env", "needs=libc.so.6");
    assert_eq!(
        refused(env(old()), env(new()), looked_for()),
        changed("`/srv/app` needs the interpreter `python3` to be `/usr/bin/python3.12`")
    );
    // Modules that a command of the base runs.
    let modules = || Draft::default().text("usr/local/lib/python3.12/dist-packages/app.py", "own");
    assert_eq!(
        refused_with(old(), new(), modules(), &command("python3 -m app")),
        changed(
            "`/usr/bin/python3` needs to be `/usr/bin/python3.12`, as the image's command runs it"
        )
    );
    assert_eq!(
        refused_with(old(), new(), modules(), &command("gunicorn app")),
        changed(
            "`/usr/bin/gunicorn` needs the interpreter `/usr/bin/python3` to be `/usr/bin/python3.12`"
        )
    );
    let patched = || old().text("usr/share/doc/python3", "fixed");
    assert_eq!(refused(old(), patched(), script()), []);
    assert_eq!(refused_with(old(), patched(), modules(), &command("gunicorn app")), []);
}

#[test]
fn the_same_program_by_another_way_is_the_same() {
    let shell = || Draft::default().script("srv/app", "#!/bin/sh\n");
    let split = || {
        Draft::default().dir("bin").elf("bin/dash", "").link("bin/sh", "dash").text("etc/motd", "")
    };
    let merged = || {
        Draft::default().link("bin", "usr/bin").elf("usr/bin/dash", "").link("usr/bin/sh", "dash")
    };
    assert_eq!(refused(split(), merged(), shell()), []);
    let alternative = || {
        Draft::default()
            .elf("usr/bin/dash", "")
            .link("etc/alternatives/sh", "/usr/bin/dash")
            .link("bin/sh", "/etc/alternatives/sh")
    };
    assert_eq!(refused(merged(), alternative(), shell()), []);
    let other = Draft::default().elf("usr/bin/bash", "").link("bin/sh", "/usr/bin/bash");
    assert_eq!(refused(merged(), other, shell())[0].0, RefusalKind::ProgramChanged);
}

#[test]
fn the_directory_of_the_command_stays() {
    let old = || server("usr/sbin/nginx", "python3.12");
    let config = ImageConfig { workdir: "/srv/www".to_owned(), ..ImageConfig::default() };
    assert_eq!(refused_with(old(), old().text("x", ""), page(), &config), []);
    assert_eq!(
        refused_with(old(), base(), page(), &config),
        [(
            RefusalKind::WorkdirMissing,
            "`/srv/www` needs to be a directory, as the image's command starts there; the new base has nothing there"
                .to_owned()
        )]
    );
    let is_file = base().text("srv/www", "");
    assert_eq!(refused_with(old(), is_file, page(), &config)[0].0, RefusalKind::WorkdirMissing);
    let own = Scratch { path: "/srv/www".to_owned(), size_bytes: 1 };
    let config = ImageConfig { scratch: vec![own], ..config };
    assert_eq!(refused_with(old(), base(), page(), &config), []);
}

#[test]
fn the_primary_group_of_the_command_stays() {
    let new = || {
        let text = "root:x:0:0\nwww-data:x:33:100\n";
        changed("etc/passwd", |base| base.text("etc/passwd", text))
    };
    let check = |user: &str| {
        let config = ImageConfig { user: user.to_owned(), ..ImageConfig::default() };
        refused_with(base(), new(), page(), &config)
    };
    for user in ["www-data", "33"] {
        let text = format!(
            "`/etc/passwd` needs the user `{user}` with the primary group 33; the new base has `{user}` with the primary group 100"
        );
        assert_eq!(check(user), [(RefusalKind::AccountChanged, text)]);
    }
    assert_eq!(check("www-data:www-data"), []);
    assert_eq!(check("1000"), []);
    assert_eq!(check(""), []);
}
