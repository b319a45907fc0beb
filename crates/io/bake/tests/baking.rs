//! Baking layers: copies, steps, the cache and its explanations, and what is refused.

mod support;

use std::os::unix::fs::{PermissionsExt as _, symlink};

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{
    BakeContext, BakeOptions, BakeRecord, StepKind,
    progress::{BakeEvent, BakeProgress},
};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::{EntryKind, TreePath};
use support::home::{Home, chain, image, name};

fn extra() -> Package {
    Package::new("extra", "1").file("bin/extra", 0o755, "#!/bin/sh\necho extra\n")
}

fn copy(from: &str, kind: SourceKind, to: &str) -> CopySource {
    let (from, to) = (from.to_owned(), to.to_owned());
    CopySource { from, kind, to, mode: None, owner: CopyOwner::default() }
}

/// A home with `base` and, on it, `site`.
fn home(archive: &Archive) -> Home {
    let mut home = Home::with_base(archive, &[]);
    home.add(image("site", Base::Image(name("base")), &["extra"]));
    home.write("public/index.html", "one\n");
    home.write("public/js/app.js", "app\n");
    home.write("tool.sh", "#!/bin/sh\necho tool\n");
    let tool = home.source.join("tool.sh");
    std::fs::set_permissions(tool, std::fs::Permissions::from_mode(0o700)).unwrap();
    symlink("js/app.js", home.source.join("public/app.js")).unwrap();
    home.get("site").copies = vec![
        copy("public", SourceKind::Directory, "/srv/site"),
        copy("tool.sh", SourceKind::File, "/bin/tool"),
    ];
    home.get("site").run = vec!["echo \"made $SOURCE_DATE_EPOCH\" > /srv/made".to_owned()];
    home
}

fn archive() -> Archive {
    Archive::with(&[shell(), extra()])
}

#[test]
fn bakes_copies_and_steps_on_packages() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    assert_eq!(home.read(&site, "/srv/site/index.html"), "one\n");
    assert_eq!(home.read(&site, "/srv/site/app.js"), "app\n");
    assert_eq!(home.read(&site, "/srv/made"), "made 1700000000\n");
    assert_eq!(home.read(&site, "/bin/extra"), "#!/bin/sh\necho extra\n");
    let tree = home.store().tree(&site.digest).unwrap();
    let entry = |path: &str| {
        tree.get(&TreePath::new(path).unwrap()).unwrap_or_else(|| panic!("{path}")).clone()
    };
    // `/bin` leads into `/usr`, whoever writes there.
    assert_eq!(entry("bin").kind, EntryKind::Symlink { target: b"usr/bin".as_slice().into() });
    assert_eq!(entry("usr/bin/tool").metadata.mode, 0o755);
    assert_eq!(entry("srv/site/index.html").metadata.mode, 0o644);
    assert_eq!(
        entry("srv/site/app.js").kind,
        EntryKind::Symlink { target: b"js/app.js".as_slice().into() }
    );
    assert_eq!(entry("srv/made").metadata.mtime, 1_700_000_000);
    let status = home.read(&site, "/var/lib/dpkg/status");
    assert!(status.contains("Package: extra") && status.contains("Package: shell"), "{status}");
    let list = home.read(&site, "/var/lib/dpkg/info/extra.list");
    assert!(list.lines().any(|line| line == "/bin/extra"), "{list}");

    let record = BakeRecord::of(&home.store(), &site.digest).unwrap().unwrap();
    let kinds: Vec<StepKind> = record.steps.iter().map(|step| step.kind).collect();
    assert_eq!(kinds, [StepKind::Packages, StepKind::Copy, StepKind::Copy, StepKind::Run]);
    let base = home.bake_one("base");
    assert_eq!(record.parent, Some(base.digest));
    let sources: Vec<String> = record.sources().map(|(_, source)| format!("{source:?}")).collect();
    let expected = ["Package(", "Database", "Copy { from: \"public\" }", "Copy {", "Run {"];
    assert_eq!(sources.len(), expected.len(), "{sources:?}");
    for (source, expected) in sources.iter().zip(expected) {
        assert!(source.starts_with(expected), "{source}, expected {expected}");
    }
    let layers = home.store().image(&site.digest).unwrap().layers;
    assert!(record.sources().map(|(layer, _)| layer).eq(&layers[layers.len() - 5..]));
    assert_eq!(record.locked.unwrap().packages[0].name, "extra");
}

#[test]
fn a_record_of_the_first_version_is_still_read() {
    let archive = archive();
    let home = home(&archive);
    let (store, image) = (home.store(), home.bake_one("base").digest);
    let mut record: serde_json::Value =
        serde_json::from_slice(&store.attachment(&image, "bake").unwrap().unwrap()).unwrap();
    record["version"] = 1.into();
    for step in record["steps"].as_array_mut().unwrap() {
        step.as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(&**name, "sources" | "own" | "action"));
    }
    let old = hornero_model::Digest::of(format!("hornero bake record 1\n{image}").as_bytes());
    store.cache_put(&old, &serde_json::to_vec(&record).unwrap()).unwrap();
    store.detach(&image, "bake").unwrap();
    let read = BakeRecord::of(&store, &image).unwrap().unwrap();
    assert_eq!((read.version, read.image, read.sources().count()), (1, image, 0));
}

#[test]
fn equal_inputs_give_equal_digests() {
    let archive = archive();
    let one = home(&archive);
    let two = home(&archive);
    // Times and other permissions of the sources are no inputs.
    std::fs::set_permissions(
        two.source.join("public/index.html"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    assert_eq!(one.bake_one("site").digest, two.bake_one("site").digest);
}

/// Changes a file as soon as the step begins that copies it: after all of it was looked at.
struct Editing(std::path::PathBuf);

impl BakeProgress for Editing {
    fn event(&self, event: BakeEvent) {
        if matches!(&event, BakeEvent::StepStarted { step, .. } if step.starts_with("copy `public`"))
        {
            std::fs::write(&self.0, "six\n").unwrap();
        }
    }
}

#[test]
fn what_changes_while_it_is_copied_is_remembered_as_nothing_else() {
    let archive = archive();
    let home = home(&archive);
    home.bake_one("base");
    let editing = Editing(home.source.join("public/index.html"));
    let context = BakeContext::new(&home.path, &editing);
    let (store, names) = (home.store(), [name("site")]);
    let options = BakeOptions::default();
    let error = hornero_bake::bake(&context, &store, &home.spec, &home.source, &names, options);
    assert_eq!(
        chain(&error.unwrap_err()),
        "copy source `public/index.html` of image `site` cannot be copied: it changed while it was copied: run it again"
    );
    for text in ["six\n", "one\n"] {
        home.write("public/index.html", text);
        assert_eq!(home.read(&home.bake_one("site"), "/srv/site/index.html"), text);
    }
}

#[test]
fn a_changed_page_is_told_from_the_old_one_by_its_time() {
    let archive = archive();
    let home = home(&archive);
    let time = |text: &str| {
        home.write("public/index.html", text);
        let site = home.bake_one("site");
        let entry = home.store().lookup(&site.digest, "/srv/site/index.html").unwrap();
        assert_eq!(home.read(&site, "/srv/site/index.html"), text);
        entry.metadata.mtime
    };
    // Of equal size: a web server's `ETag` has nothing else to tell them apart.
    assert_ne!(time("one\n"), time("two\n"));
}

#[test]
fn only_what_changed_is_baked_again_and_says_why() {
    let archive = archive();
    let mut home = home(&archive);
    let first = home.bake_one("site");
    assert!(first.steps.iter().all(|step| !step.cached && !step.why.is_empty()));
    let again = home.bake_one("site");
    assert!(again.cached && again.digest == first.digest);
    let why = |home: &Home| -> Vec<String> {
        home.bake_one("site").steps.iter().map(|step| step.why.clone()).collect()
    };
    home.write("public/index.html", "two\n");
    assert_eq!(
        why(&home),
        [
            "",
            "`public/index.html` changed",
            "what lies below it changed",
            "what lies below it changed"
        ]
    );
    home.get("site").run.push("echo more > /srv/more".to_owned());
    assert_eq!(why(&home)[..4], ["", "", "", ""]);
    home.get("site").run[0] = "echo other > /srv/made".to_owned();
    assert_eq!(why(&home)[3..], ["`command` changed", "what lies below it changed"]);
    // Back to what was: everything is known.
    home.write("public/index.html", "one\n");
    home.get("site").run = vec!["echo \"made $SOURCE_DATE_EPOCH\" > /srv/made".to_owned()];
    let back = home.bake_one("site");
    assert!(back.cached && back.digest == first.digest);
}

#[test]
fn a_package_that_changed_is_named() {
    let mut archive = archive();
    let home = home(&archive);
    home.bake_one("site");
    let mut newer = extra();
    newer.version = "2".to_owned();
    archive.replace(&[shell(), newer]);
    home.lock(hornero_bake::LockMode::Update).unwrap();
    let site = home.bake_one("site");
    assert_eq!(site.steps[0].why, "package `extra` 1 → 2");
}

#[test]
fn a_forecast_says_what_a_bake_would_do() {
    let archive = archive();
    let home = home(&archive);
    let forecast = || {
        let names = [name("base"), name("site")];
        let context = home.context();
        hornero_bake::forecast(&context, &home.store(), &home.spec, &home.source, &names).unwrap()
    };
    let before = forecast();
    assert!(before.iter().all(|one| one.digest.is_none() && one.why.is_some()), "{before:?}");
    let site = home.bake_one("site");
    let after = forecast();
    assert_eq!(after[1].digest, Some(site.digest));
    home.write("public/index.html", "two\n");
    assert_eq!(
        forecast()[1].why.as_deref(),
        Some("copy `public` to `/srv/site`: `public/index.html` changed")
    );
}

#[test]
fn copies_have_the_owner_and_mode_asked_for() {
    let archive = archive();
    let mut home = home(&archive);
    let copies = &mut home.get("site").copies;
    copies[0].owner = CopyOwner { user: "www".to_owned(), group: Some("staff".to_owned()) };
    copies[0].mode = Some(0o640);
    copies[1].owner = CopyOwner { user: "33".to_owned(), group: None };
    let site = home.bake_one("site");
    let store = home.store();
    let owner = |path: &str| {
        let metadata = store.lookup(&site.digest, path).unwrap().metadata;
        (metadata.uid, metadata.gid, metadata.mode)
    };
    assert_eq!(owner("/srv/site/index.html"), (33, 50, 0o640));
    assert_eq!(owner("/srv/site/js"), (33, 50, 0o755));
    assert_eq!(owner("/usr/bin/tool"), (33, 34, 0o755));
    home.get("site").copies[0].owner.user = "nobody-there".to_owned();
    assert!(home.bake_error("site").contains("image `site` has no user `nobody-there`"));
}

#[test]
fn a_user_that_the_image_lacks_is_refused() {
    let archive = archive();
    let mut home = home(&archive);
    home.get("site").config.user = "www".to_owned();
    home.bake_one("site");
    home.get("site").config.user = "ghost".to_owned();
    assert!(home.bake_error("site").contains("image `site` has no user `ghost`"));
}

#[test]
fn copies_never_leave_their_directory() {
    let archive = archive();
    for (link, target) in [
        ("public/passwd", "/etc/passwd"),
        ("public/up", "../../secret"),
        ("public/js/up", "../../tool.sh"),
    ] {
        let home = home(&archive);
        symlink(target, home.source.join(link)).unwrap();
        let error = home.bake_error("site");
        assert!(error.contains(link) && error.contains("out of what is copied"), "{error}");
    }
    let mut home = home(&archive);
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path(), home.source.join("elsewhere")).unwrap();
    home.get("site").copies = vec![copy("elsewhere", SourceKind::Directory, "/srv")];
    assert!(home.bake_error("site").contains("out of the directory"));
    home.get("site").copies = vec![copy("elsewhere/secret", SourceKind::File, "/srv/secret")];
    assert!(home.bake_error("site").contains("out of the directory"));
    let _pipe = std::os::unix::net::UnixListener::bind(home.source.join("public/socket")).unwrap();
    home.get("site").copies = vec![copy("public", SourceKind::Directory, "/srv")];
    assert!(home.bake_error("site").contains("neither a file"));
}

#[test]
fn a_failed_step_shows_its_last_lines_and_leaves_nothing() {
    let archive = archive();
    let mut home = home(&archive);
    home.bake_one("base");
    let images = home.store().images().unwrap();
    home.get("site").run = vec!["echo before; echo 'it went wrong' >&2; exit 7".to_owned()];
    let error = home.bake_error("site");
    assert!(error.contains("exit code 7") && error.contains("before\nit went wrong"), "{error}");
    assert_eq!(home.store().images().unwrap(), images);
    let left: Vec<_> = std::fs::read_dir(home.path.join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_step_sees_nothing_of_the_host() {
    let archive = archive();
    let mut home = home(&archive);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    home.write("public/probe.sh", "");
    let script = "for dir in /work /home/* /var/lib/hornero; do [ -e $dir ] && echo \"sees $dir\"; done\n\
                  read -r first rest < /proc/1/stat; echo \"first process $first\"\n\
                  while read -r line; do case $line in *:*) echo \"link ${line%%:*}\";; esac; done < /proc/net/dev\n\
                  echo 1 > /proc/sys/kernel/hostname 2>/dev/null && echo writes\n\
                  exit 9";
    home.get("site").run = vec![script.to_owned()];
    let error = home.bake_error("site");
    drop(listener);
    assert!(error.contains("first process 1"), "{error}");
    assert!(!error.contains("sees /") && !error.contains("writes"), "{error}");
    let links: Vec<&str> = error.lines().filter(|line| line.starts_with("link ")).collect();
    assert_eq!(links, ["link lo"], "{error}");
}

#[test]
fn what_runs_leave_behind_is_no_part_of_the_image() {
    let archive = archive();
    let mut home = home(&archive);
    home.get("site").run = vec![
        "echo log > /var/log/server.log; echo x > /etc/passwd-; echo y > /tmp/y; mkdir -p /run/z /var/tmp/a; \
         echo id > /etc/machine-id"
            .to_owned(),
    ];
    let site = home.bake_one("site");
    let tree = home.store().tree(&site.digest).unwrap();
    for gone in ["etc/passwd-", "tmp/y", "run/z", "var/tmp/a"] {
        assert!(tree.get(&TreePath::new(gone).unwrap()).is_none(), "{gone}");
    }
    assert_eq!(home.read(&site, "/var/log/server.log"), "");
    assert_eq!(home.read(&site, "/etc/machine-id"), "");
}

#[test]
fn maintainer_scripts_are_told_that_nothing_runs_where_they_do() {
    let asking = "ischroot && echo so > /etc/is-chroot; policy-rc.d || echo $? > /etc/policy";
    let archive = Archive::with(&[shell(), dpkg(), extra().postinst(asking)]);
    let home = home(&archive);
    let site = home.bake_one("site");
    assert_eq!(
        (&*home.read(&site, "/etc/is-chroot"), &*home.read(&site, "/etc/policy")),
        ("so\n", "101\n")
    );
    let tree = home.store().tree(&site.digest).unwrap();
    for gone in ["usr/sbin/ischroot", "usr/sbin/policy-rc.d"] {
        assert!(tree.get(&TreePath::new(gone).unwrap()).is_none(), "{gone}");
    }
}

#[test]
fn packages_with_scripts_need_dpkg() {
    let mut scripted = extra();
    scripted.control_files.push(("postinst".to_owned(), 0o755, b"#!/bin/sh\n".to_vec()));
    let archive = Archive::with(&[shell(), scripted]);
    let error = home(&archive).bake_error("site");
    assert!(error.contains("`dpkg` is not among them"), "{error}");
}

#[test]
fn two_packages_with_one_path_need_a_word_about_it() {
    let one = Package::new("one", "1").file("etc/shared", 0o644, "one\n");
    let two = Package::new("two", "1").file("etc/shared", 0o644, "two\n");
    let archive = Archive::with(&[shell(), one.clone(), two.clone()]);
    let error = Home::with_base(&archive, &["one", "two"]).bake_error("base");
    assert!(error.contains("packages `one` and `two` both have `/etc/shared`"), "{error}");

    let archive = Archive::with(&[shell(), one.clone().field("Replaces", "two"), two.clone()]);
    let home = Home::with_base(&archive, &["one", "two"]);
    assert_eq!(home.read(&home.bake_one("base"), "/etc/shared"), "one\n");

    // The same on a base that has one of them already.
    let archive = Archive::with(&[shell(), one, two]);
    let mut home = Home::with_base(&archive, &["one"]);
    home.add(image("site", Base::Image(name("base")), &["two"]));
    assert!(home.bake_error("site").contains("both have `/etc/shared`"));
}

#[test]
fn a_path_through_a_symlink_of_another_package_leads_there() {
    let links = Package::new("links", "1").file("srv/link", 0, "real").file(
        "srv/real/kept",
        0o644,
        "kept\n",
    );
    let through = Package::new("through", "1").file("srv/link/file", 0o644, "through\n");
    let archive = Archive::with(&[shell(), links, through]);
    let home = Home::with_base(&archive, &["links", "through"]);
    let base = home.bake_one("base");
    assert_eq!(home.read(&base, "/srv/real/file"), "through\n");
    assert_eq!(home.read(&base, "/srv/link/kept"), "kept\n");
}

#[test]
fn a_frozen_lock_is_not_changed() {
    let archive = archive();
    let home = home(&archive);
    let locked = BakeOptions { locked: true, ..BakeOptions::default() };
    let error = home.bake_with(&["site"], locked).unwrap_err();
    assert!(error.to_string().contains("`hornero.lock` does not fit image"), "{}", chain(&error));
    assert!(!home.source.join("hornero.lock").exists());
    home.lock(hornero_bake::LockMode::Keep).unwrap();
    home.bake_with(&["site"], locked).unwrap();
}

/// Takes down the network of a home, also when its test fails.
struct Network(std::path::PathBuf);

impl Drop for Network {
    fn drop(&mut self) {
        if let Ok(network) = hornero_net::HomeNetwork::open(&self.0) {
            let _ = network.down();
        }
    }
}

#[test]
fn a_step_has_a_network_only_where_it_is_declared() {
    let archive = archive();
    let mut home = home(&archive);
    home.bake_one("base");
    let _network = Network(home.path.clone());
    let script = "while read -r line; do case $line in *:*) echo \"link ${line%%:*}\";; esac; done < /proc/net/dev\n\
                  [ -e /etc/resolv.conf ] && while read -r line; do echo \"resolver $line\"; done < /etc/resolv.conf\n\
                  exit 9";
    home.get("site").run = vec![script.to_owned()];
    let error = home.bake_error("site");
    assert!(!error.contains("link eth0") && !error.contains("resolver nameserver"), "{error}");
    home.get("site").network = true;
    let error = home.bake_error("site");
    assert!(error.contains("link eth0") && error.contains("resolver nameserver"), "{error}");
    assert!(!error.contains("resolver nameserver 127."), "{error}");
}
