//! What a later bake takes from a move, and what it does not: the forced, and what came from elsewhere.

use hornero_archive::Package;
use hornero_bake::{BakeRecord, rebase};

use crate::bench::{Bench, FORCE, PLAIN, exchanged, patched};

#[test]
fn force_moves_and_records_why_not() {
    let mut bench = Bench::new();
    let greet = Package::new("greet", "2.0").essential();
    let base = bench.base_of(&exchanged(greet));
    let store = bench.store();
    let refused = rebase(&store, &bench.app, &base, PLAIN).unwrap_err();
    assert!(!refused.refusals().is_empty());
    let moved = rebase(&store, &bench.app, &base, FORCE).unwrap();
    assert!(moved.forced);
    let how = BakeRecord::of(&store, &moved.image).unwrap().unwrap().moved.unwrap();
    assert!(how.forced);
    assert_eq!(how.refusals, refused.refusals());

    // What it lacks there it lacks on the next base as well: nothing is new, and it stays marked.
    let greet = Package::new("greet", "2.1").essential();
    let next = bench.base_of(&exchanged(greet));
    let store = bench.store();
    let again = rebase(&store, &moved.image, &next, PLAIN).unwrap();
    assert!(again.forced);
    assert_eq!(again.refusals, refused.refusals());
    let how = BakeRecord::of(&store, &again.image).unwrap().unwrap().moved.unwrap();
    assert_eq!((how.forced, how.refusals.as_slice()), (true, refused.refusals()));

    // Forced back it is what was baked, and the record says so still.
    let record = BakeRecord::of(&store, &bench.app).unwrap();
    let back = rebase(&store, &again.image, &bench.base, FORCE).unwrap();
    assert_eq!(back.image, bench.app);
    assert_eq!(BakeRecord::of(&store, &bench.app).unwrap(), record);
}

#[test]
fn what_was_forced_is_baked_anew() {
    let mut bench = Bench::new();
    let greet = Package::new("greet", "2.0").essential();
    let base = bench.replace(&exchanged(greet));
    let store = bench.store();
    let forced = rebase(&store, &bench.app, &base, FORCE).unwrap();
    assert!(forced.forced);
    let baked = bench.home.bake_one("app");
    assert!(baked.steps.iter().all(|step| !step.cached), "{:?}", baked.steps);
    assert_eq!(BakeRecord::of(&store, &baked.digest).unwrap().unwrap().moved, None);
}

#[test]
fn what_came_from_elsewhere_is_baked_anew() {
    let mut bench = Bench::new();
    let store = bench.store();
    // The app as somebody else tells of it: its steps by their own names, but the last one's layer is another.
    let mut manifest = store.image(&bench.app).unwrap();
    let mut record = BakeRecord::of(&store, &bench.app).unwrap().unwrap();
    let layer = manifest.layers.pop().unwrap();
    let mut entries = store.layer(&layer).unwrap().into_entries();
    let ingest = store.ingest().unwrap();
    let doctored = ingest.put_bytes(b"doctored\n").unwrap();
    let made = entries.iter_mut().find(|entry| entry.path.as_bytes() == b"srv/made").unwrap();
    made.kind = doctored.into();
    let layer = ingest.put_layer(&hornero_store::Layer::from_sorted(entries).unwrap()).unwrap();
    let _ = ingest.finish().unwrap();
    manifest.layers.push(layer);
    *record.steps.last_mut().unwrap().layers.last_mut().unwrap() = layer;
    let pulled = store.put_image(&manifest).unwrap();
    record.image = pulled;
    store.attach(&pulled, "bake", &serde_json::to_vec(&record).unwrap()).unwrap();

    let base = bench.replace(&patched());
    let moved = rebase(&store, &pulled, &base, PLAIN).unwrap();
    assert_eq!(store.read_file(&moved.image, "/srv/made").unwrap(), b"doctored\n");
    let baked = bench.home.bake_one("app");
    assert!(baked.steps.iter().all(|step| !step.cached), "{:?}", baked.steps);
    assert_eq!(store.read_file(&baked.digest, "/srv/made").unwrap(), b"made\n");
}

#[test]
fn a_bake_from_the_new_lock_finds_the_moved_image() {
    let mut bench = Bench::new();
    let store = bench.store();
    let base = bench.replace(&patched());
    let moved = rebase(&store, &bench.app, &base, PLAIN).unwrap();
    let baked = bench.home.bake_one("app");
    assert_eq!(baked.digest, moved.image);
    assert!(baked.cached, "{:?}", baked.steps);
    // Edited, it is another image: that was never moved, and is baked from its first step on.
    bench.home.write("data", "other\n");
    let changed = bench.home.bake_one("app");
    assert!(changed.steps.iter().all(|step| !step.cached), "{:?}", changed.steps);
    assert_eq!(BakeRecord::of(&store, &changed.digest).unwrap().unwrap().moved, None);
}

#[test]
fn a_record_that_came_with_a_moved_image_is_not_taken_for_that_of_the_move() {
    let mut bench = Bench::new();
    let store = bench.store();
    let base = bench.replace(&patched());
    let moved = rebase(&store, &bench.app, &base, PLAIN).unwrap();
    let own = BakeRecord::of(&store, &moved.image).unwrap().unwrap();
    // It tells of less between the image and its bake, as one that was baked would.
    let mut lying = own.clone();
    lying.moved = None;
    lying.name = "other".parse().unwrap();
    let plant = |record: &BakeRecord| {
        store.attach(&moved.image, "bake", &serde_json::to_vec(record).unwrap()).unwrap();
    };
    plant(&lying);
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved.image);
    assert_eq!(BakeRecord::of(&store, &moved.image).unwrap().unwrap(), own);

    // Nor does a bake keep one that names another image as what was moved.
    lying.moved = own.moved.clone();
    lying.moved.as_mut().unwrap().image = base;
    plant(&lying);
    let baked = bench.home.bake_one("app");
    assert!(baked.steps.iter().all(|step| !step.cached), "{:?}", baked.steps);
    let record = BakeRecord::of(&store, &baked.digest).unwrap().unwrap();
    assert_eq!((record.moved, record.name), (None, own.name));
}

#[test]
fn a_move_of_what_came_from_elsewhere_is_told_as_such() {
    let mut bench = Bench::new();
    let store = bench.store();
    let own = BakeRecord::of(&store, &bench.app).unwrap().unwrap();
    let mut lying = own;
    lying.name = "other".parse().unwrap();
    store.attach(&bench.app, "bake", &serde_json::to_vec(&lying).unwrap()).unwrap();
    let base = bench.replace(&patched());
    let moved = rebase(&store, &bench.app, &base, PLAIN).unwrap();
    let elsewhere = hornero_bake::recorded_elsewhere(&store, &moved.image).unwrap();
    assert_eq!(elsewhere, [bench.app, moved.image].into());
}
