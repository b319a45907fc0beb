//! Damage of every kind is named, never followed out of the store, and healed from whoever has the bytes.

mod support;

use std::{
    fs,
    io::{Cursor, Read},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use hornero_model::Digest;
use hornero_store::{Damage, Finding, HealSource, Healing, Store, Stored};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{image, scratch};

/// Another store as a source of good bytes.
struct Other<'a>(&'a Store);

type Found<T> = Result<Option<T>, Box<dyn std::error::Error + Send + Sync>>;

impl HealSource for Other<'_> {
    fn content<'a>(&'a mut self, wanted: Stored, _: &Finding) -> Found<Box<dyn Read + 'a>> {
        match self.0.has_object(&wanted.digest)? {
            true => Ok(Some(Box::new(self.0.open_object(&wanted.digest)?))),
            false => Ok(None),
        }
    }

    fn layer(&mut self, digest: &Digest) -> Found<Vec<u8>> {
        Ok(self.0.has_layer(digest).then(|| self.0.layer(digest).unwrap().encode()))
    }

    fn image(&mut self, digest: &Digest) -> Found<Vec<u8>> {
        Ok(self.0.has_image(digest).then(|| self.0.image(digest).unwrap().encode()))
    }
}

/// A source that has other bytes for everything, too many of them, or none because it fails.
enum Liar {
    Other,
    Endless,
    Fails,
}

impl HealSource for Liar {
    fn content<'a>(&'a mut self, wanted: Stored, _: &Finding) -> Found<Box<dyn Read + 'a>> {
        match self {
            Self::Other => Ok(Some(Box::new(Cursor::new(vec![b'x'; wanted.size as usize])))),
            Self::Endless => Ok(Some(Box::new(std::io::repeat(0)))),
            Self::Fails => Err("the network is away".into()),
        }
    }

    fn layer(&mut self, _: &Digest) -> Found<Vec<u8>> {
        Ok(Some(b"no layer".to_vec()))
    }

    fn image(&mut self, _: &Digest) -> Found<Vec<u8>> {
        Ok(Some(b"{}".to_vec()))
    }
}

fn object_path(store: &Store, content: &str) -> PathBuf {
    let hex = Digest::of(content.as_bytes()).hex();
    store.objects_dir().join(&hex[..2]).join(&hex[2..])
}

const FILES: &[&[(&str, &str)]] = &[&[("a", "hello"), ("b", "world")], &[("c", "other")]];

/// Damages the file at a path.
type Damaging = fn(&Path);

/// Damages of a file: each leaves something else, or nothing, in its place.
fn damages() -> Vec<(&'static str, Damage, Damaging)> {
    fn remove(path: &Path) {
        fs::remove_file(path).unwrap();
    }
    vec![
        ("removed", Damage::Missing, remove),
        ("rewritten", Damage::Content, |path| {
            let len = fs::metadata(path).unwrap().len() as usize;
            remove(path);
            fs::write(path, vec![b'x'; len]).unwrap();
        }),
        ("emptied", Damage::Content, |path| {
            remove(path);
            fs::write(path, b"").unwrap();
        }),
        ("a link to the right bytes", Damage::NotAFile, |path| {
            let aside = path.with_extension("aside");
            fs::rename(path, &aside).unwrap();
            symlink(&aside, path).unwrap();
        }),
        ("a link to a file of the host", Damage::NotAFile, |path| {
            remove(path);
            symlink("/etc/passwd", path).unwrap();
        }),
        ("a dangling link", Damage::NotAFile, |path| {
            remove(path);
            symlink("nowhere", path).unwrap();
        }),
        ("a fifo", Damage::NotAFile, |path| {
            remove(path);
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        }),
        ("a directory", Damage::NotAFile, |path| {
            remove(path);
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), b"x").unwrap();
        }),
    ]
}

#[test]
fn a_damaged_object_is_named_and_healed() {
    let (own, good) = (scratch(), scratch());
    let one = image(&own.store, FILES);
    let two = image(&own.store, &FILES[..1]);
    image(&good.store, FILES);
    let world = Digest::of(b"world");
    for (what, damage, make) in damages() {
        make(&object_path(&own.store, "world"));
        let store = Store::open(own.store.dir()).unwrap();
        let findings = store.fsck().unwrap();
        let [finding] = &findings[..] else { panic!("{what}: {findings:?}") };
        assert_eq!((finding.kind, finding.digest, finding.damage), ("object", world, damage));
        assert_eq!(finding.size, Some(5), "{what}");
        let mut uses = vec![(one, Some("/b".to_owned())), (two, Some("/b".to_owned()))];
        uses.sort();
        assert_eq!(finding.uses, uses, "{what}");
        assert!(store.verify_for_start(&one).is_err(), "{what}");
        assert!(store.read_object(&world).is_err(), "{what}");
        assert_eq!(store.open_object(&world).is_err(), damage != Damage::Content, "{what}");

        let mut liars = [Liar::Other, Liar::Endless, Liar::Fails];
        let [other, endless, fails] = &mut liars;
        let refused = store.heal(finding, &mut [other, endless, fails]).unwrap();
        assert!(matches!(&refused, Healing::Failed(why) if why.len() == 3), "{what}: {refused:?}");
        assert_eq!(store.fsck().unwrap(), findings, "{what}: nothing changed");

        let mut sources: [&mut dyn HealSource; 2] = [&mut Liar::Other, &mut Other(&good.store)];
        let healed = store.heal_all(&mut sources).unwrap();
        assert_eq!(healed, [(finding.clone(), Healing::Mended)], "{what}");
        assert_eq!(store.fsck().unwrap(), [], "{what}");
        assert_eq!(store.read_object(&world).unwrap(), b"world", "{what}");
        store.verify_for_start(&one).unwrap();
    }
}

#[test]
fn putting_a_content_again_replaces_whatever_lies_there() {
    let own = scratch();
    let digest = image(&own.store, FILES);
    for (what, _, make) in damages() {
        make(&object_path(&own.store, "hello"));
        let store = Store::open(own.store.dir()).unwrap();
        assert_eq!(image(&store, FILES), digest);
        assert_eq!(store.fsck().unwrap(), [], "{what}");
        assert_eq!(store.read_file(&digest, "/a").unwrap(), b"hello");
    }
}

#[test]
fn damaged_layers_and_images_are_named_and_healed() {
    let (own, good) = (scratch(), scratch());
    let digest = image(&own.store, FILES);
    assert_eq!(image(&good.store, FILES), digest);
    own.store.set_ref("image/one", &digest).unwrap();
    let layer = own.store.image(&digest).unwrap().layers[0];
    let of = [("image", digest, "images"), ("layer", layer, "layers")];
    for (kind, damaged, directory) in of {
        for (what, damage, make) in damages() {
            make(&own.store.dir().join(directory).join(damaged.hex()));
            let store = Store::open(own.store.dir()).unwrap();
            let findings = store.fsck().unwrap();
            let told: Vec<_> = findings
                .iter()
                .map(|finding| (finding.kind, finding.digest, finding.damage))
                .collect();
            assert_eq!(told, [(kind, damaged, damage)], "{what}");
            assert_eq!(findings[0].uses, [(digest, None)], "{what}");
            let refused = store.heal(&findings[0], &mut [&mut Liar::Other]).unwrap();
            assert!(matches!(refused, Healing::Failed(_)), "{what}: {refused:?}");
            let healed = store.heal_all(&mut [&mut Other(&good.store)]).unwrap();
            assert_eq!(healed, [(findings[0].clone(), Healing::Mended)], "{what}");
            store.verify_for_start(&digest).unwrap();
            assert_eq!(store.tree(&digest).unwrap().entries().len(), 4);
        }
    }
}

#[test]
fn all_of_an_image_comes_back_and_what_nobody_has_is_told() {
    let (own, good, empty) = (scratch(), scratch(), scratch());
    let digest = image(&own.store, FILES);
    image(&good.store, FILES);
    own.store.set_ref("image/one", &digest).unwrap();
    own.store.attach(&digest, "bake", b"record").unwrap();
    let objects: Vec<PathBuf> =
        ["hello", "world", "other"].map(|content| object_path(&own.store, content)).into();
    let layers = own.store.image(&digest).unwrap().layers;
    let layers = layers.iter().map(|layer| own.store.dir().join("layers").join(layer.hex()));
    let manifest = own.store.dir().join("images").join(digest.hex());
    let attachment = own.store.dir().join("attachments").join(digest.hex()).join("bake");
    for path in objects.into_iter().chain(layers).chain([manifest]) {
        fs::remove_file(path).unwrap();
    }
    fs::remove_file(&attachment).unwrap();
    fs::write(&attachment, b"something else").unwrap();
    let store = Store::open(own.store.dir()).unwrap();
    let nobody = store.heal_all(&mut [&mut Other(&empty.store)]).unwrap();
    let told: Vec<_> =
        nobody.iter().map(|(finding, healing)| (finding.kind, healing.clone())).collect();
    assert_eq!(told, [("image", Healing::NoSource), ("attachment", Healing::NoSource)]);
    let healed = store.heal_all(&mut [&mut Other(&good.store)]).unwrap();
    let mended = |kind| {
        healed
            .iter()
            .filter(move |(finding, healing)| finding.kind == kind && *healing == Healing::Mended)
    };
    assert_eq!(["image", "layer", "object"].map(|kind| mended(kind).count()), [1, 2, 3]);
    store.verify_for_start(&digest).unwrap();
    let rest = store.fsck().unwrap();
    assert_eq!(
        (rest.len(), rest[0].kind, rest[0].uses[0].1.as_deref()),
        (1, "attachment", Some("bake"))
    );
    store.attach(&digest, "bake", b"record").unwrap();
    assert_eq!(store.fsck().unwrap(), []);
}

#[test]
fn what_nothing_uses_is_left_to_collecting() {
    let (own, good) = (scratch(), scratch());
    let stored = own.store.put_object(&b"loose"[..]).unwrap();
    good.store.put_object(&b"loose"[..]).unwrap();
    let path = object_path(&own.store, "loose");
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"LOOSE").unwrap();
    let healed = own.store.heal_all(&mut [&mut Other(&good.store)]).unwrap();
    assert_eq!(healed[0].1, Healing::Unused);
    own.store.collect(&Default::default(), || Ok(Vec::new()), &|_| {}).unwrap();
    assert!(!own.store.has_object(&stored.digest).unwrap());
    assert_eq!(own.store.fsck().unwrap(), []);
}

#[test]
fn a_large_content_is_checked_as_it_comes() {
    let (own, good) = (scratch(), scratch());
    let large = "large".repeat(1 << 20);
    let files: &[&[(&str, &str)]] = &[&[("a", &large)]];
    let digest = image(&own.store, files);
    image(&good.store, files);
    fs::remove_file(object_path(&own.store, &large)).unwrap();
    let mut liars = [Liar::Other, Liar::Endless];
    let [other, endless] = &mut liars;
    let refused = own.store.heal_all(&mut [other, endless]).unwrap();
    let [(finding, Healing::Failed(why))] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((finding.damage, why.len()), (Damage::Missing, 2));
    assert!(!own.store.has_object(&finding.digest).unwrap(), "nothing of it is taken");
    let healed = own.store.heal_all(&mut [&mut Other(&good.store)]).unwrap();
    assert_eq!(healed[0].1, Healing::Mended);
    own.store.verify_for_start(&digest).unwrap();
}
