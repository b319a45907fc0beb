//! Broken bases: each is refused with the file, what it needs, and what is there.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use std::fs;

use hornero_archive::Package;
use hornero_bake::rebase;
use hornero_rebase::RefusalKind;
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};

use crate::{
    bench::{Bench, PLAIN, compiled, exchanged, file, patched},
    support::{
        self,
        home::{image, name},
    },
};

#[test]
fn broken_bases_are_refused_with_file_need_and_what_is_there() {
    let mut bench = Bench::new();
    let compiled = compiled();

    // A removed library: the next major version has taken its place.
    let greet = Package::new("greet", "2.0").essential();
    let refusals = bench.refused(&exchanged(greet.file(
        "usr/lib/libgreet.so.2",
        0o644,
        compiled.library.clone(),
    )));
    let refusal = file(&refusals, RefusalKind::LibraryMissing, "/usr/bin/app");
    assert_eq!(refusal.need, "the library `libgreet.so.1`");
    assert_eq!(refusal.found, "`/usr/lib/libgreet.so.2`");
    assert_eq!(refusal.source.as_deref(), Some("package app 1.0"));

    // A lower symbol version.
    let greet = Package::new("greet", "1.1").essential();
    let refusals = bench.refused(&exchanged(greet.file(
        "usr/lib/libgreet.so.1",
        0o644,
        compiled.older.clone(),
    )));
    let refusal = file(&refusals, RefusalKind::LibraryVersion, "/usr/bin/app");
    assert_eq!(refusal.need, "`GREET_2` of the library `libgreet.so.1`");
    assert_eq!(refusal.found, "`/usr/lib/libgreet.so.1` with `GREET_1`");

    // A library that the program finds by its own run path.
    let private = Package::new("private", "1.1").essential();
    let refusals = bench.refused(&exchanged(private.file(
        "usr/lib/elsewhere/libprivate.so",
        0o644,
        compiled.private.clone(),
    )));
    file(&refusals, RefusalKind::LibraryMissing, "/usr/bin/app");

    // A moved interpreter.
    let interpreter = Package::new("interpreter", "1.1").essential();
    let refusals =
        bench.refused(&exchanged(interpreter.link("usr/local/bin/greetsh", "../../bin/dash")));
    let refusal = file(&refusals, RefusalKind::InterpreterMissing, "/usr/bin/script");
    assert_eq!(refusal.need, "the interpreter `/usr/bin/greetsh`");
    assert_eq!(refusal.found, "`/usr/local/bin/greetsh`");

    // Another number of a user.
    let accounts = Package::new("accounts", "1").essential().field("Replaces", "shell").file(
        "etc/passwd",
        0o644,
        "root:x:0:0::/root:/bin/sh\nwww:x:44:34::/:/bin/sh\n",
    );
    let refusals = bench.refused(&exchanged(accounts));
    let refusal = file(&refusals, RefusalKind::AccountChanged, "/srv/data");
    assert_eq!(refusal.need, "the user `www` with number 33");
    assert_eq!(refusal.found, "`www` with number 44");

    // A changed file under one that the app replaces, and one that it deletes.
    let settings = |motd: &str, gone: &str| {
        Package::new("settings", "1.1").essential().file("etc/greet/motd", 0o644, motd).file(
            "etc/greet/gone",
            0o644,
            gone,
        )
    };
    let refusals = bench.refused(&exchanged(settings("hello, new\n", "unwanted\n")));
    let refusal = file(&refusals, RefusalKind::PathChanged, "/etc/greet/motd");
    assert!(refusal.need.ends_with("which it replaces"), "{refusal}");
    assert_eq!(refusal.source.as_deref(), Some("copy of motd"));
    let refusals = bench.refused(&exchanged(settings("hello\n", "changed\n")));
    let refusal = file(&refusals, RefusalKind::PathChanged, "/etc/greet/gone");
    assert!(refusal.need.ends_with("which it deletes"), "{refusal}");

    // Something new where the app has its own.
    let refusals = bench.refused(&exchanged(
        Package::new("brought", "1").essential().file("srv/made", 0o644, "base\n"),
    ));
    file(&refusals, RefusalKind::PathBrought, "/srv/made");

    // Packages: an older one, and one that the app's own package does not accept.
    let greet = Package::new("greet", "0.9").essential();
    let refusals = bench.refused(&exchanged(greet.file(
        "usr/lib/libgreet.so.1",
        0o644,
        compiled.library.clone(),
    )));
    let of = |kind, package: &str| {
        let found =
            refusals.iter().find(|one| one.kind == kind && one.package.as_deref() == Some(package));
        found.unwrap_or_else(|| panic!("{refusals:#?}")).clone()
    };
    let older = of(RefusalKind::PackageDowngraded, "greet");
    assert_eq!(
        (older.need.as_str(), older.found.as_str()),
        ("version 1.0 or later", "version 0.9")
    );
    let needs = of(RefusalKind::PackageMissing, "app");
    assert_eq!((needs.need.as_str(), needs.found.as_str()), ("`greet (>= 1.0)`", "`greet` 0.9"));

    // The app's own package in another version: its step has a layer that unpacks and one that configures.
    let refusals = bench.refused(&exchanged(Package::new("app", "2.0").essential()));
    let brought = refusals.iter().find(|one| one.kind == RefusalKind::PackageBrought);
    let brought = brought.unwrap_or_else(|| panic!("{refusals:#?}"));
    assert_eq!(brought.package.as_deref(), Some("app"));
    assert_eq!(
        (brought.need.as_str(), brought.found.as_str()),
        ("its own version 1.0", "version 2.0")
    );
}

#[test]
fn a_base_that_no_longer_starts_the_command_is_refused() {
    let mut bench = Bench::new();
    // Nothing of what it starts is its own.
    let mut page = image("page", Base::Image(name("base")), &[]);
    page.run = vec!["mkdir -p /srv && echo page > /srv/page".to_owned()];
    page.config.user = "www".to_owned();
    page.config.command = vec!["greetsh".to_owned(), "-c".to_owned(), "true".to_owned()];
    page.config.workdir = "/etc/greet".to_owned();
    bench.home.add(page);
    let page = bench.home.bake_one("page").digest;
    let fine = bench.base_of(&patched());
    rebase(&bench.store(), &page, &fine, PLAIN)
        .unwrap_or_else(|error| panic!("{}", support::home::chain(&error)));

    let interpreter = || Package::new("interpreter", "1.1").essential();
    let moved = interpreter().link("usr/share/greetsh", "../bin/dash");
    let refusals = bench.refused_of(&page, &exchanged(moved));
    let refusal = file(&refusals, RefusalKind::CommandMissing, "/usr/bin/greetsh");
    assert_eq!(refusal.found, "no `greetsh`");

    // Another interpreter, by the same path; the script of the app has it too.
    let other = interpreter().file("usr/bin/greetsh-2", 0o755, "#!/bin/sh\n");
    let other = exchanged(other.link("usr/bin/greetsh", "greetsh-2"));
    let refusals = bench.refused_of(&page, &other);
    let refusal = file(&refusals, RefusalKind::ProgramChanged, "/usr/bin/greetsh");
    assert_eq!(refusal.need, "to be `/usr/bin/dash`, as the image's command runs it");
    assert_eq!(refusal.found, "`/usr/bin/greetsh-2`");
    let refusals = bench.refused(&other);
    let refusal = file(&refusals, RefusalKind::ProgramChanged, "/usr/bin/script");
    assert_eq!(refusal.need, "the interpreter `/usr/bin/greetsh` to be `/usr/bin/dash`");
    assert_eq!(refusal.source.as_deref(), Some("package app 1.0"));

    let settings = Package::new("settings", "1.1").essential();
    let refusals = bench.refused_of(&page, &exchanged(settings));
    let refusal = file(&refusals, RefusalKind::WorkdirMissing, "/etc/greet");
    assert_eq!(refusal.found, "nothing there");

    let accounts = Package::new("accounts", "1").essential().field("Replaces", "shell").file(
        "etc/passwd",
        0o644,
        "root:x:0:0::/root:/bin/sh\nwww:x:33:44::/:/bin/sh\n",
    );
    let refusals = bench.refused_of(&page, &exchanged(accounts));
    let refusal = file(&refusals, RefusalKind::AccountChanged, "/etc/passwd");
    assert_eq!(refusal.found, "`www` with the primary group 44");
}

#[test]
fn a_program_that_can_not_be_read_holds_on_no_other_base() {
    let mut bench = Bench::new();
    let program = &compiled().program;
    // Its headers are there, what they point to is not.
    fs::write(bench.home.source.join("damaged"), &program[..1024]).unwrap();
    let mut damaged = image("damaged", Base::Image(name("base")), &[]);
    let copy = |to: &str| CopySource {
        from: "damaged".to_owned(),
        kind: SourceKind::File,
        to: to.to_owned(),
        mode: None,
        owner: CopyOwner::default(),
    };
    damaged.copies = vec![copy("/usr/lib/libdamaged.so"), copy("/usr/lib/debug/libdamaged.so")];
    bench.home.add(damaged);
    let damaged = bench.home.bake_one("damaged").digest;
    let refusals = bench.refused_of(&damaged, &patched());
    let [refusal] = refusals.as_slice() else { panic!("{refusals:#?}") };
    assert_eq!(refusal.kind, RefusalKind::ProgramUnread);
    assert_eq!(refusal.file.as_deref(), Some("/usr/lib/libdamaged.so"));
    assert_eq!(refusal.source.as_deref(), Some("copy of damaged"));
}
