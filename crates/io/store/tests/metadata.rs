//! Metadata images are there while somebody uses them, and take no room before and after.

mod support;

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::Path};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{CollectOptions, ImageManifest, Layer, Store};
use support::{file, image, scratch};

/// Files of the base: some metadata, and no more contents than the test has patience for.
const BASE_FILES: usize = 6_000;
/// What a changed line may take on disk.
const CHANGE_BYTES: u64 = 100_000;

/// Bytes on disk of all files and directories below a path: blocks, not lengths.
fn allocated(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).unwrap().blocks() * 512;
    let below = match path.is_dir() {
        true => fs::read_dir(path).unwrap().map(|entry| allocated(&entry.unwrap().path())).sum(),
        false => 0,
    };
    own + below
}

/// Names of the metadata directory.
fn metadata(store: &Store) -> BTreeSet<String> {
    let entries = fs::read_dir(store.dir().join("metadata")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn layer(store: &Store, files: &[(String, String)]) -> Digest {
    let ingest = store.ingest().unwrap();
    let entries = files.iter().map(|(at, content)| file(&ingest, at, content)).collect();
    let layer = ingest.put_layer(&Layer::from_entries(entries).unwrap()).unwrap();
    ingest.finish().unwrap();
    layer
}

/// An image of a base and one file, as a step before it needs a root.
fn change(store: &Store, base: Digest, line: usize) -> Digest {
    let step = store.temporary_root(&[base]).unwrap();
    assert!(step.metadata.is_file());
    let text = format!("print({line})");
    let app = layer(store, &[("srv/app.py".to_owned(), text)]);
    drop(store.temporary_root(&[base, app]).unwrap());
    store.put_image(&ImageManifest::new(vec![base, app], ImageConfig::default())).unwrap()
}

#[test]
fn ten_changes_of_a_line_take_little_room_and_states_between_steps_none() {
    let own = scratch();
    let store = &own.store;
    let of_base = |at: usize| (format!("usr/lib/part-{at:04}/module"), format!("{}", at % 50));
    let base = layer(store, &(0..BASE_FILES).map(of_base).collect::<Vec<_>>());
    let mut serving = change(store, base, 0);
    assert_eq!(metadata(store), BTreeSet::new(), "nothing was started");
    store.verify_for_start(&serving).unwrap();
    let whole = store.root(&serving).unwrap().metadata.metadata().unwrap().blocks() * 512;
    assert!(whole > 4 * CHANGE_BYTES, "the base is too small to show anything: {whole}");
    for line in 1..=10 {
        let before = allocated(store.dir());
        let next = change(store, base, line);
        // Started while the one before still runs, which then ends.
        let running = store.root(&serving).unwrap();
        store.verify_for_start(&next).unwrap();
        let started = store.root(&next).unwrap();
        drop(running);
        assert_eq!(store.drop_metadata_but(&BTreeSet::from([next])).unwrap(), 0);
        drop(started);
        let grown = allocated(store.dir()).saturating_sub(before);
        assert!(grown <= CHANGE_BYTES, "change {line} takes {grown} bytes");
        assert_eq!(metadata(store).len(), 2, "an image and its index");
        serving = next;
    }
    let staged: Vec<_> = fs::read_dir(store.dir().join("staging")).unwrap().collect();
    assert_eq!(staged.len(), 1, "this process' own directory");
    let own_staging = staged.into_iter().next().unwrap().unwrap().path();
    assert_eq!(fs::read_dir(own_staging).unwrap().count(), 1, "the lock that says it is alive");
    assert_eq!(store.drop_metadata_but(&BTreeSet::new()).unwrap(), 0);
    assert_eq!(metadata(store), BTreeSet::new());
    assert!(store.verify_image(&serving).unwrap().objects > 50);
    assert_eq!(metadata(store), BTreeSet::new(), "reading is no start");
    let again = store.root(&serving).unwrap();
    assert!(again.metadata.is_file() && metadata(store).len() == 2, "made anew");
    assert_eq!(store.fsck().unwrap(), []);
}

#[test]
fn what_somebody_holds_stays_until_it_is_let_go() {
    let own = scratch();
    let store = &own.store;
    let (one, two) = (image(store, &[&[("a", "1")]]), image(store, &[&[("a", "2")]]));
    let held = store.root(&one).unwrap();
    drop(store.root(&two).unwrap());
    assert_eq!(metadata(store).len(), 4);
    // Another process, such as the control process of another home.
    let other = Store::open(store.dir()).unwrap();
    assert_eq!(other.drop_metadata_but(&BTreeSet::new()).unwrap(), 1);
    assert_eq!(metadata(store).len(), 2);
    assert!(held.metadata.is_file());
    // Nothing keeps the image any more, and what runs from it runs on.
    let collect = || other.collect(&CollectOptions::default(), || Ok(Vec::new()), &|_| {}).unwrap();
    assert_eq!(collect().deleted.metadata.files, 0);
    assert!(held.metadata.is_file());
    drop(held);
    assert_eq!(collect().deleted.metadata.files, 2);
    assert_eq!(metadata(store), BTreeSet::new());
}

#[test]
fn where_an_image_is_damaged_nothing_goes() {
    let own = scratch();
    let store = &own.store;
    let (one, two) = (image(store, &[&[("a", "1")]]), image(store, &[&[("a", "2")]]));
    drop((store.root(&one).unwrap(), store.root(&two).unwrap()));
    let manifest = store.dir().join("images").join(one.hex());
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, b"{}").unwrap();
    assert_eq!(store.drop_metadata_but(&BTreeSet::from([one])).unwrap(), 0);
    assert_eq!(metadata(store).len(), 4, "nobody knows which is its");
}

#[test]
fn starts_while_others_drop_always_get_metadata_that_is_there() {
    let own = scratch();
    let files: Vec<(String, String)> =
        (0..200).map(|at| (format!("f{at}"), format!("{at}"))).collect();
    let layers = [layer(&own.store, &files)];
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let dropping = scope.spawn(|| {
            let store = Store::open(own.store.dir()).unwrap();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.drop_metadata_but(&BTreeSet::new()).unwrap();
            }
        });
        let starting = scope.spawn(|| {
            for _ in 0..300 {
                let root = own.store.root_of_layers(&layers).unwrap();
                assert!(root.metadata.is_file());
            }
        });
        let started = starting.join();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        dropping.join().unwrap();
        started.unwrap();
    });
}
