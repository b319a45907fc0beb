//! Maintainer scripts run when dpkg would run them, and see what they would see under it.

mod support;

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{LayerSource, ownership};
use hornero_spec::Base;
use hornero_store::{EntryKind, TreePath};
use support::home::{Home, image, name};

/// The packages on the archive's essential ones, all at once.
fn at_once(archive: &Archive, packages: &[&str]) -> Home {
    Home::with_base(archive, packages)
}

/// An image `base` with the first packages and an image `site` on it with the others.
fn on_base(archive: &Archive, below: &[&str], above: &[&str]) -> Home {
    let mut home = Home::with_base(archive, below);
    home.add(image("site", Base::Image(name("base")), above));
    home
}

/// A package with a configuration file.
fn conffile(package: Package, path: &str, mode: u32, contents: &str) -> Package {
    let mut package = package.file(path, mode, contents);
    package.control_files.push(("conffiles".to_owned(), 0o644, format!("/{path}\n").into_bytes()));
    package
}

fn triggers(mut package: Package, text: &str) -> Package {
    package.control_files.push(("triggers".to_owned(), 0o644, text.as_bytes().to_vec()));
    package
}

#[test]
fn a_preinst_comes_before_its_files_and_after_what_it_pre_depends_on() {
    let looks = "[ -e /etc/common-ready ] || { echo 'not configured'; exit 1; }\n\
                 [ ! -e /usr/share/doc/server/README ] || { echo 'sees its files'; exit 1; }\n\
                 [ \"$0 $*\" = '/var/lib/dpkg/tmp.ci/preinst install' ]\n\
                 cat \"${0%/*}/control\" \"${0%/*}/templates\" > /etc/server-preinst\n\
                 echo \"$DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_NAME $DPKG_MAINTSCRIPT_ARCH\" >> /etc/server-preinst";
    let mut server =
        Package::new("server", "1").field("Pre-Depends", "common").script("preinst", looks);
    server.control_files.push(("templates".to_owned(), 0o644, b"Template: x\n".to_vec()));
    let common = Package::new("common", "1")
        .depends("client")
        .script("preinst", "echo preinst > /etc/common-preinst")
        .postinst("[ -e /etc/client-ready ]; echo ready > /etc/common-ready");
    let client = Package::new("client", "1").postinst("echo ready > /etc/client-ready");
    let archive = Archive::with(&[shell(), dpkg(), server, common, client]);
    for (home, top) in
        [(at_once(&archive, &["server"]), "base"), (on_base(&archive, &[], &["server"]), "site")]
    {
        let baked = home.bake_one(top);
        let seen = home.read(&baked, "/etc/server-preinst");
        assert!(seen.starts_with("Package: server\n"), "{seen}");
        assert!(seen.ends_with("Template: x\nserver preinst all\n"), "{seen}");
        let status = home.read(&baked, "/var/lib/dpkg/status");
        assert_eq!(status.matches("Status: install ok installed").count(), 5, "{status}");
        let tree = home.store().tree(&baked.digest).unwrap();
        for gone in ["var/lib/dpkg/tmp.ci", "var/lib/dpkg/tmp.hornero"] {
            assert!(tree.get(&TreePath::new(gone).unwrap()).is_none(), "{gone}");
        }
    }
}

#[test]
fn configuration_files_wait_until_their_package_is_configured() {
    // As libpaper runs the hooks of those that depend on it.
    let runs =
        "for hook in /etc/hooks.d/*; do case $hook in *.dpkg-*|*'*') ;; *) $hook;; esac; done";
    let hooks = Package::new("hooks", "1").postinst(runs);
    let texts = conffile(
        Package::new("texts", "1").depends("hooks"),
        "etc/hooks.d/texts",
        0o755,
        "#!/bin/sh\n[ -e /etc/texts-ready ]\n",
    )
    .postinst("[ -x /etc/hooks.d/texts ]; echo ready > /etc/texts-ready");
    let archive = Archive::with(&[shell(), dpkg(), hooks, texts]);
    let home = at_once(&archive, &["texts"]);
    let base = home.bake_one("base");
    let store = home.store();
    let tree = store.tree(&base.digest).unwrap();
    assert!(tree.get(&TreePath::new("etc/hooks.d/texts.dpkg-new").unwrap()).is_none());
    let status = home.read(&base, "/var/lib/dpkg/status");
    assert!(!status.contains("newconffile"), "{status}");
    assert!(status.contains("Conffiles:\n /etc/hooks.d/texts "), "{status}");
    // It is the package's own, and not what a script wrote.
    let owners = ownership(&store, &base.digest).unwrap();
    let owner = owners.owner_of(&TreePath::new("etc/hooks.d/texts").unwrap()).unwrap();
    assert!(matches!(&owner.source, LayerSource::Package(package) if package.name == "texts"));

    // One that somebody wrote before stays, as dpkg keeps it where it can't ask.
    let mut home = on_base(&archive, &[], &["texts"]);
    home.get("base").run = vec![
        "mkdir -p /etc/hooks.d; echo mine > /etc/hooks.d/texts; chmod 755 /etc/hooks.d/texts; \
                                 echo '#!/bin/sh' > /etc/hooks.d/texts"
            .to_owned(),
    ];
    let site = home.bake_one("site");
    assert_eq!(home.read(&site, "/etc/hooks.d/texts"), "#!/bin/sh\n");
    assert!(home.read(&site, "/etc/hooks.d/texts.dpkg-dist").contains("texts-ready"));
}

fn tool() -> Package {
    Package::new("tool", "1").file("bin/tool", 0o755, "#!/bin/sh\necho tool\n")
}

#[test]
fn scripts_of_packages_find_what_packages_brought() {
    let asks = Package::new("asks", "1").depends("tool").postinst("tool > /etc/asked");
    let archive = Archive::with(&[shell(), dpkg(), tool(), asks]);
    let mut home = on_base(&archive, &[], &["asks"]);
    let own = "mkdir -p /usr/local/bin; printf '#!/bin/sh\necho own\n' > /usr/local/bin/tool; \
               chmod 755 /usr/local/bin/tool";
    home.get("base").run = vec![own.to_owned()];
    home.get("site").run = vec!["tool > /etc/step".to_owned()];
    let site = home.bake_one("site");
    assert_eq!(home.read(&site, "/etc/asked"), "tool\n");
    assert_eq!(home.read(&site, "/etc/step"), "own\n");
}

#[test]
fn scripts_find_a_list_of_resolvers_that_no_image_keeps() {
    // As postfix's, which takes the host's name for unknown without it, and as systemd-resolved's.
    let asks =
        Package::new("asks", "1").postinst("[ -f /etc/resolv.conf ] && echo yes > /etc/asked");
    let leads = Package::new("leads", "1").postinst("ln -sf ../run/resolv.conf /etc/resolv.conf");
    let archive = Archive::with(&[shell(), dpkg(), asks, leads]);
    let home = on_base(&archive, &["asks"], &["leads"]);
    let path = TreePath::new("etc/resolv.conf").unwrap();
    let base = home.bake_one("base");
    assert_eq!(home.read(&base, "/etc/asked"), "yes\n");
    assert!(home.store().tree(&base.digest).unwrap().get(&path).is_none());
    let site = home.bake_one("site");
    let tree = home.store().tree(&site.digest).unwrap();
    assert!(matches!(tree.get(&path).unwrap().kind, EntryKind::Symlink { .. }));
}

/// As zutils does with the programs of gzip.
fn better() -> Package {
    let divert = "dpkg-divert --package better --rename --divert /bin/tool.plain --add /bin/tool";
    Package::new("better", "1")
        .file("bin/tool", 0o755, "#!/bin/sh\necho better\n")
        .script("preinst", divert)
}

#[test]
fn a_diversion_made_in_a_preinst_is_known_when_files_are_placed() {
    let archive = Archive::with(&[shell(), dpkg(), tool(), better()]);
    let homes = [
        (at_once(&archive, &["tool", "better"]), "base"),
        (on_base(&archive, &["tool"], &["better"]), "site"),
        (on_base(&archive, &["better"], &["tool"]), "site"),
    ];
    for (home, top) in homes {
        let baked = home.bake_one(top);
        assert_eq!(home.read(&baked, "/usr/bin/tool"), "#!/bin/sh\necho better\n");
        assert_eq!(home.read(&baked, "/usr/bin/tool.plain"), "#!/bin/sh\necho tool\n");
        let diversions = home.read(&baked, "/var/lib/dpkg/diversions");
        assert_eq!(diversions, "/bin/tool\n/bin/tool.plain\nbetter\n");
    }
    // A third one is not excused by it.
    let third = Package::new("third", "1").file("bin/tool", 0o755, "third\n");
    let archive = Archive::with(&[shell(), dpkg(), tool(), better(), third]);
    let error = at_once(&archive, &["tool", "better", "third"]).bake_error("base");
    assert!(error.contains("both have"), "{error}");
}

#[test]
fn an_owner_set_by_hand_holds_for_files_that_come_later() {
    let set = "dpkg-statoverride --add www staff 2750 /usr/bin/game";
    let game = Package::new("game", "1").file("bin/game", 0o755, "game\n").script("preinst", set);
    let other = Package::new("other", "1")
        .script("preinst", "dpkg-statoverride --add www staff 2750 /usr/bin/other")
        .file("usr/bin/other", 0o755, "other\n");
    let archive = Archive::with(&[shell(), dpkg(), game, other]);
    let home = at_once(&archive, &["game", "other"]);
    let base = home.bake_one("base");
    for path in ["/usr/bin/game", "/usr/bin/other"] {
        let metadata = home.store().lookup(&base.digest, path).unwrap().metadata;
        assert_eq!((metadata.uid, metadata.gid, metadata.mode), (33, 50, 0o2750), "{path}");
    }
}

#[test]
fn a_failure_shows_what_its_package_wrote() {
    let speak =
        |text: &str| format!("i=0; while [ $i -lt 60 ]; do echo \"{text} $i\"; i=$((i+1)); done");
    let bad = Package::new("bad", "1").postinst(&format!("echo begins; {}; exit 3", speak("bad")));
    let after = Package::new("zzz", "1").postinst(&speak("zzz"));
    let before = Package::new("aaa", "1").postinst(&speak("aaa"));
    let archive = Archive::with(&[shell(), dpkg(), bad, after, before]);
    let error = at_once(&archive, &["aaa", "bad", "zzz"]).bake_error("base");
    assert!(error.starts_with("configuring package `bad` of image `base` failed"), "{error}");
    for line in ["begins", "bad 0", "bad 59"] {
        assert!(error.lines().any(|shown| shown == line), "{line}, not in: {error}");
    }
    assert!(!error.contains("aaa") && !error.contains("zzz"), "{error}");

    let bad = Package::new("bad", "1").script("preinst", "echo 'no room'; exit 4");
    let archive = Archive::with(&[shell(), dpkg(), bad]);
    let error = at_once(&archive, &["bad"]).bake_error("base");
    assert!(error.starts_with("configuring package `bad` of image `base` failed"), "{error}");
    assert!(error.contains("no room\nits preinst failed with exit code 4"), "{error}");
}

#[test]
fn what_depends_on_a_package_waits_for_the_triggers_it_set_off() {
    let index = triggers(Package::new("index", "1"), "interest /usr/share/things\n").postinst(
        "case $1 in triggered) for thing in /usr/share/things/*; do echo \"$thing\"; done > /etc/things;; esac",
    );
    let thing = Package::new("thing", "1").file("usr/share/things/one", 0o644, "one\n");
    let user =
        Package::new("user", "1").depends("thing").postinst("cat /etc/things > /etc/things-seen");
    let archive = Archive::with(&[shell(), dpkg(), index, thing, user]);
    let home = on_base(&archive, &["index"], &["user"]);
    let site = home.bake_one("site");
    assert_eq!(home.read(&site, "/etc/things-seen"), "/usr/share/things/one\n");
    let status = home.read(&site, "/var/lib/dpkg/status");
    assert!(!status.contains("Triggers-") && !status.contains("triggers-"), "{status}");
}

#[test]
fn a_trigger_that_a_script_sets_off_is_run() {
    let index = triggers(Package::new("index", "1"), "interest-noawait update-index\n")
        .postinst("case $1 in triggered) echo \"$2\" > /etc/index;; esac");
    let early =
        Package::new("early", "1").script("preinst", "dpkg-trigger --no-await update-index");
    let archive = Archive::with(&[shell(), dpkg(), index, early]);
    let home = on_base(&archive, &["index"], &["early"]);
    let site = home.bake_one("site");
    assert_eq!(home.read(&site, "/etc/index"), "update-index\n");
}

#[test]
fn files_taken_over_belong_to_the_one_that_says_so() {
    let old = Package::new("old", "1").file("etc/shared", 0o644, "old\n").postinst("true");
    let new = Package::new("new", "1")
        .field("Replaces", "old (<< 2)")
        .file("etc/shared", 0o644, "new\n")
        .script("preinst", "true");
    let archive = Archive::with(&[shell(), dpkg(), old, new]);
    for (home, top) in [
        (at_once(&archive, &["old", "new"]), "base"),
        (on_base(&archive, &["old"], &["new"]), "site"),
        (on_base(&archive, &["new"], &["old"]), "site"),
    ] {
        let baked = home.bake_one(top);
        assert_eq!(home.read(&baked, "/etc/shared"), "new\n");
        let list = |package: &str| home.read(&baked, &format!("/var/lib/dpkg/info/{package}.list"));
        assert!(list("new").lines().any(|line| line == "/etc/shared"));
        assert!(!list("old").lines().any(|line| line == "/etc/shared"), "{}", list("old"));
    }
}
