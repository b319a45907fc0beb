//! Proofs on bases made of a few entries: each rule with a base it accepts and one it refuses.

use std::{collections::BTreeMap, sync::Arc};

use hornero_model::{Digest, ImageConfig};

use crate::{
    App, Base, Entry, Kind, Layer, LayerFacts, Pair, PairOutcome, RefusalKind, Script,
    elf::ElfFacts, read_groups, read_users, stanzas::StatusChange, view,
};

mod starting;

/// A layer in the making: paths with what is at them.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    elf: BTreeMap<String, ElfFacts>,
    scripts: BTreeMap<String, Script>,
    texts: BTreeMap<String, String>,
    unread: Vec<String>,
}

fn file(path: &str, content: &str) -> Entry {
    let kind = Kind::File { digest: Digest::of(content.as_bytes()) };
    Entry { kind, path: path.as_bytes().into(), mode: 0o755, uid: 0, gid: 0, attributes: None }
}

impl Draft {
    fn entry(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    fn text(mut self, path: &str, content: &str) -> Self {
        self.texts.insert(path.to_owned(), content.to_owned());
        self.entry(file(path, content))
    }

    fn dir(self, path: &str) -> Self {
        let kind = Kind::Directory { opaque: false };
        self.entry(Entry { kind, ..file(path, "") })
    }

    fn link(self, path: &str, target: &str) -> Self {
        let kind = Kind::Symlink { target: target.as_bytes().into() };
        self.entry(Entry { kind, ..file(path, "") })
    }

    fn without(self, path: &str) -> Self {
        self.entry(Entry { kind: Kind::Whiteout, mode: 0, ..file(path, "") })
    }

    fn script(mut self, path: &str, line: &str) -> Self {
        self.scripts.insert(path.to_owned(), Script::read(line.as_bytes()).unwrap());
        self.text(path, line)
    }

    /// A program whose headers could not be read.
    fn unread(mut self, path: &str) -> Self {
        self.unread.push(path.to_owned());
        self.text(path, "damaged")
    }

    /// `spec`: words `name=value`, where a name may repeat; see the match.
    fn elf(mut self, path: &str, spec: &str) -> Self {
        let mut elf = ElfFacts { class: 2, machine: 62, ..ElfFacts::default() };
        for word in spec.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap();
            let value = value.to_owned();
            match name {
                "needs" => elf.needed.push(value),
                "soname" => elf.soname = Some(value),
                "defines" => elf.versions_defined.push(value),
                "runpath" => elf.runpath = Some(value),
                "rpath" => elf.rpath = Some(value),
                "interpreter" => elf.interpreter = Some(value),
                "machine" => elf.machine = value.parse().unwrap(),
                "version" => {
                    let (library, version) = value.split_once(':').unwrap();
                    elf.versions_needed.push((library.to_owned(), vec![version.to_owned()]));
                }
                _ => panic!("{word}"),
            }
        }
        self.elf.insert(path.to_owned(), elf);
        self.text(path, spec)
    }

    fn layer(mut self, below: &[Arc<Layer>]) -> Arc<Layer> {
        self.entries.sort_by_key(|entry| view::key(&entry.path));
        let number = |path: &str| {
            self.entries.iter().position(|entry| *entry.path == *path.as_bytes()).unwrap() as u32
        };
        let mut facts = LayerFacts::new();
        facts.elf = self.elf.iter().map(|(path, elf)| (number(path), elf.clone())).collect();
        facts.scripts =
            self.scripts.iter().map(|(path, one)| (number(path), one.clone())).collect();
        facts.unread = self.unread.iter().map(|path| number(path)).collect();
        facts.users = self.texts.get("etc/passwd").map(|text| read_users(text));
        facts.groups = self.texts.get("etc/group").map(|text| read_groups(text));
        facts.library_paths = self
            .texts
            .iter()
            .filter(|(path, _)| path.starts_with("etc/ld.so.conf"))
            .map(|(path, text)| (number(path), text.clone()))
            .collect();
        facts.status = self.texts.get("var/lib/dpkg/status").map(|text| {
            let lower = below.iter().rev().find_map(|layer| layer.status_content());
            let mut stanzas = crate::stanzas::Stanzas::new();
            for layer in below {
                if let Some(change) = &layer.facts().status {
                    stanzas = change.apply(&stanzas);
                }
            }
            StatusChange::between(lower, &stanzas, text)
        });
        let digest = Digest::of(format!("{:?}", self.entries).as_bytes());
        Arc::new(Layer::new(digest, self.entries, facts))
    }
}

/// A base with a C library, a shell and accounts.
fn base() -> Draft {
    Draft::default()
        .dir("usr")
        .dir("usr/lib")
        .dir("usr/bin")
        .dir("etc")
        .link("lib", "usr/lib")
        .link("bin", "usr/bin")
        .elf("usr/lib/libc.so.6", "soname=libc.so.6 defines=C_1 defines=C_2")
        .elf("usr/lib/libz.so.1", "soname=libz.so.1 needs=libc.so.6 version=libc.so.6:C_1")
        .elf("usr/bin/dash", "needs=libc.so.6 interpreter=/lib/ld.so")
        .elf("usr/lib/ld.so", "soname=ld.so")
        .link("usr/bin/sh", "dash")
        .text("etc/passwd", "root:x:0:0\nwww-data:x:33:33\n")
        .text("etc/group", "root:x:0:\nwww-data:x:33:\n")
        .text("etc/motd", "hello")
}

fn prove_all(old: Draft, new: Draft, own: Vec<Draft>, config: &ImageConfig) -> PairOutcome {
    let (mut below, new) = (vec![old.layer(&[])], new.layer(&[]));
    let pair = Pair::new(Base::new(below.clone()).unwrap(), Base::new(vec![new]).unwrap());
    let mut layers = Vec::new();
    for draft in own {
        let layer = draft.layer(&below);
        below.push(layer.clone());
        layers.push(Arc::new(pair.layer(layer)));
    }
    pair.prove(&App { layers: &layers, config }).unwrap()
}

fn prove(old: Draft, new: Draft, own: Draft) -> PairOutcome {
    let config = ImageConfig { user: "www-data".to_owned(), ..ImageConfig::default() };
    prove_all(old, new, vec![own], &config)
}

/// Kind and text of every refusal of an image with this configuration and one layer.
fn refused_with(
    old: Draft,
    new: Draft,
    own: Draft,
    config: &ImageConfig,
) -> Vec<(RefusalKind, String)> {
    let outcome = prove_all(old, new, vec![own], config);
    outcome.refusals.iter().map(|one| (one.kind, one.to_string())).collect()
}

fn words(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

/// Kind, subject, need and found of every refusal.
fn refused(old: Draft, new: Draft, own: Draft) -> Vec<(RefusalKind, String)> {
    let outcome = prove(old, new, own);
    outcome.refusals.iter().map(|one| (one.kind, one.to_string())).collect()
}

fn changed(path: &str, how: impl FnOnce(Draft) -> Draft) -> Draft {
    let mut draft = base();
    draft.entries.retain(|entry| *entry.path != *path.as_bytes());
    draft.elf.remove(path);
    draft.texts.remove(path);
    how(draft)
}

#[test]
fn an_untouched_app_stands_on_a_patched_base() {
    let own = || {
        Draft::default()
            .dir("usr")
            .elf(
                "usr/bin/app",
                "needs=libz.so.1 version=libc.so.6:C_2 needs=libc.so.6 interpreter=/lib/ld.so",
            )
            .script("usr/bin/tool", "#!/bin/sh\n")
            .script("usr/bin/other", "#!/usr/bin/env sh\n")
    };
    let patched = || {
        changed("usr/lib/libc.so.6", |base| {
            base.elf("usr/lib/libc.so.6", "soname=libc.so.6 defines=C_1 defines=C_2 defines=C_3")
                .text("usr/bin/new", "new")
        })
    };
    assert_eq!(refused(base(), patched(), own()), []);
    assert_eq!(refused(patched(), patched(), own()), []);
}

#[test]
fn libraries_have_to_be_found_in_the_right_version() {
    let own = || {
        Draft::default().elf("usr/bin/app", "needs=libz.so.1 needs=libc.so.6 version=libc.so.6:C_2")
    };
    let gone =
        changed("usr/lib/libz.so.1", |base| base.elf("usr/lib/libz.so.2", "soname=libz.so.2"));
    assert_eq!(
        refused(base(), gone, own()),
        [(
            RefusalKind::LibraryMissing,
            "`/usr/bin/app` needs the library `libz.so.1`; the new base has `/usr/lib/libz.so.2`"
                .to_owned()
        )]
    );
    let older = changed("usr/lib/libc.so.6", |base| {
        base.elf("usr/lib/libc.so.6", "soname=libc.so.6 defines=C_1")
    });
    assert_eq!(
        refused(base(), older, own()),
        [(
            RefusalKind::LibraryVersion,
            "`/usr/bin/app` needs `C_2` of the library `libc.so.6`; the new base has `/usr/lib/libc.so.6` with `C_1`"
                .to_owned()
        )]
    );
    let foreign = changed("usr/lib/libz.so.1", |base| {
        base.elf("usr/lib/libz.so.1", "soname=libz.so.1 machine=183")
    });
    let found = refused(base(), foreign, own());
    assert!(
        found.len() == 1 && found[0].1.ends_with("`/usr/lib/libz.so.1` of another machine"),
        "{found:?}"
    );
}

#[test]
fn a_library_that_another_one_loads_counts_too() {
    let own = Draft::default().elf("usr/bin/app", "needs=libz.so.1");
    let needier = changed("usr/lib/libz.so.1", |base| {
        base.elf("usr/lib/libz.so.1", "soname=libz.so.1 needs=libnew.so.1")
    });
    let found = refused(base(), needier, own);
    assert!(
        found.iter().any(|(kind, text)| *kind == RefusalKind::LibraryMissing
            && text.starts_with("`/usr/lib/libz.so.1` needs the library `libnew.so.1`")),
        "{found:?}"
    );
}

#[test]
fn search_paths_of_programs_are_followed() {
    let with =
        |base: Draft| base.dir("opt").elf("opt/base/libown.so", "soname=libown.so defines=O_1");
    for list in ["runpath=$ORIGIN/../../opt/base", "rpath=/nowhere:${ORIGIN}/../../opt/base"] {
        let own = || {
            Draft::default()
                .elf("usr/bin/app", &format!("needs=libown.so version=libown.so:O_1 {list}"))
        };
        let changed =
            |base: Draft| base.dir("opt").elf("opt/base/libown.so", "soname=libown.so defines=O_0");
        assert_eq!(refused(with(base()), with(base().text("x", "")), own()), []);
        let kinds = |found: Vec<(RefusalKind, String)>| {
            found.into_iter().map(|one| one.0).collect::<Vec<_>>()
        };
        assert_eq!(kinds(refused(with(base()), base(), own())), [RefusalKind::LibraryMissing]);
        assert_eq!(
            kinds(refused(with(base()), changed(base()), own())),
            [RefusalKind::LibraryVersion]
        );
    }
    // A search path of a program counts for what it loads; a run path does not.
    let through = |list: &str| {
        Draft::default()
            .elf("usr/bin/app", &format!("needs=liba.so {list}"))
            .elf("srv/own/liba.so", "soname=liba.so needs=libown.so")
    };
    let list = "rpath=/srv/own:/opt/base";
    assert_eq!(refused(with(base()), base(), through(list)).len(), 1);
    assert_eq!(refused(with(base()), base(), through("runpath=/srv/own:/opt/base")), []);
}

#[test]
fn library_directories_of_the_base_are_followed() {
    let conf = |dir: &str| {
        base()
            .text("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
            .text("etc/ld.so.conf.d/own.conf", &format!("# own\n{dir}\n"))
            .elf("srv/lib/libown.so", "soname=libown.so")
    };
    let own = || Draft::default().elf("usr/bin/app", "needs=libown.so");
    assert_eq!(refused(conf("/srv/lib"), conf("/srv/lib").text("x", ""), own()), []);
    assert_eq!(refused(conf("/srv/lib"), conf("/srv/other"), own()).len(), 1);
    let cached = own().text("etc/ld.so.cache", "cache");
    let found = refused(conf("/srv/lib"), conf("/srv/lib\n/opt/lib"), cached);
    assert_eq!(found[0].0, RefusalKind::LibraryCache);
}

#[test]
fn an_app_may_not_break_what_the_base_runs() {
    // The image brings its own library of a name that the new base begins to need in a newer version.
    let own =
        Draft::default().elf("lib2/x", "").elf("usr/lib/libown.so", "soname=libown.so defines=O_1");
    let new = base()
        .elf("usr/bin/curl", "needs=libown.so version=libown.so:O_2")
        .elf("usr/lib64/libown.so", "soname=libown.so defines=O_2");
    // The base finds its own one first: nothing is broken.
    assert_eq!(refused(base(), new, own), []);
    let own = Draft::default().elf("lib64/libown.so", "soname=libown.so defines=O_1");
    let new = base()
        .elf("usr/bin/curl", "needs=libown.so version=libown.so:O_2")
        .elf("usr/lib/libown.so", "soname=libown.so defines=O_2");
    let found = refused(base(), new, own);
    assert!(found.len() == 1 && found[0].1.starts_with("`/usr/bin/curl` needs `O_2`"), "{found:?}");
}

#[test]
fn interpreters_have_to_be_there() {
    let own = || {
        Draft::default()
            .script("srv/one", "#!/bin/sh -e\n")
            .script("srv/two", "#!/usr/bin/env sh\n")
            .elf("srv/three", "interpreter=/lib/ld.so")
    };
    let moved = changed("usr/bin/sh", |base| base.link("usr/local/bin/sh", "../../bin/dash"));
    let found = refused(base(), moved, own());
    assert_eq!(
        found,
        [(
            RefusalKind::InterpreterMissing,
            "`/srv/one` needs the interpreter `/bin/sh`; the new base has `/usr/local/bin/sh`"
                .to_owned()
        )]
    );
    let gone = changed("usr/bin/sh", |base| base);
    assert_eq!(refused(base(), gone, own()).len(), 2);
    let gone = changed("usr/lib/ld.so", |base| base);
    let found = refused(base(), gone, own());
    assert!(
        found.iter().any(|(_, text)| text.starts_with("`/srv/three` needs the interpreter")),
        "{found:?}"
    );
}

#[test]
fn replaced_and_deleted_paths_have_to_stay() {
    let new = || changed("etc/motd", |base| base.text("etc/motd", "changed"));
    let replaces = || Draft::default().text("etc/motd", "own");
    let deletes = || Draft::default().without("etc/motd");
    let found = refused(base(), new(), replaces());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, RefusalKind::PathChanged);
    assert!(
        found[0].1.contains("`/etc/motd` needs a file with content")
            && found[0].1.contains("which it replaces")
    );
    assert!(refused(base(), new(), deletes())[0].1.contains("which it deletes"));
    // Deleted there as well, or changed to what the image has: nothing is lost.
    assert_eq!(refused(base(), changed("etc/motd", |base| base), deletes()), []);
    assert_eq!(refused(base(), new(), Draft::default().text("etc/motd", "changed")), []);
    // Gone, though the image replaced it.
    assert_eq!(refused(base(), changed("etc/motd", |base| base), replaces()).len(), 1);
    let stricter =
        changed("etc/motd", |base| base.entry(Entry { mode: 0o600, ..file("etc/motd", "hello") }));
    assert!(refused(base(), stricter, replaces())[0].1.ends_with("the new base has mode 0600"));
}

#[test]
fn symlinks_still_lead_somewhere() {
    let own = || Draft::default().link("etc/link", "motd").link("etc/dangling", "nowhere");
    assert_eq!(refused(base(), base().text("x", ""), own()), []);
    let gone = changed("etc/motd", |base| base);
    assert_eq!(
        refused(base(), gone, own()),
        [(
            RefusalKind::LinkBroken,
            "`/etc/link` needs `motd`, where it leads; the new base has nothing there".to_owned()
        )]
    );
}

#[test]
fn a_hidden_directory_has_to_stay_as_it_is() {
    let hides = |kind: Kind| Draft::default().entry(Entry { kind, ..file("etc", "") });
    let new = || base().text("etc/new", "new");
    for kind in [Kind::Whiteout, Kind::Directory { opaque: true }] {
        let found = refused(base(), new(), hides(kind.clone()));
        assert!(
            found
                .iter()
                .any(|(kind, text)| *kind == RefusalKind::PathBrought
                    && text.starts_with("`/etc/new`")),
            "{found:?}"
        );
    }
}

#[test]
fn what_the_new_base_brings_may_not_collide() {
    let own = || Draft::default().text("srv/data", "own").text("opt/x/y", "own");
    let found = refused(base(), base().text("srv/data", "base"), own());
    assert!(found.len() == 1 && found[0].0 == RefusalKind::PathBrought, "{found:?}");
    assert_eq!(refused(base(), base().text("srv/data", "own"), own()), []);
    assert_eq!(refused(base(), base().text("srv/other", "base"), own()), []);
    // A directory of the image becomes something else.
    let found = refused(base(), base().link("opt/x", "../srv"), own());
    assert!(found.len() == 1 && found[0].1.starts_with("`/opt/x` needs a directory"), "{found:?}");
}

#[test]
fn a_directory_of_the_base_that_is_added_to_has_to_stay() {
    let modules = "usr/lib/python3.12";
    let own = || Draft::default().text("usr/lib/python3.12/app.py", "own");
    let with = || base().dir(modules);
    assert_eq!(refused(with(), with().text("x", ""), own()), []);
    assert_eq!(
        refused(with(), base().dir("usr/lib/python3.13"), own()),
        [(
            RefusalKind::PathChanged,
            "`/usr/lib/python3.12` needs a directory, in which it has files; the new base has nothing"
                .to_owned()
        )]
    );
    // An image that brings the directory itself adds to nothing, as does one beside a file that happened to be there.
    assert_eq!(refused(with(), base(), own().dir(modules)), []);
    let beside = base().text("opt/site/other", "base");
    assert_eq!(refused(beside, base(), Draft::default().text("opt/site/page", "own")), []);
}

#[test]
fn what_only_building_reads_may_differ() {
    let own = || {
        Draft::default().text("var/cache/debconf/config.dat", "own").text("etc/ld.so.cache", "own")
    };
    let with = |text: &str| {
        base().text("var/cache/debconf/config.dat", text).text("etc/ld.so.cache", text)
    };
    assert_eq!(refused(with("one"), with("two"), own()), []);
}

#[test]
fn accounts_keep_their_numbers() {
    let owned = || Draft::default().entry(Entry { uid: 33, gid: 33, ..file("srv/data", "own") });
    let text = "root:x:0:0\nwww-data:x:34:33\n";
    let renumbered = || changed("etc/passwd", |base| base.text("etc/passwd", text));
    assert_eq!(
        refused(base(), renumbered(), owned()),
        [(
            RefusalKind::AccountChanged,
            "`/srv/data` needs the user `www-data` with number 33; the new base has `www-data` with number 34"
                .to_owned()
        )]
    );
    // Whom the command runs as counts without any file.
    assert_eq!(refused(base(), renumbered(), Draft::default())[0].0, RefusalKind::AccountChanged);
    let more = changed("etc/passwd", |base| {
        base.text("etc/passwd", "root:x:0:0\nwww-data:x:33:33\nnew:x:1000:1000\n")
    });
    assert_eq!(refused(base(), more, owned()), []);
    let taken = changed("etc/passwd", |base| {
        base.text("etc/passwd", "root:x:0:0\nwww-data:x:33:33\nnew:x:1000:1000\n")
    });
    let numbered = Draft::default().entry(Entry { uid: 1000, gid: 0, ..file("srv/data", "own") });
    assert!(refused(base(), taken, numbered)[0].1.ends_with("the new base has it as `new`"));
}

fn status(packages: &[&str]) -> String {
    let stanza = |package: &&str| {
        let mut words = package.splitn(3, ' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let more = words.next().map(|more| format!("{more}\n")).unwrap_or_default();
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: all\nVersion: {version}\n{more}\n"
        )
    };
    packages.iter().map(stanza).collect()
}

fn packages(old: &[&str], new: &[&str], own: &[&str]) -> PairOutcome {
    let with = |packages: &[&str]| Draft::default().text("var/lib/dpkg/status", &status(packages));
    let mut all = [old, own].concat();
    all.sort_unstable();
    prove(with(old), with(new), with(&all))
}

#[test]
fn the_packages_of_an_image_have_to_fit() {
    let own = ["own 1 Depends: lib (>= 2), other | virtual"];
    let fine = packages(&["lib 2", "other 1"], &["lib 3", "some 1 Provides: virtual"], &own);
    assert_eq!(fine.refusals, []);
    assert_eq!(fine.statuses.len(), 1);
    assert_eq!(fine.statuses[0].text, status(&["lib 3", own[0], "some 1 Provides: virtual"]));
    for (new, expected) in [
        (&["lib 1", "other 1"][..], "package `own` needs `lib (>= 2)`; the new base has `lib` 1"),
        (&["other 1"], "package `own` needs `lib (>= 2)`; the new base has no `lib`"),
        (&["lib 2"], "package `own` needs `other | virtual`; the new base has no `other`"),
        (
            &["lib 2", "other 1 Breaks: own (<< 2)"],
            "package `own` needs to be accepted in version 1; the new base has `other`, which excludes `own (<< 2)`",
        ),
        (
            &["lib 2", "other 1", "own 2 Depends: lib"],
            "package `own` needs its own version 1; the new base has version 2",
        ),
    ] {
        let found = packages(&["lib 2", "other 1"], new, &own).refusals;
        assert!(found.iter().any(|one| one.to_string() == expected), "{expected}\n{found:#?}");
    }
    let found = packages(&["lib 2"], &["lib 1"], &[]).refusals;
    assert_eq!(found[0].kind, RefusalKind::PackageDowngraded);
}

#[test]
fn a_package_that_both_bring_is_told_for_every_layer_of_its_step() {
    let with = |packages: &[&str]| Draft::default().text("var/lib/dpkg/status", &status(packages));
    let unpacked = status(&["lib 1", "own 1"]).replacen(
        "own\nStatus: install ok installed",
        "own\nStatus: install ok unpacked",
        1,
    );
    assert!(unpacked.contains("unpacked"));
    let own = || {
        let database = Draft::default().text("var/lib/dpkg/status", &unpacked);
        vec![database, with(&["lib 1", "own 1"])]
    };
    let config = ImageConfig::default();
    let found = prove_all(with(&["lib 1"]), with(&["lib 1", "own 2"]), own(), &config).refusals;
    assert_eq!(
        found.iter().map(|one| (one.kind, one.to_string())).collect::<Vec<_>>(),
        [(
            RefusalKind::PackageBrought,
            "package `own` needs its own version 1; the new base has version 2".to_owned()
        )]
    );
    let fine = prove_all(with(&["lib 1"]), with(&["lib 2"]), own(), &config);
    assert_eq!((fine.refusals.len(), fine.statuses.len()), (0, 2));
    assert_eq!(fine.statuses[1].text, status(&["lib 2", "own 1"]));
}

#[test]
fn facts_above_another_status_are_stale() {
    let with = |packages: &[&str]| Draft::default().text("var/lib/dpkg/status", &status(packages));
    let (old, new) = (with(&["lib 1"]).layer(&[]), with(&["lib 2"]).layer(&[]));
    let own = with(&["lib 1", "own 1"]).layer(&[]);
    let pair = Pair::new(Base::new(vec![old]).unwrap(), Base::new(vec![new]).unwrap());
    let layers = [Arc::new(pair.layer(own.clone()))];
    let config = ImageConfig::default();
    let app = App { layers: &layers, config: &config };
    assert_eq!(pair.prove(&app).unwrap_err().0, own.digest);
}

#[test]
fn what_could_not_be_read_holds_on_no_other_base() {
    let own = || Draft::default().unread("opt/app");
    assert_eq!(refused(base(), base(), own()), []);
    let found = refused(base(), base().text("x", ""), own());
    assert_eq!(
        found,
        [(
            RefusalKind::ProgramUnread,
            "`/opt/app` needs libraries that could not be read from its headers; the new base has perhaps not all of them"
                .to_owned()
        )]
    );
    // One that is replaced further up matters to nobody.
    let config = ImageConfig::default();
    let above = Draft::default().elf("opt/app", "needs=libc.so.6");
    let outcome = prove_all(base(), base().text("x", ""), vec![own(), above], &config);
    assert_eq!(outcome.refusals, []);
}
