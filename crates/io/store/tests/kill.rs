//! `kill -9` in the middle of an ingest or of deriving metadata leaves no half object, layer, image or metadata.

mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{ImageManifest, Layer, Store};
use support::file;

/// Tells the test program, run again as a child, which store to fill.
const STORE: &str = "HORNERO_TEST_STORE";
/// Enough to meet staging, syncing, renaming and publishing; few enough for a quick test.
const KILLS: u64 = 12;

/// Puts one image of many files; contents differ by `round`.
fn put_image(store: &Store, round: usize) -> Digest {
    let ingest = store.ingest().unwrap();
    let entries = (0..60)
        .map(|index| file(&ingest, format!("f{index}"), format!("{round}-{index}").repeat(200)))
        .chain([file(&ingest, "big", format!("{round}").repeat(1_500_000))])
        .collect();
    let layer = ingest.put_layer(&Layer::from_entries(entries).unwrap()).unwrap();
    ingest.finish().unwrap();
    let image = store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default())).unwrap();
    store.set_ref("image/latest", &image).unwrap();
    // A build step, a start, and the end of what runs.
    drop((store.temporary_root(&[layer]).unwrap(), store.root(&image).unwrap()));
    if round % 2 == 1 {
        store.drop_metadata_but(&BTreeSet::from([image])).unwrap();
    }
    image
}

/// Fills a store: once here when tests are run, without end when run as the child to be killed.
#[test]
fn filling() {
    match env::var_os(STORE) {
        Some(dir) => {
            let store = Store::open(dir).unwrap();
            // Each of 100,000 rounds takes milliseconds: the parent ends this long before.
            for round in 0..100_000 {
                put_image(&store, std::process::id() as usize * 1000 + round);
                if round == 0 {
                    println!("filling");
                }
            }
        }
        None => {
            let own = support::scratch();
            let image = put_image(&own.store, 0);
            check(own.store.dir());
            assert_eq!(own.store.images().unwrap(), [image]);
        }
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kill_after(dir: &Path, delay: Duration) {
    let mut child = Killed(
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "filling", "--nocapture", "--test-threads=1"])
            .env(STORE, dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap(),
    );
    // Until the child has begun; then the kill comes at some point of a later round.
    let mut seen = Vec::new();
    let mut output = child.0.stdout.take().unwrap();
    let mut byte = [0];
    while !seen.ends_with(b"filling\n") {
        assert_eq!(output.read(&mut byte).unwrap(), 1, "the child ended early");
        seen.push(byte[0]);
    }
    // The moment itself is what is tried: no condition is awaited.
    std::thread::sleep(delay);
    assert!(child.0.try_wait().unwrap().is_none(), "the child was still at work");
}

/// Opens the store anew and looks at all that can be seen.
fn check(dir: &Path) {
    let store = Store::open(dir).unwrap();
    assert_eq!(store.fsck().unwrap(), []);
    for image in store.images().unwrap() {
        let verified = store.verify_for_start(&image).unwrap();
        assert_eq!(verified.metadata_rebuilt, 0, "what is there is whole");
        assert_eq!(store.tree(&image).unwrap().entries().len(), 62);
    }
    for (_, digest) in store.refs().unwrap() {
        assert!(store.has_image(&digest), "a reference leads to an image");
    }
    let mut seen = 0;
    for shard in fs::read_dir(store.objects_dir()).unwrap() {
        for object in fs::read_dir(shard.unwrap().path()).unwrap() {
            let object = object.unwrap().path();
            let name: Vec<_> = object.components().rev().take(2).collect();
            let hex = format!("{}{}", name[1].as_os_str().display(), name[0].as_os_str().display());
            assert_eq!(Digest::of(&fs::read(&object).unwrap()), Digest::from_hex(&hex).unwrap());
            seen += 1;
        }
    }
    assert!(seen > 0);
    let staged: Vec<_> =
        fs::read_dir(dir.join("staging")).unwrap().map(|dir| dir.unwrap().path()).collect();
    assert!(staged.len() <= 2, "what dead processes left is gone: {staged:?}");
}

#[test]
fn a_killed_ingest_leaves_only_whole_things() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    for round in 0..KILLS {
        kill_after(&store, Duration::from_micros(round * round * 700));
        check(&store);
    }
}
