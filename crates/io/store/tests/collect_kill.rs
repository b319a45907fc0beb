//! `kill -9` before every single deletion of a collection leaves only whole things, and the next one ends the work.

mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;
use hornero_store::{CollectOptions, CollectProgress, CollectReport, Store};
use rustix::process::{Signal, getpid, kill_process};
use support::{image, scratch};

/// Tells the test program, run again as a child, which store to collect.
const STORE: &str = "HORNERO_TEST_COLLECT";
/// Before which deletion the child kills itself.
const KILL_AT: &str = "HORNERO_TEST_COLLECT_KILL_AT";
/// Well above the deletions of one collection here: there is an end even if a child never finishes.
const DELETIONS_MAX: u64 = 200;

/// Only named images are kept here.
fn collect(store: &Store, tell: &(dyn Fn(CollectProgress) + Sync)) -> CollectReport {
    let options = CollectOptions { cache_bytes: 0, ..CollectOptions::default() };
    store.collect(&options, || Ok(Vec::new()), tell).unwrap()
}

/// Collects and dies at it when run as the child; there is nothing to do when tests are run.
#[test]
fn collecting() {
    let Some(dir) = env::var_os(STORE) else {
        assert!(env::var_os(KILL_AT).is_none());
        return;
    };
    let kill_at: u64 = env::var(KILL_AT).unwrap().parse().unwrap();
    let deletions = AtomicU64::new(0);
    collect(&Store::open(dir).unwrap(), &|progress| {
        let CollectProgress::Deleting { .. } = progress else { return };
        if deletions.fetch_add(1, Ordering::SeqCst) == kill_at {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
}

fn collect_and_die(dir: &Path, kill_at: u64) -> ExitStatus {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "collecting", "--nocapture", "--test-threads=1"])
        .env(STORE, dir)
        .env(KILL_AT, kill_at.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .unwrap()
}

/// Puts the image that stays and, beside it, several that share contents with it and each other.
fn fill(store: &Store) -> Digest {
    let kept: &[&[(&str, &str)]] = &[&[("a", "all"), ("b", "some")], &[("c", "kept")]];
    let kept = image(store, kept);
    store.set_ref("image/kept", &kept).unwrap();
    for own in ["1", "2", "3"] {
        let layers: &[&[(&str, &str)]] =
            &[&[("a", "all"), ("b", "some")], &[("d", own), ("e", "some"), ("f", "gone")]];
        image(store, layers);
        store.cache_put(&Digest::of(own.as_bytes()), b"value").unwrap();
    }
    for image in store.images().unwrap() {
        drop(store.root(&image).unwrap());
    }
    for subject in store.images().unwrap().iter().chain(&store.layers().unwrap()) {
        store.attach(subject, "facts", b"known").unwrap();
    }
    kept
}

/// Whatever can be seen is whole.
fn check(store: &Store, kept: &Digest) {
    assert_eq!(store.fsck().unwrap(), []);
    assert_eq!(store.get_ref("image/kept").unwrap(), Some(*kept));
    assert!(store.has_image(kept));
    for image in store.images().unwrap() {
        store.verify_for_start(&image).unwrap();
        store.tree(&image).unwrap();
        assert_eq!(store.attachment(&image, "facts").unwrap().unwrap(), b"known");
    }
    for layer in store.layers().unwrap() {
        assert!(store.is_layer_whole(&layer).unwrap());
        assert_eq!(store.attachment(&layer, "facts").unwrap().unwrap(), b"known");
    }
}

fn objects(store: &Store) -> BTreeSet<String> {
    let shards = fs::read_dir(store.objects_dir()).unwrap().map(|shard| shard.unwrap());
    shards
        .flat_map(|shard| {
            let prefix = shard.file_name().into_string().unwrap();
            let objects = fs::read_dir(shard.path()).unwrap();
            objects.map(move |object| {
                format!("{prefix}{}", object.unwrap().file_name().into_string().unwrap())
            })
        })
        .collect()
}

#[test]
fn killed_before_any_deletion_the_store_is_whole() {
    let own = scratch();
    let mut killed = 0;
    loop {
        let kept = fill(&own.store);
        let status = collect_and_die(own.store.dir(), killed);
        let store = Store::open(own.store.dir()).unwrap();
        check(&store, &kept);
        let ended = status.success();
        assert!(ended || status.signal() == Some(Signal::KILL.as_raw()), "{status}");
        let rest = collect(&store, &|_| {});
        assert_eq!(ended, rest.deleted.total().files == 0, "{:?}", rest.deleted);
        check(&store, &kept);
        assert_eq!(store.images().unwrap(), [kept]);
        assert_eq!(store.layers().unwrap().len(), 2);
        let expected = ["all", "some", "kept"].map(|content| Digest::of(content.as_bytes()).hex());
        assert_eq!(objects(&store), expected.into_iter().collect());
        if ended {
            break;
        }
        killed += 1;
        assert!(killed < DELETIONS_MAX, "it comes to an end");
    }
    // Images, their layers and own contents, metadata images with their indexes, attachments and values.
    assert_eq!(killed, 3 + 3 + 4 + 3 * 2 + 6 + 3);
}
