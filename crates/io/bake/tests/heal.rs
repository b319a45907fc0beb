//! Healing a damaged store from the package cache.

mod support;

use std::{fs, path::PathBuf};

use hornero_archive::{Archive, Package, shell};
use hornero_bake::{BakeRecord, BakedImage, PackageCacheSource};
use hornero_model::Digest;
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::{Finding, Healing, Store};
use support::home::{Home, image, name};

const DATA: &str = "what the library has\n";
const LIST: &str = "/var/lib/dpkg/info/library.list";

/// `base` with a library, and `site` on it with a page.
fn home(archive: &Archive) -> (Home, BakedImage) {
    let mut home = Home::with_base(archive, &["library"]);
    home.write("page", "a page\n");
    let mut site = image("site", Base::Image(name("base")), &[]);
    let (from, to) = ("page".to_owned(), "/srv/page".to_owned());
    let (kind, owner) = (SourceKind::File, CopyOwner::default());
    site.copies = vec![CopySource { from, kind, to, mode: None, owner }];
    home.add(site);
    let site = home.bake_one("site");
    (home, site)
}

fn archive() -> Archive {
    let library = Package::new("library", "1").file("usr/share/library/data", 0o644, DATA);
    Archive::with(&[
        shell(),
        library.file("usr/share/library/same-size", 0o644, DATA.to_uppercase()),
    ])
}

fn object_path(store: &Store, content: &Digest) -> PathBuf {
    let hex = content.hex();
    store.objects_dir().join(&hex[..2]).join(&hex[2..])
}

/// Flips a bit of what is stored.
fn damage(store: &Store, content: &Digest) {
    let path = object_path(store, content);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
}

fn heal(home: &Home) -> Vec<(Finding, Healing)> {
    let store = home.store();
    let mut source = PackageCacheSource::new(&home.path, &store);
    store.heal_all(&mut [&mut source]).unwrap()
}

fn assert_mended(home: &Home, contents: &[Digest]) {
    let healed = heal(home);
    assert_eq!(healed.len(), contents.len(), "{healed:?}");
    for (finding, healing) in healed {
        assert!(contents.contains(&finding.digest), "{finding:?}");
        assert_eq!(healing, Healing::Mended, "{finding:?}");
    }
    assert_eq!(home.store().fsck().unwrap(), []);
}

#[test]
fn contents_of_packages_come_from_the_package_cache() {
    let archive = archive();
    let (home, site) = home(&archive);
    let data = Digest::of(DATA.as_bytes());
    let list = Digest::of(home.read(&site, LIST).as_bytes());
    damage(&home.store(), &data);
    fs::remove_file(object_path(&home.store(), &list)).unwrap();
    assert_mended(&home, &[data, list]);
    assert_eq!(home.read(&site, "/usr/share/library/data"), DATA);
    assert_eq!(fs::read_dir(home.path.join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_record_of_a_base_that_is_gone_still_tells() {
    let archive = archive();
    let (home, site) = home(&archive);
    let store = home.store();
    let base = BakeRecord::of(&store, &site.digest).unwrap().unwrap().parent.unwrap();
    store.set_ref("image/site", &site.digest).unwrap();
    let options = hornero_store::CollectOptions::default();
    store.collect(&options, || Ok(Vec::new()), &|_| {}).unwrap();
    assert!(!store.has_image(&base));
    let data = Digest::of(DATA.as_bytes());
    damage(&store, &data);
    assert_mended(&home, &[data]);
}

#[test]
fn what_no_package_has_is_not_mended() {
    let archive = archive();
    let (home, _) = home(&archive);
    let page = Digest::of(b"a page\n");
    damage(&home.store(), &page);
    let [(finding, Healing::NoSource)] = &heal(&home)[..] else { panic!("{:?}", heal(&home)) };
    assert_eq!(finding.digest, page);
}

#[test]
fn a_package_file_that_is_damaged_or_gone_mends_nothing() {
    let archive = archive();
    let (home, _) = home(&archive);
    let data = Digest::of(DATA.as_bytes());
    damage(&home.store(), &data);
    for entry in fs::read_dir(home.path.join("cache/packages")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    for state in ["damaged", "gone"] {
        let healed = heal(&home);
        let [(finding, healing)] = &healed[..] else { panic!("{state}: {healed:?}") };
        assert_eq!((finding.digest, healing), (data, &Healing::NoSource), "{state}");
    }
    // The package file that was asked for is gone, the others are not looked at.
    assert!(home.cached_packages() > 0);
}
