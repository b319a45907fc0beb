//! What is counted is what is on disk, and unique is what collecting would free.

mod support;

use std::fs;

use hornero_model::Digest;
use hornero_store::{CollectOptions, Protection, Root, Store, Tally};
use support::{image, scratch};

/// Bytes of all files below a directory, but for those in directories of other purposes.
fn bytes_below(store: &Store, directories: &[&str]) -> u64 {
    let mut pending: Vec<_> = directories.iter().map(|name| store.dir().join(name)).collect();
    let mut sum = 0;
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => pending.push(entry.path()),
                false => sum += entry.metadata().unwrap().len(),
            }
        }
    }
    sum
}

#[test]
fn parts_add_up_and_unique_is_what_collecting_frees() {
    let own = scratch();
    let store = &own.store;
    let base: &[(&str, &str)] =
        &[("lib", "of all of them"), ("hidden", "below"), ("twice", "below")];
    let images = [
        image(store, &[base, &[("own", "first"), ("hidden", "above")]]),
        image(store, &[base, &[("own", "the second"), ("same", "as the third")]]),
        image(store, &[base, &[("own", "third"), ("same", "as the third")]]),
        image(store, &[&[("alone", "a content of its own")], &[("empty", "")]]),
        image(store, &[]),
    ];
    store.set_ref("image/one", &images[0]).unwrap();
    store.pin(&images[0]).unwrap();
    store.attach(&images[0], "bake", &[7; 100]).unwrap();
    store.cache_put(&Digest::of(b"key"), &[7; 200]).unwrap();
    let found = store.disk_use().unwrap();
    assert_eq!(found.images.len(), images.len());
    assert_eq!(found.damaged, []);
    assert_eq!(found.unused, Tally::default());
    assert_eq!(found.disk_bytes(), {
        let of = ["objects", "layers", "images", "metadata", "attachments", "cache"];
        bytes_below(store, &of)
    });
    assert_eq!((found.attachments.bytes, found.cache.bytes), (132, 232));
    assert_eq!(found.total.bytes, bytes_below(store, &["objects"]));
    let separate: u64 = found.images.iter().map(|image| image.total.bytes).sum();
    assert_eq!(found.separate_bytes, separate);
    let unique: u64 = found.images.iter().map(|image| image.unique.bytes).sum();
    assert_eq!(found.shared.bytes, found.total.bytes - unique);
    assert_eq!(found.saved_bytes(), separate - found.total.bytes);
    assert!(found.saved_bytes() > 0);
    store.unpin(&images[0]).unwrap();
    store.remove_ref("image/one").unwrap();
    for image in &found.images {
        assert_eq!(image.total, image.shared + image.unique);
        assert_eq!(image.pinned, image.digest == images[0]);
        let root = |other: &Digest| Root {
            image: *other,
            reason: String::new(),
            protection: Protection::Always,
        };
        let others = images.iter().filter(|other| **other != image.digest).map(root).collect();
        let options = CollectOptions { dry_run: true, ..CollectOptions::default() };
        let report = store.collect(&options, || Ok(others), &|_| {}).unwrap();
        assert_eq!(report.deleted.objects, image.unique);
    }
    // The file that the first image hides takes its room all the same.
    let first = found.images.iter().find(|image| image.digest == images[0]).unwrap();
    assert_eq!(
        first.total.bytes,
        ["of all of them", "below", "first", "above"].concat().len() as u64
    );
}

#[test]
fn garbage_and_damage_are_told() {
    let own = scratch();
    let store = &own.store;
    let (one, two) = (image(store, &[&[("a", "1")]]), image(store, &[&[("a", "22")]]));
    store.put_object(&b"loose"[..]).unwrap();
    assert_eq!(store.disk_use().unwrap().unused, Tally { files: 1, bytes: 5 });
    let layer = store.image(&one).unwrap().layers[0];
    fs::remove_file(store.dir().join("layers").join(layer.hex())).unwrap();
    let manifest = store.dir().join("images").join(two.hex());
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, b"{}").unwrap();
    let found = store.disk_use().unwrap();
    let mut damaged = vec![layer, two];
    damaged.sort_unstable();
    assert_eq!(found.damaged, damaged);
    assert_eq!(found.unused.files, 3);
    assert_eq!((found.images.len(), found.images[0].total.files), (1, 0));
}
