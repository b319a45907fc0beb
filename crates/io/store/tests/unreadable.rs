//! What the disk refuses to read is named like any damage, and good bytes in its place mend it.

mod support;

use std::{
    fs,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use hornero_model::Digest;
use hornero_store::{
    CollectOptions, Damage, Finding, HealSource, Healing, Layer, Protection, Root, Store, Stored,
    Tree,
    erofs::{Content, write_image},
};
use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsmount,
        fsopen, move_mount,
    },
};
use support::{entry, image, in_private_mounts, mount_erofs, mount_overlay, scratch};

const FILES: &[&[(&str, &str)]] = &[&[("a", "hello"), ("b", "world")], &[("c", "other")]];

/// A store in which reading some files fails as it does on a broken disk.
struct Broken {
    store: Store,
    good: Store,
    image: Digest,
}

/// Another store as a source of good bytes.
struct Other<'a>(&'a Store);

type Found<T> = Result<Option<T>, Box<dyn std::error::Error + Send + Sync>>;

impl HealSource for Other<'_> {
    fn content<'a>(&'a mut self, wanted: Stored, _: &Finding) -> Found<Box<dyn Read + 'a>> {
        Ok(Some(Box::new(self.0.open_object(&wanted.digest)?)))
    }

    fn layer(&mut self, digest: &Digest) -> Found<Vec<u8>> {
        Ok(Some(self.0.layer(digest)?.encode()))
    }

    fn image(&mut self, digest: &Digest) -> Found<Vec<u8>> {
        Ok(Some(self.0.image(digest)?.encode()))
    }
}

/// Where a store keeps an object.
fn object(content: &[u8]) -> String {
    let hex = Digest::of(content).hex();
    format!("objects/{}/{}", &hex[..2], &hex[2..])
}

/// Runs `work` with a store of [`FILES`] in which the files at `paths` can't be read.
///
/// Overlayfs refuses every file of a metadata image whose data has no fs-verity digest, when told to require one: so
/// each of them is there with its size, cannot be read, and can be replaced.
fn with_unreadable(
    paths: impl Fn(&Store, &Digest) -> Vec<String> + Sync,
    work: impl FnOnce(Broken) + Send,
) {
    let own = scratch();
    in_private_mounts(|| {
        let dir = |name: &str| {
            let path = own.dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (upper, below, data, merged) = (dir("upper"), dir("below"), dir("data"), dir("merged"));
        // An overlay's writable layer cannot be on another overlay, such as a container's root.
        mount_tmpfs(&upper);
        let (real, work_dir) = (upper.join("store"), upper.join("work"));
        fs::create_dir(&work_dir).unwrap();
        let store = Store::open(&real).unwrap();
        let image_digest = image(&store, FILES);
        store.attach(&image_digest, "bake", b"record").unwrap();
        store.set_ref("image/site", &image_digest).unwrap();
        store.cache_put(&Digest::of(b"key"), b"value").unwrap();
        let paths = paths(&store, &image_digest);
        drop(store);
        let good = Store::open(own.dir.path().join("good")).unwrap();
        assert_eq!(image(&good, FILES), image_digest);

        let mut entries = Vec::new();
        for path in paths {
            let real = real.join(&path);
            let bytes = fs::read(&real).unwrap();
            fs::remove_file(&real).unwrap();
            let digest = Digest::of(&bytes);
            let hex = digest.hex();
            fs::create_dir_all(data.join(&hex[..2])).unwrap();
            fs::write(data.join(&hex[..2]).join(&hex[2..]), &bytes).unwrap();
            entries.push(entry(&path, Stored { digest, size: bytes.len() as u64 }.into(), 0o444));
        }
        let tree = Tree::merge([Layer::from_entries(entries).unwrap()]);
        let metadata = own.dir.path().join("below.erofs");
        let mut bytes = Vec::new();
        write_image(&tree, &Content::Redirected, &mut bytes).unwrap();
        fs::write(&metadata, bytes).unwrap();
        mount_erofs(&metadata, &below);
        let lower = format!("{}::{}", below.display(), data.display());
        mount_overlay(
            &[
                ("lowerdir", &lower),
                ("upperdir", real.to_str().unwrap()),
                ("workdir", work_dir.to_str().unwrap()),
                ("metacopy", "on"),
                ("redirect_dir", "on"),
                ("verity", "require"),
            ],
            &merged,
        );
        let store = Store::open(&merged).unwrap();
        work(Broken { store, good, image: image_digest });
    });
}

fn first_layer(store: &Store, image: &Digest) -> String {
    format!("layers/{}", store.image(image).unwrap().layers[0].hex())
}

fn mount_tmpfs(at: &Path) {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_create(&context).unwrap();
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
}

#[test]
fn all_of_it_is_named_and_all_that_has_copies_is_mended() {
    let paths = |store: &Store, image: &Digest| {
        vec![
            object(b"hello"),
            object(b"other"),
            first_layer(store, image),
            format!("images/{}", image.hex()),
            format!("attachments/{}/bake", image.hex()),
            "refs/image/site".to_owned(),
        ]
    };
    with_unreadable(paths, |Broken { store, good, image }| {
        let path = store.dir().join(object(b"hello"));
        assert_eq!(fs::read(&path).unwrap_err().raw_os_error(), Some(5), "as on a broken disk");
        let found: Vec<_> = store.fsck().unwrap();
        let kinds: Vec<_> = found.iter().map(|found| (found.kind, found.damage)).collect();
        let unreadable = Damage::Unreadable;
        let expected = [
            ("image", unreadable),
            ("layer", unreadable),
            ("reference", Damage::NoDigest),
            ("attachment", Damage::Content),
            ("object", unreadable),
            ("object", unreadable),
        ];
        assert_eq!(kinds, expected);
        let healed = store.heal_all(&mut [&mut Other(&good)]).unwrap();
        for (finding, healing) in &healed {
            let has_copies = !matches!(finding.kind, "reference" | "attachment");
            assert_eq!(*healing == Healing::Mended, has_copies, "{finding:?}");
        }
        store.set_ref("image/site", &image).unwrap();
        store.attach(&image, "bake", b"record").unwrap();
        assert_eq!(store.fsck().unwrap(), []);
        store.verify_for_start(&image).unwrap();
    });
}

#[test]
fn a_bake_puts_good_bytes_in_its_place() {
    let paths = |store: &Store, image: &Digest| {
        let key = Digest::of(b"key").hex();
        vec![object(b"hello"), first_layer(store, image), format!("cache/{key}")]
    };
    with_unreadable(paths, |Broken { store, good, image: digest }| {
        let layer = good.image(&digest).unwrap().layers[0];
        assert_eq!(store.cache_get(&Digest::of(b"key")).unwrap(), None);
        let hello = Stored { digest: Digest::of(b"hello"), size: 5 };
        assert!(!store.is_content_whole(hello).unwrap());
        assert!(!store.is_layer_whole(&layer).unwrap());
        let refused = store.verify_for_start(&digest).unwrap_err();
        assert!(refused.to_string().ends_with("cannot be read from the disk"), "{refused}");
        let root =
            || Root { image: digest, reason: "it runs".into(), protection: Protection::Always };
        let roots = || Ok(vec![root()]);
        let report = store.collect(&CollectOptions::default(), roots, &|_| {}).unwrap();
        assert_eq!(report.damaged, [layer]);
        assert_eq!(report.deleted.total(), report.deleted.cache);
        assert_eq!(store.disk_use().unwrap().damaged, [layer]);

        assert_eq!(image(&store, FILES), digest);
        assert!(store.is_layer_whole(&layer).unwrap());
        store.verify_for_start(&digest).unwrap();
        assert_eq!(store.fsck().unwrap(), []);
    });
}

#[test]
fn a_record_of_what_was_verified_is_begun_anew() {
    let paths = |store: &Store, _: &Digest| {
        let path = store.dir().join("verified");
        if !path.exists() {
            fs::write(path, b"a record").unwrap();
        }
        vec!["verified".to_owned()]
    };
    with_unreadable(paths, |Broken { store, image, .. }| {
        assert_eq!(store.fsck().unwrap(), []);
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.verify_for_start(&image).unwrap().hashed > 0 {
            assert!(Instant::now() < deadline, "what is whole is recorded again");
        }
        let other = Store::open(store.dir()).unwrap();
        assert_eq!(other.verify_for_start(&image).unwrap().hashed, 0);
    });
}

#[test]
fn a_metadata_image_is_made_again() {
    for name in ["erofs", "index"] {
        let paths = |store: &Store, image: &Digest| {
            let path = store.root(image).unwrap().metadata.with_extension(name);
            vec![path.strip_prefix(store.dir()).unwrap().to_str().unwrap().to_owned()]
        };
        with_unreadable(paths, |Broken { store, good, image }| {
            let path = store.dir().join(&paths(&good, &image)[0]);
            assert!(fs::read(&path).is_err(), "{name}");
            store.verify_for_start(&image).unwrap();
            let right = fs::read(good.dir().join(&paths(&good, &image)[0])).unwrap();
            assert!(fs::read(&path).unwrap() == right, "{name}");
        });
    }
}
