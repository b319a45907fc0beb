//! Every file of an image has an owner: the package, copy or command of the topmost layer that has it.

mod support;

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{BakedImage, LayerSource, Ownership};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::{ImageManifest, TreePath};
use support::home::{Home, chain, image, name};

fn copy(from: &str, to: &str) -> CopySource {
    let (from, to) = (from.to_owned(), to.to_owned());
    CopySource { from, kind: SourceKind::File, to, mode: None, owner: CopyOwner::default() }
}

fn ownership(home: &Home, image: &BakedImage) -> Ownership {
    hornero_bake::ownership(&home.store(), &image.digest).unwrap()
}

/// The owner of a path in a few words.
fn owner(ownership: &Ownership, path: &str) -> String {
    let owner = ownership.owner_of(&TreePath::new(path).unwrap());
    let Some(owner) = owner else { return "nobody".to_owned() };
    let packages = || -> Vec<&str> {
        let sources = owner.packages.iter().map(|place| &ownership.owners()[*place].source);
        sources
            .map(|source| match source {
                LayerSource::Package(package) => package.name.as_str(),
                other => panic!("{other:?} is no package"),
            })
            .collect()
    };
    match &owner.source {
        LayerSource::Package(one) => {
            format!("{} {} of {} {}", one.name, one.version, one.source, one.source_version)
        }
        LayerSource::Database => format!("database of {}", packages().join(" ")),
        LayerSource::Configured => format!("configuration of {}", packages().join(" ")),
        LayerSource::Copy { from } => format!("copy {from}"),
        LayerSource::Run { command } => format!("run {command}"),
        LayerSource::Provision { title } => format!("provision {title}"),
        LayerSource::Imported { from } => format!("import of {from}"),
    }
}

const DPKG_RUN: &str = "cat > /var/lib/dpkg/info/late.list <<END\n/.\n/opt\n/opt/late\n/opt/taken\nEND\n\
    mkdir /opt; echo late > /opt/late; echo mine > /opt/mine\n\
    printf 'Package: late\\nStatus: install ok installed\\nVersion: 7\\nSource: later (6)\\nArchitecture: all\\n\\n' >> /var/lib/dpkg/status";

fn home(archive: &Archive) -> Home {
    let mut home = Home::with_base(archive, &[]);
    let mut site = image("site", Base::Image(name("base")), &["scripted"]);
    home.write("page", "page\n");
    home.write("taken", "taken\n");
    site.copies = vec![copy("page", "/srv/page"), copy("taken", "/etc/taken")];
    site.run = vec![DPKG_RUN.to_owned()];
    home.add(site);
    home
}

fn archive() -> Archive {
    Archive::with(&[
        shell(),
        dpkg(),
        Package::new("scripted", "2:1-1")
            .source("script (1)")
            .file("etc/taken", 0o644, "theirs\n")
            .file("usr/bin/scripted", 0o755, "#!/bin/sh\n")
            .postinst(
                "echo configured > /etc/configured\nmkdir -p /etc/ssl; umask 077\n\
                       echo '-----BEGIN PRIVATE KEY-----' > /etc/ssl/made.key\n\
                       printf '\\263\\021\\376\\104\\007\\231\\312\\160\\046\\350\\134\\217\\001\\166\\333\\052' > /etc/munge.key\n\
                       mkdir -p /etc/bind /var/lib/rabbit; echo ABCDEFGH > /var/lib/rabbit/.erlang.cookie\n\
                       echo 'key x { algorithm hmac-sha256; secret \"c2VjcmV0\"; };' > /etc/bind/rndc.key",
            ),
    ])
}

#[test]
fn every_file_belongs_to_what_brought_it_last() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    let ownership = ownership(&home, &site);
    for (path, expected) in [
        ("usr/bin/dash", "shell 1 of shell 1"),
        ("usr/bin/scripted", "scripted 2:1-1 of script 1"),
        ("usr/share/doc/scripted/README", "scripted 2:1-1 of script 1"),
        ("bin", "database of dpkg shell"),
        ("etc/configured", "configuration of scripted"),
        ("srv/page", "copy page"),
        ("etc/taken", "copy taken"),
        ("opt/late", "late 7 of later 6"),
        ("var/lib/dpkg/info/late.list", "late 7 of later 6"),
    ] {
        assert_eq!(owner(&ownership, path), expected, "{path}");
    }
    assert!(owner(&ownership, "opt/mine").starts_with("run cat"));
    assert_eq!(ownership.unowned().count(), 0);
    assert!(ownership.files().all(|(_, owner)| owner.is_some()));
    let packages: Vec<&str> =
        ownership.packages().iter().map(|(_, package)| package.name.as_str()).collect();
    assert_eq!(packages, ["dpkg", "late", "scripted", "shell"]);
    let digests: Vec<bool> =
        ownership.packages().iter().map(|(_, package)| package.sha256.is_some()).collect();
    assert_eq!(digests, [true, false, true, true]);
}

#[test]
fn secrets_that_a_step_makes_are_told_of() {
    use hornero_bake::progress::BakeEvent;
    let archive = archive();
    let mut home = home(&archive);
    home.write("npmrc", "//registry.example/:_authToken=abc\n");
    home.get("site").copies.push(copy("npmrc", "/srv/.npmrc"));
    home.get("site").run.push("echo machine x login y password z > /opt/.netrc".to_owned());
    let site = home.bake_one("site");
    let record = hornero_bake::BakeRecord::of(&home.store(), &site.digest).unwrap().unwrap();
    let expected = [
        "/etc/bind/rndc.key",
        "/etc/munge.key",
        "/etc/ssl/made.key",
        "/var/lib/rabbit/.erlang.cookie",
        "/srv/.npmrc",
        "/opt/.netrc",
    ];
    assert_eq!(record.secrets_in_image, expected);
    let heard = home.heard();
    for path in expected {
        let told = BakeEvent::SecretInImage { image: name("site"), path: path.to_owned() };
        assert!(heard.contains(&told), "{path}");
    }
}

#[test]
fn owners_are_known_when_the_images_below_are_gone() {
    let archive = archive();
    let home = home(&archive);
    let base = home.bake_one("base");
    let site = home.bake_one("site");
    let before: Vec<String> =
        ["usr/bin/dash", "bin"].iter().map(|path| owner(&ownership(&home, &site), path)).collect();
    home.store().detach(&base.digest, "bake").unwrap();
    let hex = base.digest.hex();
    std::fs::remove_file(home.path.join("store/images").join(hex)).unwrap();
    let after = ownership(&home, &site);
    assert_eq!([owner(&after, "usr/bin/dash"), owner(&after, "bin")], before[..]);
}

#[test]
fn a_file_that_nobody_owns_fails_the_bake_and_is_named() {
    let archive = archive();
    let mut home = home(&archive);
    let base = home.bake_one("base");
    let store = home.store();

    // A record that was tampered with, of an image that is not baked here: else that would put it right.
    home.get("site").base = Base::Stored(hornero_spec::StoredImage::Digest(base.digest));
    home.get("site").packages.clear();
    let bytes = store.attachment(&base.digest, "bake").unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    record["steps"][0]["sources"].as_array_mut().unwrap().pop();
    store.attach(&base.digest, "bake", &serde_json::to_vec(&record).unwrap()).unwrap();
    let error = home.bake(&["site"]).unwrap_err();
    let text = chain(&error);
    assert!(text.contains("`/bin` in image `site` belongs to nothing"), "{text}");
    assert!(error.hint().unwrap().contains("hornero image import"));
    assert!(home.bake(&["site"]).is_err(), "not only the first time");
    store.attach(&base.digest, "bake", &bytes).unwrap();
    home.bake_one("site");

    // An image that came from nowhere.
    let tree = store.tree(&base.digest).unwrap();
    let layer = store.put_layer(&(*tree).clone().into_layer()).unwrap();
    let stray = ImageManifest::new(vec![layer], Default::default());
    let stray = store.put_image(&stray).unwrap();
    home.get("site").base = Base::Stored(hornero_spec::StoredImage::Digest(stray));
    let error = home.bake_error("site");
    assert!(error.contains("`/bin` in image `site` belongs to nothing"), "{error}");
    assert!(error.contains("no record of its bake or import"), "{error}");
    store.attach(&stray, "import", br#"{"from":"a tarball"}"#).unwrap();
    let site = home.bake_one("site");
    assert_eq!(owner(&ownership(&home, &site), "bin"), "import of a tarball");
    // What an import's own dpkg lists claim belongs to those packages.
    assert_eq!(owner(&ownership(&home, &site), "usr/bin/dash"), "shell 1 of shell 1");
}
