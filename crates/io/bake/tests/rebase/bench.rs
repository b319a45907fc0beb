//! A base with an app on it, and other bases to move the app to.

use std::{fs, path::Path, process::Command};

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{LockMode, RebaseError, RebaseOptions, rebase};
use hornero_model::Digest;
use hornero_rebase::{RebaseRefusal, RefusalKind};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::Store;

use crate::support::{
    self,
    home::{Home, debian, image, name},
};

pub const FORCE: RebaseOptions = RebaseOptions { force: true };
pub const PLAIN: RebaseOptions = RebaseOptions { force: false };

/// Compiles C with real gcc; `arguments` may name files of `dir`.
pub fn gcc(dir: &Path, source: &str, output: &str, arguments: &[&str]) -> Vec<u8> {
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
pub struct Compiled {
    /// With the versions `GREET_1` and `GREET_2`.
    pub library: Vec<u8>,
    /// With `GREET_1` alone.
    pub older: Vec<u8>,
    pub private: Vec<u8>,
    pub program: Vec<u8>,
}

pub fn compiled() -> &'static Compiled {
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
pub fn packages() -> Vec<Package> {
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

pub fn exchanged(package: Package) -> Vec<Package> {
    let mut all = packages();
    all.retain(|one| one.name != package.name);
    all.push(package);
    all
}

pub fn app_package() -> Package {
    Package::new("app", "1.0")
        .depends("greet (>= 1.0), settings (<< 2)")
        .file("usr/bin/app", 0o755, compiled().program.clone())
        .file("usr/bin/script", 0o755, "#!/usr/bin/greetsh\necho script\n")
        .postinst("echo configured > /etc/app.state")
}

/// A home with an app on the base of `packages`, baked.
pub struct Bench {
    pub home: Home,
    pub base: Digest,
    pub app: Digest,
    pub archives: Vec<Archive>,
}

impl Bench {
    pub fn new() -> Self {
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
    pub fn base_of(&mut self, packages: &[Package]) -> Digest {
        let archive = Archive::with(packages);
        let title = format!("base-{}", self.archives.len());
        let from = debian(archive.path().to_str().unwrap(), &archive.keyring());
        self.home.add(image(&title, from, &[]));
        self.archives.push(archive);
        self.home.bake_one(&title).digest
    }

    pub fn store(&self) -> Store {
        self.home.store()
    }

    /// Brings the archive of the very base to these packages, and the lock up to date; gives the base it is then.
    pub fn replace(&mut self, packages: &[Package]) -> Digest {
        self.archives[0].replace(&[packages, &[app_package()]].concat());
        self.home.lock(LockMode::Update).unwrap().write(&self.home.source).unwrap();
        let base = self.home.bake_one("base").digest;
        assert_ne!(base, self.base);
        base
    }

    /// Why the app is refused on a base of these packages.
    pub fn refused(&mut self, packages: &[Package]) -> Vec<RebaseRefusal> {
        let app = self.app;
        self.refused_of(&app, packages)
    }

    /// Why an image is refused on a base of these packages.
    pub fn refused_of(&mut self, image: &Digest, packages: &[Package]) -> Vec<RebaseRefusal> {
        let base = self.base_of(packages);
        match rebase(&self.store(), image, &base, PLAIN) {
            Err(RebaseError::Refused { refusals, .. }) => refusals,
            Err(error) => panic!("{}", support::home::chain(&error)),
            Ok(_) => panic!("it is accepted"),
        }
    }
}

pub fn file<'r>(refusals: &'r [RebaseRefusal], kind: RefusalKind, path: &str) -> &'r RebaseRefusal {
    let found = refusals.iter().find(|one| one.kind == kind && one.file.as_deref() == Some(path));
    found.unwrap_or_else(|| panic!("no {} of {path}: {refusals:#?}", kind.code()))
}

/// A point release: a library of the same interface, a changed text of another package.
pub fn patched() -> Vec<Package> {
    let greet = Package::new("greet", "1.0+patched")
        .essential()
        .file("usr/lib/libgreet.so.1", 0o644, compiled().library.clone())
        .file("usr/share/doc/greet/changelog", 0o644, "fixed\n");
    exchanged(greet)
}
