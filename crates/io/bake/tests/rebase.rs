//! Moving images onto another version of their base: what is refused and why, what is accepted and runs.

mod support;

use std::{fs, os::fd::OwnedFd, path::Path, process::Command};

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{BakeRecord, LockMode, RebaseError, RebaseOptions, Rebaser, facts, rebase};
use hornero_model::Digest;
use hornero_rebase::{FACTS_KIND, LayerFacts, Refusal, RefusalKind};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::Store;
use support::{
    home::{Home, debian, image, name},
    sandbox::run,
};

const FORCE: RebaseOptions = RebaseOptions { force: true };
const PLAIN: RebaseOptions = RebaseOptions { force: false };

/// Compiles C with real gcc; `arguments` may name files of `dir`.
fn gcc(dir: &Path, source: &str, output: &str, arguments: &[&str]) -> Vec<u8> {
    let input = dir.join(format!("{output}.c"));
    fs::write(&input, source).unwrap();
    let made = Command::new("gcc")
        .current_dir(dir)
        .args(["-O1", "-o", output])
        .arg(&input)
        .args(arguments)
        .output()
        .expect("gcc is needed: apt-get install gcc");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read(dir.join(output)).unwrap()
}

/// A library with symbol versions, one that is found by `$ORIGIN`, and a program that needs both.
struct Compiled {
    /// With the versions `GREET_1` and `GREET_2`.
    library: Vec<u8>,
    /// With `GREET_1` alone.
    older: Vec<u8>,
    private: Vec<u8>,
    program: Vec<u8>,
}

fn compiled() -> &'static Compiled {
    static COMPILED: std::sync::OnceLock<Compiled> = std::sync::OnceLock::new();
    COMPILED.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let library = |name: &str, versions: &str, source: &str| {
            fs::write(dir.join("versions"), versions).unwrap();
            let shared = ["-shared", "-fPIC", "-Wl,-soname,libgreet.so.1"];
            let map = ["-Wl,--version-script=versions"];
            gcc(dir, source, name, &[&shared[..], &map[..]].concat())
        };
        let one = "int greet_one(void) { return 1; }\n";
        let two = "int greet_two(void) { return 2; }\n";
        let older = library("old.so", "GREET_1 { global: greet_one; local: *; };", one);
        let both = "GREET_1 { global: greet_one; local: *; }; GREET_2 { global: greet_two; } GREET_1;";
        let library = library("libgreet.so", both, &format!("{one}{two}"));
        let soname = "-Wl,-soname,libprivate.so";
        let private =
            gcc(dir, "int own(void) { return 3; }\n", "libprivate.so", &["-shared", "-fPIC", soname]);
        let source = "#include <stdio.h>\nint greet_one(void), greet_two(void), own(void);\n\
                      int main(void) { printf(\"%d%d%d\\n\", greet_one(), greet_two(), own()); return 0; }\n";
        let run_path = "-Wl,-rpath,$ORIGIN/../lib/private,--enable-new-dtags";
        let program = gcc(dir, source, "app", &["-L.", "-lgreet", "-lprivate", run_path]);
        Compiled { library, older, private, program }
    })
}

/// The packages of the base by name; a broken base changes one.
fn packages() -> Vec<Package> {
    let compiled = compiled();
    vec![
        shell(),
        dpkg(),
        Package::new("greet", "1.0").essential().file(
            "usr/lib/libgreet.so.1",
            0o644,
            compiled.library.clone(),
        ),
        Package::new("private", "1.0").essential().file(
            "usr/lib/private/libprivate.so",
            0o644,
            compiled.private.clone(),
        ),
        Package::new("interpreter", "1.0").essential().link("usr/bin/greetsh", "dash"),
        Package::new("settings", "1.0").essential().file("etc/greet/motd", 0o644, "hello\n").file(
            "etc/greet/gone",
            0o644,
            "unwanted\n",
        ),
        // Debian's bases are configured by dpkg as well, which writes the status in its own order of fields.
        Package::new("configured", "1.0").essential().postinst("echo yes > /etc/base.state"),
    ]
}

fn exchanged(package: Package) -> Vec<Package> {
    let mut all = packages();
    all.retain(|one| one.name != package.name);
    all.push(package);
    all
}

fn app_package() -> Package {
    Package::new("app", "1.0")
        .depends("greet (>= 1.0), settings (<< 2)")
        .file("usr/bin/app", 0o755, compiled().program.clone())
        .file("usr/bin/script", 0o755, "#!/usr/bin/greetsh\necho script\n")
        .postinst("echo configured > /etc/app.state")
}

/// A home with an app on the base of `packages`, baked.
struct Bench {
    home: Home,
    base: Digest,
    app: Digest,
    archives: Vec<Archive>,
}

impl Bench {
    fn new() -> Self {
        let archive = Archive::with(&[packages(), vec![app_package()]].concat());
        let mut home = Home::with_base(&archive, &[]);
        let mut app = image("app", Base::Image(name("base")), &["app"]);
        home.write("motd", "own\n");
        home.write("data", "data\n");
        let copy = |from: &str, to: &str, owner: CopyOwner| CopySource {
            from: from.to_owned(),
            kind: SourceKind::File,
            to: to.to_owned(),
            mode: None,
            owner,
        };
        let www = CopyOwner { user: "www".to_owned(), group: None };
        app.copies = vec![
            copy("motd", "/etc/greet/motd", CopyOwner::default()),
            copy("data", "/srv/data", www),
        ];
        app.run = vec!["rm /etc/greet/gone && echo made > /srv/made".to_owned()];
        app.config.user = "www".to_owned();
        app.config.command = vec!["/usr/bin/app".to_owned()];
        home.add(app);
        let app = home.bake_one("app").digest;
        let base = home.bake_one("base").digest;
        Self { home, base, app, archives: vec![archive] }
    }

    /// Bakes another base of these packages.
    fn base_of(&mut self, packages: &[Package]) -> Digest {
        let archive = Archive::with(packages);
        let title = format!("base-{}", self.archives.len());
        let from = debian(archive.path().to_str().unwrap(), &archive.keyring());
        self.home.add(image(&title, from, &[]));
        self.archives.push(archive);
        self.home.bake_one(&title).digest
    }

    fn store(&self) -> Store {
        self.home.store()
    }

    /// Brings the archive of the very base to these packages, and the lock up to date; gives the base it is then.
    fn replace(&mut self, packages: &[Package]) -> Digest {
        self.archives[0].replace(&[packages, &[app_package()]].concat());
        self.home.lock(LockMode::Update).unwrap().write(&self.home.source).unwrap();
        let base = self.home.bake_one("base").digest;
        assert_ne!(base, self.base);
        base
    }

    /// Why the app is refused on a base of these packages.
    fn refused(&mut self, packages: &[Package]) -> Vec<Refusal> {
        let app = self.app;
        self.refused_of(&app, packages)
    }

    /// Why an image is refused on a base of these packages.
    fn refused_of(&mut self, image: &Digest, packages: &[Package]) -> Vec<Refusal> {
        let base = self.base_of(packages);
        match rebase(&self.store(), image, &base, PLAIN) {
            Err(RebaseError::Refused { refusals, .. }) => refusals,
            Err(error) => panic!("{}", support::home::chain(&error)),
            Ok(_) => panic!("it is accepted"),
        }
    }
}

fn file<'r>(refusals: &'r [Refusal], kind: RefusalKind, path: &str) -> &'r Refusal {
    let found = refusals.iter().find(|one| one.kind == kind && one.file.as_deref() == Some(path));
    found.unwrap_or_else(|| panic!("no {} of {path}: {refusals:#?}", kind.code()))
}

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

/// A point release: a library of the same interface, a changed text of another package.
fn patched() -> Vec<Package> {
    let greet = Package::new("greet", "1.0+patched")
        .essential()
        .file("usr/lib/libgreet.so.1", 0o644, compiled().library.clone())
        .file("usr/share/doc/greet/changelog", 0o644, "fixed\n");
    exchanged(greet)
}

#[test]
fn an_app_moves_onto_a_patched_base_and_runs() {
    let mut bench = Bench::new();
    let base = bench.base_of(&patched());
    let store = bench.store();
    let watch = Watch::new(&store);
    let moved = rebase(&store, &bench.app, &base, PLAIN)
        .unwrap_or_else(|error| panic!("{}", support::home::chain(&error)));
    assert_eq!(watch.opened(), 0, "a move opens no content");
    assert_eq!((moved.old_base, moved.new_base, moved.forced), (bench.base, base, false));
    assert_ne!(moved.image, bench.app);

    assert_eq!(run(&store, &moved.image, &["/usr/bin/app"]), "123\n");
    assert_eq!(run(&store, &moved.image, &["/usr/bin/script"]), "script\n");
    let read =
        |path: &str| String::from_utf8(store.read_file(&moved.image, path).unwrap()).unwrap();
    assert_eq!(
        (read("/etc/greet/motd"), read("/srv/made")),
        ("own\n".to_owned(), "made\n".to_owned())
    );
    assert_eq!(read("/usr/share/doc/greet/changelog"), "fixed\n");
    assert!(store.lookup(&moved.image, "/etc/greet/gone").is_err());
    // dpkg itself reads the status that was written anew.
    let query = ["/usr/bin/dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\n"];
    let listed = run(&store, &moved.image, &query);
    for line in ["app 1.0 install ok installed", "greet 1.0+patched install ok installed"] {
        assert!(listed.lines().any(|one| one == line), "{listed}");
    }

    let record = BakeRecord::of(&store, &moved.image).unwrap().unwrap();
    assert_eq!(record.parent, Some(base));
    let how = record.moved.unwrap();
    assert_eq!((how.image, how.base, how.forced), (bench.app, base, false));
    let manifest = store.image(&moved.image).unwrap();
    let own: Vec<Digest> = record.steps.iter().flat_map(|step| step.layers.clone()).collect();
    assert!(manifest.layers.ends_with(&own));

    // Moving it back gives the image it was; moving it again, the same as before.
    let back = rebase(&store, &moved.image, &bench.base, FORCE).unwrap();
    let status = |image: &Digest| store.read_file(image, "/var/lib/dpkg/status").unwrap();
    assert_eq!(
        String::from_utf8(status(&back.image)).unwrap(),
        String::from_utf8(status(&bench.app)).unwrap()
    );
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved.image);
    // The old base's own manifest is needed for none of it.
    fs::remove_file(store.dir().join("images").join(bench.base.hex())).unwrap();
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved.image);
    // A base has nothing to be moved from.
    let refused = rebase(&store, &base, &bench.app, PLAIN).unwrap_err();
    assert!(matches!(refused, RebaseError::NoParent(image) if image == base), "{refused}");
}

#[test]
fn force_moves_and_records_why_not() {
    let mut bench = Bench::new();
    let greet = Package::new("greet", "2.0").essential();
    let base = bench.base_of(&exchanged(greet));
    let store = bench.store();
    let refused = rebase(&store, &bench.app, &base, PLAIN).unwrap_err();
    assert!(!refused.refusals().is_empty());
    let moved = rebase(&store, &bench.app, &base, FORCE).unwrap();
    assert!(moved.forced);
    let how = BakeRecord::of(&store, &moved.image).unwrap().unwrap().moved.unwrap();
    assert!(how.forced);
    assert_eq!(how.refusals, refused.refusals());

    // What it lacks there it lacks on the next base as well: nothing is new, and it stays marked.
    let greet = Package::new("greet", "2.1").essential();
    let next = bench.base_of(&exchanged(greet));
    let store = bench.store();
    let again = rebase(&store, &moved.image, &next, PLAIN).unwrap();
    assert!(again.forced);
    assert_eq!(again.refusals, refused.refusals());
    let how = BakeRecord::of(&store, &again.image).unwrap().unwrap().moved.unwrap();
    assert_eq!((how.forced, how.refusals.as_slice()), (true, refused.refusals()));

    // Forced back it is what was baked, and the record says so still.
    let record = BakeRecord::of(&store, &bench.app).unwrap();
    let back = rebase(&store, &again.image, &bench.base, FORCE).unwrap();
    assert_eq!(back.image, bench.app);
    assert_eq!(BakeRecord::of(&store, &bench.app).unwrap(), record);
}

#[test]
fn what_was_forced_is_baked_anew() {
    let mut bench = Bench::new();
    let greet = Package::new("greet", "2.0").essential();
    let base = bench.replace(&exchanged(greet));
    let store = bench.store();
    let forced = rebase(&store, &bench.app, &base, FORCE).unwrap();
    assert!(forced.forced);
    let baked = bench.home.bake_one("app");
    assert!(baked.steps.iter().all(|step| !step.cached), "{:?}", baked.steps);
    assert_eq!(BakeRecord::of(&store, &baked.digest).unwrap().unwrap().moved, None);
}

#[test]
fn what_came_from_elsewhere_is_baked_anew() {
    let mut bench = Bench::new();
    let store = bench.store();
    // The app as somebody else tells of it: its steps by their own names, but the last one's layer is another.
    let mut manifest = store.image(&bench.app).unwrap();
    let mut record = BakeRecord::of(&store, &bench.app).unwrap().unwrap();
    let layer = manifest.layers.pop().unwrap();
    let mut entries = store.layer(&layer).unwrap().into_entries();
    let ingest = store.ingest().unwrap();
    let doctored = ingest.put_bytes(b"doctored\n").unwrap();
    let made = entries.iter_mut().find(|entry| entry.path.as_bytes() == b"srv/made").unwrap();
    made.kind = doctored.into();
    let layer = ingest.put_layer(&hornero_store::Layer::from_sorted(entries).unwrap()).unwrap();
    let _ = ingest.finish().unwrap();
    manifest.layers.push(layer);
    *record.steps.last_mut().unwrap().layers.last_mut().unwrap() = layer;
    let pulled = store.put_image(&manifest).unwrap();
    record.image = pulled;
    store.attach(&pulled, "bake", &serde_json::to_vec(&record).unwrap()).unwrap();

    let base = bench.replace(&patched());
    let moved = rebase(&store, &pulled, &base, PLAIN).unwrap();
    assert_eq!(store.read_file(&moved.image, "/srv/made").unwrap(), b"doctored\n");
    let baked = bench.home.bake_one("app");
    assert!(baked.steps.iter().all(|step| !step.cached), "{:?}", baked.steps);
    assert_eq!(store.read_file(&baked.digest, "/srv/made").unwrap(), b"made\n");
}

#[test]
fn a_bake_from_the_new_lock_finds_the_moved_image() {
    let mut bench = Bench::new();
    let store = bench.store();
    let base = bench.replace(&patched());
    let moved = rebase(&store, &bench.app, &base, PLAIN).unwrap();
    let baked = bench.home.bake_one("app");
    assert_eq!(baked.digest, moved.image);
    assert!(baked.cached, "{:?}", baked.steps);
    // Edited, it is another image: that was never moved, and is baked from its first step on.
    bench.home.write("data", "other\n");
    let changed = bench.home.bake_one("app");
    assert!(changed.steps.iter().all(|step| !step.cached), "{:?}", changed.steps);
    assert_eq!(BakeRecord::of(&store, &changed.digest).unwrap().unwrap().moved, None);
}

#[test]
fn a_whole_line_of_images_moves() {
    let mut bench = Bench::new();
    let mut leaf = image("leaf", Base::Image(name("app")), &[]);
    leaf.run = vec!["echo leaf > /srv/leaf".to_owned()];
    bench.home.add(leaf);
    let leaf = bench.home.bake_one("leaf").digest;
    // Of the base's own name: a new version of what lies two images down.
    let base = bench.replace(&patched());
    let store = bench.store();
    let moved = rebase(&store, &leaf, &base, PLAIN).unwrap();
    assert_eq!((moved.old_base, moved.new_base), (bench.base, base));
    let record = BakeRecord::of(&store, &moved.image).unwrap().unwrap();
    let middle = BakeRecord::of(&store, &record.parent.unwrap()).unwrap().unwrap();
    assert_eq!((middle.name, middle.parent), (name("app"), Some(base)));
    assert_eq!(run(&store, &moved.image, &["/usr/bin/app"]), "123\n");
}

#[test]
fn facts_are_recorded_once_and_made_again_where_they_are_missing() {
    let mut bench = Bench::new();
    let base = bench.base_of(&patched());
    let store = bench.store();
    let layers = store.image(&bench.app).unwrap().layers;
    let mut recorded = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let facts = store.attachment(layer, FACTS_KIND).unwrap();
        recorded.push(facts.unwrap_or_else(|| panic!("layer {number} has no facts")));
    }
    let moved = rebase(&store, &bench.app, &base, PLAIN).unwrap().image;
    for layer in &layers {
        store.detach(layer, FACTS_KIND).unwrap();
    }
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved);
    for (number, (layer, before)) in layers.iter().zip(&recorded).enumerate() {
        let again = facts::of_layer(&store, layer, &layers[..number]).unwrap();
        assert_eq!(&again.encode(), before, "layer {number}");
    }
    // Facts recorded above another status, and bytes that are none: both are made again.
    for (layer, before) in layers.iter().zip(&recorded) {
        let mut facts = LayerFacts::decode(before).unwrap();
        let bytes = match &mut facts.status {
            Some(status) => {
                status.against = Some(Digest::of(b"another status"));
                facts.encode()
            }
            None => b"no facts".to_vec(),
        };
        store.attach(layer, FACTS_KIND, &bytes).unwrap();
    }
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved);
    for (layer, before) in layers.iter().zip(&recorded) {
        assert_eq!(&store.attachment(layer, FACTS_KIND).unwrap().unwrap(), before);
    }
}

#[test]
fn many_images_move_at_once_each_with_its_own_outcome() {
    let mut bench = Bench::new();
    let mut apps = vec![bench.app];
    for number in 0..4 {
        let title = format!("many-{number}");
        let mut one = image(&title, Base::Image(name("base")), &[]);
        one.run = vec![format!("mkdir -p /srv && echo {number} > /srv/number")];
        if number == 3 {
            one.run.push("echo own > /etc/greet/new".to_owned());
        }
        bench.home.add(one);
        apps.push(bench.home.bake_one(&title).digest);
    }
    let mut new = patched();
    new.push(Package::new("new", "1").essential().file("etc/greet/new", 0o644, "base\n"));
    let base = bench.base_of(&new);
    let store = bench.store();
    let rebaser = Rebaser::new(&store, &bench.base, &base).unwrap();
    let moved = rebaser.images(&apps, PLAIN).unwrap();
    assert_eq!(moved.len(), apps.len());
    for (number, outcome) in moved.iter().enumerate() {
        match outcome {
            Ok(moved) => {
                assert_eq!(moved.from, apps[number]);
                assert!(store.has_image(&moved.image));
                assert_eq!(store.image(&moved.image).unwrap().layers.len(), {
                    store.image(&apps[number]).unwrap().layers.len() + 1
                });
            }
            Err(error) => {
                assert_eq!(number, 4);
                file(error.refusals(), RefusalKind::PathBrought, "/etc/greet/new");
            }
        }
    }
    assert!(moved[4].is_err());
}

/// Counts how often contents of a store are opened, by any process.
struct Watch {
    inotify: OwnedFd,
}

impl Watch {
    fn new(store: &Store) -> Self {
        use rustix::fs::inotify;
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
        for shard in fs::read_dir(store.objects_dir()).unwrap() {
            let path = shard.unwrap().path();
            inotify::add_watch(&inotify, &path, inotify::WatchFlags::OPEN).unwrap();
        }
        Self { inotify }
    }

    /// Opened files so far; opening a directory of them counts for nothing.
    fn opened(&self) -> usize {
        use rustix::fs::inotify;
        let mut space = [std::mem::MaybeUninit::uninit(); 64 << 10];
        let mut events = inotify::Reader::new(&self.inotify, &mut space);
        let mut opened = 0;
        while let Ok(event) = events.next() {
            opened += usize::from(!event.events().contains(inotify::ReadFlags::ISDIR));
        }
        opened
    }
}

#[test]
fn the_watch_sees_what_is_opened() {
    let archive = Archive::with(&[shell()]);
    let home = Home::with_base(&archive, &[]);
    let base = home.bake_one("base");
    let store = home.store();
    let watch = Watch::new(&store);
    assert_eq!(watch.opened(), 0);
    let _ = store.read_file(&base.digest, "/etc/passwd").unwrap();
    assert_eq!(watch.opened(), 1);
}
