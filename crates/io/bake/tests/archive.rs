//! Reading archives: what is accepted, what is refused, and that nothing unverified is kept.

#[path = "archive/kept.rs"]
mod kept;
mod support;

use hornero_archive::{Archive, Manner, Package, SUITE, Server, Signer};
use hornero_bake::{
    LockMode,
    progress::{ArchiveEvent, BakeEvent},
};
use hornero_spec::{ArchiveDefinition, Base};
use support::home::{Home, chain, debian, image, name};

fn essential() -> Package {
    Package::new("core", "1.0-1").field("Essential", "yes").field("Depends", "libcore (>= 1.0)")
}

fn packages() -> Vec<Package> {
    vec![
        essential(),
        Package::new("libcore", "1.0-1"),
        Package::new("server", "2:1.4+dfsg-1~a1")
            .field("Depends", "core, engine | other-engine, mail-agent"),
        Package::new("engine", "1").field("Conflicts", "mail-one"),
        Package::new("other-engine", "1"),
        Package::new("mail-one", "1").field("Provides", "mail-agent"),
        Package::new("old", "0.9"),
        Package::new("wants-new", "1").field("Depends", "middle"),
        Package::new("middle", "1").field("Depends", "old (>= 1.0)"),
    ]
}

fn served(archive: &Archive) -> (Server, Home) {
    let server = Server::start(archive.path());
    let mut home = Home::new();
    home.add(image("base", debian(&server.url(), &archive.keyring()), &["server"]));
    (server, home)
}

fn locked_names(home: &Home) -> Vec<String> {
    let lock = home.lock(LockMode::Frozen).unwrap();
    lock.images.values().flat_map(|image| &image.packages).map(|package| package.title()).collect()
}

#[test]
fn resolves_locks_and_bakes_over_http() {
    let archive = Archive::with(&packages());
    let (server, home) = served(&archive);
    let baked = home.bake_one("base");
    assert!(!baked.cached);
    // The first alternative conflicts with the only mail agent, so the second is taken.
    assert_eq!(
        locked_names(&home),
        ["core 1.0-1", "libcore 1.0-1", "mail-one 1", "other-engine 1", "server 2:1.4+dfsg-1~a1"]
    );
    assert_eq!(home.read(&baked, "/usr/share/doc/server/README"), "server 2:1.4+dfsg-1~a1\n");
    let status = home.read(&baked, "/var/lib/dpkg/status");
    assert_eq!(status.matches("Status: install ok installed").count(), 5, "{status}");
    let before = server.requests().len();
    let again = home.bake_one("base");
    assert!(again.cached);
    assert_eq!(again.digest, baked.digest);
    assert_eq!(server.requests().len(), before, "a cached bake asks nobody");
}

#[test]
fn reads_every_compression_and_by_hash() {
    for compression in [".xz", ".gz", ""] {
        let mut archive = Archive::with(&packages());
        std::fs::remove_dir_all(archive.path().join("dists")).unwrap();
        archive.compression = compression;
        archive.by_hash = true;
        archive.publish();
        let (server, home) = served(&archive);
        home.lock(LockMode::Keep).unwrap();
        assert!(server.requests().iter().any(|path| path.contains("/by-hash/SHA256/")));
        assert_eq!(locked_names(&home).len(), 5);
    }
}

#[test]
fn accepts_binary_keyrings_with_several_keys() {
    let archive = Archive::with(&packages());
    let keyring = archive.path().join("several.asc");
    std::fs::write(&keyring, Signer::new("other").public() + &archive.signer().public()).unwrap();
    let binary = archive.path().join("one.gpg");
    archive.signer().write_binary(&binary);
    for keyring in [keyring, binary] {
        let mut home = Home::new();
        home.add(image("base", debian(archive.path().to_str().unwrap(), &keyring), &[]));
        home.lock(LockMode::Keep).unwrap();
        assert_eq!(locked_names(&home).len(), 2);
    }
}

#[test]
fn refuses_what_was_not_signed_so() {
    let archive = Archive::with(&packages());
    let home = Home::with_base(&archive, &["server"]);
    let good = std::fs::read_to_string(archive.in_release()).unwrap();
    let other = Signer::new("somebody-else");
    let with_dash = format!("{}-\n", archive.release_text());
    let cases = [
        (good.replace("Origin: Test", "Origin: Toast"), "does not fit the text"),
        (other.sign(&archive.release_text()), "not in the keyring"),
        (archive.release_text(), "not a clear-signed text"),
        (format!("Origin: Before\n{good}"), "not a clear-signed text"),
        (format!("{good}\nOrigin: After\n"), "something follows the signature"),
        (good.replace("Suite: test", "-Suite: test"), "unescaped dash"),
        (good[..good.len() / 2].to_owned(), "not a clear-signed text"),
        (
            archive.signer().sign(&archive.release_text().replace(": test", ": other")),
            "index of suite `other`",
        ),
        (archive.signer().sign(&with_dash), "is not a field"),
    ];
    for (text, expected) in cases {
        std::fs::write(archive.in_release(), &text).unwrap();
        let error = home.bake_error("base");
        assert!(error.contains(expected), "{error}\n{text}");
        assert!(error.contains("is refused"), "{error}");
        assert_eq!(home.cached_packages(), 0);
        assert!(!home.path.join("cache/indexes").exists());
        assert!(!home.source.join("hornero.lock").exists());
    }
    std::fs::write(archive.in_release(), good).unwrap();
    home.bake_one("base");
}

#[test]
fn refuses_an_index_that_is_no_longer_valid() {
    let mut archive = Archive::with(&packages());
    archive.valid_for = Some(-60);
    archive.publish();
    let home = Home::with_base(&archive, &["server"]);
    let error = home.bake_error("base");
    assert!(error.contains("valid until"), "{error}");
    archive.valid_for = Some(3_600);
    archive.publish();
    home.bake_one("base");
}

#[test]
fn a_pocket_is_signed_by_its_own_name() {
    let mut archive = Archive::with(&packages());
    archive.put_security(Package::new("libcore", "1.0-1+security1"));
    archive.publish();
    let home = Home::with_base(&archive, &["server"]);
    let pocket = archive.path().join("dists/test-security/InRelease");
    let signed = std::fs::read(&pocket).unwrap();
    // The suite's own index, signed by the same key, in the place of the pocket's: nothing would be newer in it.
    std::fs::copy(archive.in_release(), &pocket).unwrap();
    let error = home.lock(LockMode::Keep).unwrap_err().to_string();
    assert!(error.contains("is refused: it is the index of suite `test`"), "{error}");
    std::fs::write(&pocket, signed).unwrap();
    home.lock(LockMode::Keep).unwrap();
    assert!(locked_names(&home).contains(&"libcore 1.0-1+security1".to_owned()));
}

#[test]
fn refuses_an_archive_that_is_behind_the_lock() {
    let mut archive = Archive::with(&packages());
    archive.put_security(Package::new("libcore", "1.0-1+security1"));
    let date = archive.publish();
    let mut home = Home::with_base(&archive, &["server"]);
    let path = home.source.join("hornero.lock");
    home.lock(LockMode::Keep).unwrap();
    let locked = std::fs::read(&path).unwrap();

    archive.publish_at(date - 1);
    let error = home.lock(LockMode::Update).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(" test` is refused: its index is of 2023-11-15T22:13:19Z"), "{text}");
    assert!(text.ends_with("made from one of 2023-11-15T22:13:20Z"), "{text}");
    assert!(error.hint().unwrap().contains("remove `hornero.lock`"), "{:?}", error.hint());
    // Nor is anything else resolved from it.
    home.get("base").packages.push("old".to_owned());
    assert!(home.bake_error("base").contains("is refused: its index is of"));
    assert_eq!(std::fs::read(&path).unwrap(), locked);

    archive.publish_at(date);
    let pocket = archive.path().join("dists/test-security");
    std::fs::rename(&pocket, archive.path().join("away")).unwrap();
    let error = home.lock(LockMode::Update).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(" test-security` is refused: it is not there"), "{text}");
    assert!(error.hint().unwrap().contains("remove `hornero.lock`"), "{:?}", error.hint());
    assert_eq!(std::fs::read(&path).unwrap(), locked);
    // The way back, where it is meant.
    std::fs::remove_file(&path).unwrap();
    home.lock(LockMode::Update).unwrap();
    assert!(locked_names(&home).contains(&"libcore 1.0-1".to_owned()));
    // A pocket that comes is taken.
    std::fs::rename(archive.path().join("away"), &pocket).unwrap();
    home.lock(LockMode::Update).unwrap();
    assert!(locked_names(&home).contains(&"libcore 1.0-1+security1".to_owned()));
}

#[test]
fn refuses_lists_and_packages_with_another_hash() {
    let archive = Archive::with(&packages());
    let (server, home) = served(&archive);
    server.set("Packages.xz", Manner::Lie);
    let error = home.bake_error("base");
    assert!(error.contains("does not have the SHA-256 that was signed"), "{error}");
    assert!(!home.path.join("cache/indexes").exists());

    let (server, home) = served(&archive);
    server.set("libcore_1.0-1_all.deb", Manner::Lie);
    let error = home.bake_error("base");
    assert!(error.contains("package `libcore 1.0-1`") && error.contains("is refused"), "{error}");
    assert!(error.contains(&server.url()), "{error}");
    let digest = hornero_model::Digest::of(&packages()[1].build()).hex();
    let kept = std::fs::read_dir(home.path.join("cache/packages")).unwrap();
    for entry in kept {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with(&digest), "{name} was kept");
    }
    assert_eq!(home.store().images().unwrap(), []);
}

#[test]
fn goes_on_where_a_connection_broke() {
    let big = Package::new("big", "1").file("srv/data", 0o644, noise(300_000));
    let archive = Archive::with(&[essential(), Package::new("libcore", "1.0-1"), big.clone()]);
    for manner in [Manner::BreakAfter(100_000, 2), Manner::IgnoreRange] {
        let server = Server::start(archive.path());
        let mut home = Home::new();
        home.add(image("base", debian(&server.url(), &archive.keyring()), &["big"]));
        server.set("big_1_all.deb", manner);
        if manner == Manner::IgnoreRange {
            // The beginning that an earlier bake left is not what this mirror wants to go on from.
            let digest = hornero_model::Digest::of(&big.build()).hex();
            let partial = home.path.join(format!("cache/packages/{digest}.partial"));
            std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
            std::fs::write(partial, &big.build()[..50_000]).unwrap();
        }
        let baked = home.bake_one("base");
        assert_eq!(home.store().read_file(&baked.digest, "/srv/data").unwrap(), noise(300_000));
        let resumed =
            server.requests().iter().any(|request| request.contains("big_1_all.deb from "));
        assert!(resumed, "{:?}", server.requests());
    }
}

#[test]
fn repeats_what_failed_and_gives_up_on_what_hangs() {
    let archive = Archive::with(&packages());
    let (server, home) = served(&archive);
    server.set("InRelease", Manner::Status(503, 2));
    home.lock(LockMode::Keep).unwrap();
    let retried = home
        .heard()
        .iter()
        .filter(|event| matches!(event, BakeEvent::Archive(ArchiveEvent::Retrying { .. })))
        .count();
    assert!(retried >= 2, "{retried}");

    server.set("core_1.0-1_all.deb", Manner::Hang);
    let error = home.bake_error("base");
    assert!(error.contains("core 1.0-1") && error.contains(&server.url()), "{error}");
}

#[test]
fn a_mirror_that_is_down_matters_only_when_something_is_missing() {
    let archive = Archive::with(&packages());
    let (server, home) = served(&archive);
    let first = home.bake_one("base");
    let address = server.url();
    drop(server);
    // Nothing but the package cache and the lock are left.
    std::fs::remove_dir_all(home.path.join("store")).unwrap();
    let again = home.bake_one("base");
    assert!(!again.cached);
    assert_eq!(again.digest, first.digest);

    std::fs::remove_dir_all(home.path.join("store")).unwrap();
    let digest = hornero_model::Digest::of(&packages()[0].build()).hex();
    std::fs::remove_file(home.path.join("cache/packages").join(digest)).unwrap();
    let error = home.bake_error("base");
    assert!(error.contains("package `core 1.0-1`"), "{error}");
    assert!(error.contains(&address), "{error}");
}

#[test]
fn a_damaged_package_in_the_cache_is_fetched_again() {
    let archive = Archive::with(&packages());
    let home = Home::with_base(&archive, &["server"]);
    let first = home.bake_one("base");
    std::fs::remove_dir_all(home.path.join("store")).unwrap();
    let bytes = packages()[0].build();
    let cached = home.path.join("cache/packages").join(hornero_model::Digest::of(&bytes).hex());
    let mut damaged = bytes;
    damaged[100] ^= 1;
    std::fs::write(cached, damaged).unwrap();
    assert_eq!(home.bake_one("base").digest, first.digest);
}

#[test]
fn explains_what_cannot_be_resolved() {
    let archive = Archive::with(&packages());
    let check = |wanted: &[&str], expected: &str, hint: &str| {
        let home = Home::with_base(&archive, wanted);
        let error = home.lock(LockMode::Keep).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{:?}", error.hint());
    };
    check(&["sevrer"], "there is no package `sevrer`", "did you mean `server`?");
    check(
        &["wants-new"],
        "`wants-new` needs `middle`; `middle` needs `old (>= 1.0)`; there is only `old 0.9`",
        "",
    );
    check(&["engine", "mail-one"], "conflicts with `mail-one`", "");
    check(&["old=1.2"], "only in `0.9`", "old=0.9");
}

#[test]
fn keeps_versions_until_asked_to_update() {
    let mut archive = Archive::with(&packages());
    let mut home = Home::with_base(&archive, &["server"]);
    home.bake_one("base");
    let first = std::fs::read_to_string(home.source.join("hornero.lock")).unwrap();
    home.lock(LockMode::Keep).unwrap();
    assert_eq!(std::fs::read_to_string(home.source.join("hornero.lock")).unwrap(), first);

    archive.replace(&packages());
    home.lock(LockMode::Update).unwrap();
    let same = std::fs::read_to_string(home.source.join("hornero.lock")).unwrap();
    assert_eq!(same, first, "an archive that is only younger changes nothing");

    let mut newer = packages();
    newer[0].version = "1.0-2".to_owned();
    newer[2].version = "2:1.5".to_owned();
    archive.replace(&newer);
    assert!(home.bake_one("base").cached, "a newer archive changes nothing by itself");

    home.get("base").packages.push("old".to_owned());
    let error = home.lock(LockMode::Frozen).unwrap_err();
    assert!(
        error.to_string().contains("its packages were [server], are now [old, server]"),
        "{error}"
    );
    home.bake_one("base");
    // Dropped from the archive, but kept: their files are in the cache.
    let names = locked_names(&home);
    assert!(names.contains(&"core 1.0-1".to_owned()), "{names:?}");
    assert!(names.contains(&"server 2:1.4+dfsg-1~a1".to_owned()), "{names:?}");
    assert!(names.contains(&"old 0.9".to_owned()), "{names:?}");

    home.lock(LockMode::Update).unwrap();
    let names = locked_names(&home);
    assert!(names.contains(&"core 1.0-2".to_owned()), "{names:?}");
    assert!(names.contains(&"server 2:1.5".to_owned()), "{names:?}");
}

fn declared(archive: &Archive, name: &str) -> ArchiveDefinition {
    ArchiveDefinition {
        name: name.to_owned(),
        url: format!("file://{}", archive.path().display()),
        suite: SUITE.to_owned(),
        components: vec!["main".to_owned()],
        signed_by: archive.keyring().to_str().unwrap().to_owned(),
    }
}

#[test]
fn takes_packages_from_an_archive_that_the_image_declares() {
    let archive = Archive::with(&packages());
    let mut third = Archive::with(&[Package::new("engine", "7"), Package::new("node", "22")]);
    let mut home = Home::with_base(&archive, &["server"]);
    home.lock(LockMode::Keep).unwrap();
    home.get("base").archives.push(declared(&third, "third"));
    let error = home.lock(LockMode::Frozen).unwrap_err().to_string();
    assert!(error.contains("the archives that are declared for it are others now"), "{error}");
    // The image on it takes from what its base declares, and from what it declares itself.
    let fourth = Archive::with(&[Package::new("four", "4")]);
    home.add(image("site", Base::Image(name("base")), &["node", "four"]));
    home.get("site").archives.push(declared(&fourth, "fourth"));
    home.bake(&["site"]).unwrap();
    let names = locked_names(&home);
    assert!(names.contains(&"node 22".to_owned()) && names.contains(&"four 4".to_owned()));
    // One that is newer there, and that conflicts with nothing, is what `server` takes first.
    assert!(names.contains(&"engine 7".to_owned()), "{names:?}");
    let lock = home.lock(LockMode::Frozen).unwrap();
    let states = &lock.images[&name("base")].archives;
    let state = states.iter().find(|state| state.name.is_some()).unwrap();
    assert_eq!(state.name.as_deref(), Some("third"));
    assert_eq!(state.uri, declared(&third, "third").url);
    let text = std::fs::read_to_string(home.source.join("hornero.lock")).unwrap();
    assert_eq!(hornero_bake::Lock::read(&home.source).unwrap().unwrap().text(), text);

    // Several archives have the suite: each package is fetched from the one that listed it, and from no other.
    let node = lock.images[&name("site")].packages.iter().find(|one| one.name == "node").unwrap();
    assert_eq!(node.archive.as_deref(), Some(state.uri.as_str()));
    std::fs::remove_dir_all(home.path.join("cache/packages")).unwrap();
    std::fs::remove_dir_all(home.path.join("store")).unwrap();
    std::fs::remove_file(third.pool(&Package::new("node", "22"))).unwrap();
    let error = home.bake_error("site");
    let expected = format!("{}/pool/node_22_all.deb", state.uri);
    assert!(error.contains(&expected) && error.contains("`node 22`"), "{error}");

    // An archive of an image is pinned as Debian's is: it may not go back.
    third.publish_at(state.date - 1);
    let error = home.lock(LockMode::Update).unwrap_err().to_string();
    assert!(error.contains("is refused: its index is of"), "{error}");
    home.get("base").archives.clear();
    let error = home.lock(LockMode::Keep).unwrap_err().to_string();
    assert!(error.contains("there is no package `node`"), "{error}");
}

#[test]
fn an_archive_of_an_image_has_its_own_keys() {
    let archive = Archive::with(&packages());
    let third = Archive::with(&[Package::new("node", "22")]);
    let mut home = Home::with_base(&archive, &["node"]);
    let mut wrong = declared(&third, "third");
    wrong.signed_by = archive.keyring().to_str().unwrap().to_owned();
    home.get("base").archives.push(wrong);
    let error = home.bake_error("base");
    assert!(error.contains("not in the keyring"), "{error}");
}

#[test]
fn takes_packages_from_a_flat_archive() {
    let archive = Archive::with(&packages());
    let node = Package::new("node", "1:22");
    let flat = Archive::temporary();
    let bytes = node.build();
    // As `dpkg-name` and some stores call it.
    let file = "debs/node_1%3a22_all.deb";
    let list = node.stanza(&bytes).replace("pool/node_1.22_all.deb", &format!("./{file}"));
    std::fs::create_dir_all(flat.path().join("debs")).unwrap();
    std::fs::write(flat.path().join(file), &bytes).unwrap();
    std::fs::write(flat.path().join("Packages"), &list).unwrap();
    let release = format!(
        "Origin: Flat\nDate: Mon, 14 Nov 2023 22:13:20 UTC\nSHA256:\n {} {} Packages\n",
        hornero_model::Digest::of(list.as_bytes()).hex(),
        list.len()
    );
    std::fs::write(flat.path().join("InRelease"), flat.signer().sign(&release)).unwrap();
    let server = Server::start(flat.path());
    for url in [server.url(), format!("file://{}", flat.path().display())] {
        for suite in ["./", "/"] {
            let mut home = Home::with_base(&archive, &["node"]);
            let mut declared = declared(&flat, "flat");
            (declared.url, declared.suite) = (url.clone(), suite.to_owned());
            declared.components.clear();
            home.get("base").archives.push(declared);
            let baked = home.bake_one("base");
            assert_eq!(home.read(&baked, "/usr/share/doc/node/README"), "node 1:22\n");
        }
    }
}

fn noise(length: u32) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_le_bytes()[0]
        })
        .collect()
}
