//! Collecting deletes what nothing keeps, all of it, and nothing else.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{
    CollectOptions, CollectProgress, CollectReport, ImageManifest, Layer, Protection, Root, Store,
    StoreError, Stored, Unneeded,
};
use proptest::{
    collection::{btree_set, vec},
    prelude::*,
    test_runner::{Config, TestRunner},
};
use support::{file, image, scratch};

fn root(image: Digest, protection: Protection) -> Root {
    Root { image, reason: format!("{protection:?}"), protection }
}

fn collect(store: &Store, options: &CollectOptions, roots: &[Root]) -> CollectReport {
    store.collect(options, || Ok(roots.to_vec()), &|_| {}).unwrap()
}

fn dry() -> CollectOptions {
    CollectOptions { dry_run: true, ..CollectOptions::default() }
}

/// Digests of all files under a directory of the store, at any depth, by their joined names.
fn stored(store: &Store, directory: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut pending = vec![store.dir().join(directory)];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                pending.push(entry.path());
            } else {
                let below = entry.path();
                let below = below.strip_prefix(store.dir().join(directory)).unwrap();
                found.insert(below.to_str().unwrap().replace('/', ""));
            }
        }
    }
    found
}

/// A store to be: everything by index.
#[derive(Debug, Clone)]
struct Model {
    /// Contents of each layer.
    layers: Vec<BTreeSet<u8>>,
    /// Layers of each image; taken modulo their number.
    images: Vec<Vec<usize>>,
    /// Images that are always kept, kept by rule, named and pinned; taken modulo their number.
    always: Vec<usize>,
    by_rule: Vec<usize>,
    named: Vec<usize>,
    pinned: Vec<usize>,
    /// A layer that a reference leads to.
    layer_named: Option<usize>,
}

fn model() -> impl Strategy<Value = Model> {
    let layers = vec(btree_set(0..24_u8, 0..7), 1..7);
    let images = vec(vec(0..7_usize, 1..4), 0..7);
    let some = || vec(0..7_usize, 0..2);
    (layers, images, some(), some(), some(), some(), proptest::option::of(0..7_usize)).prop_map(
        |(layers, images, always, by_rule, named, pinned, layer_named)| Model {
            layers,
            images,
            always,
            by_rule,
            named,
            pinned,
            layer_named,
        },
    )
}

fn content(index: u8) -> String {
    format!("content {index}").repeat(usize::from(index) + 1)
}

type ContentsOfLayers = BTreeMap<Digest, BTreeSet<Digest>>;

/// Fills the store; gives layers with their contents' digests, and images with their layers.
fn fill(store: &Store, model: &Model) -> (ContentsOfLayers, Vec<(Digest, Vec<Digest>)>) {
    let ingest = store.ingest().unwrap();
    let mut layers = BTreeMap::new();
    let mut digests = Vec::new();
    for (index, contents) in model.layers.iter().enumerate() {
        let files = contents.iter().map(|one| file(&ingest, format!("f{one}"), content(*one)));
        // Each layer is another one, though it may have the same contents.
        let own = support::symlink(format!("layer{index}"), "x");
        let layer = Layer::from_entries(files.chain([own]).collect()).unwrap();
        let digest = ingest.put_layer(&layer).unwrap();
        layers.insert(digest, layer.contents().map(|(digest, _)| digest).collect());
        digests.push(digest);
    }
    // What a bake that was killed leaves.
    ingest.put_bytes(b"of no layer").unwrap();
    ingest.finish().unwrap();
    let images = model.images.iter().enumerate().map(|(index, of_image)| {
        let of_image: Vec<Digest> =
            of_image.iter().map(|layer| digests[layer % digests.len()]).collect();
        let user = format!("{index}");
        let config = ImageConfig { user, ..ImageConfig::default() };
        (store.put_image(&ImageManifest::new(of_image.clone(), config)).unwrap(), of_image)
    });
    let images: Vec<_> = images.collect();
    for subject in digests.iter().chain(images.iter().map(|(image, _)| image)) {
        store.attach(subject, "facts", b"known").unwrap();
        store.cache_put(subject, format!("[\"{subject}\"]").as_bytes()).unwrap();
    }
    drop(store.root_of_layers(&digests).unwrap());
    (layers, images)
}

fn check_collected(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    let (layers, images) = fill(store, model);
    let pick = |indexes: &[usize]| -> Vec<Digest> {
        let picked = indexes.iter().filter(|_| !images.is_empty());
        picked.map(|index| images[index % images.len()].0).collect()
    };
    let mut roots: Vec<Root> =
        pick(&model.always).into_iter().map(|image| root(image, Protection::Always)).collect();
    let by_rule = pick(&model.by_rule).into_iter().enumerate();
    roots.extend(by_rule.map(|(at, image)| root(image, Protection::ByRule { recency: at as u64 })));
    for (at, image) in pick(&model.named).iter().enumerate() {
        store.set_ref(&format!("image/n{at}"), image).unwrap();
    }
    for image in pick(&model.pinned) {
        store.pin(&image).unwrap();
    }
    let layer_named =
        model.layer_named.map(|index| *layers.keys().nth(index % layers.len()).unwrap());
    if let Some(layer) = &layer_named {
        store.set_ref("layer/kept", layer).unwrap();
    }
    let kept: BTreeSet<Digest> = [&model.always, &model.by_rule, &model.named, &model.pinned]
        .into_iter()
        .flat_map(|indexes| pick(indexes))
        .collect();
    let kept_layers: BTreeSet<Digest> = images
        .iter()
        .filter(|(image, _)| kept.contains(image))
        .flat_map(|(_, layers)| layers.clone())
        .chain(layer_named)
        .collect();
    let kept_objects: BTreeSet<String> =
        kept_layers.iter().flat_map(|layer| &layers[layer]).map(Digest::hex).collect();

    let everything = |store: &Store| {
        ["images", "layers", "objects", "metadata", "attachments", "cache"]
            .map(|directory| stored(store, directory))
    };
    let before = everything(store);
    let foretold = collect(store, &dry(), &roots);
    prop_assert_eq!(&everything(store), &before, "a dry run touches nothing");
    let report = collect(store, &CollectOptions::default(), &roots);
    prop_assert_eq!(&foretold, &report);

    prop_assert_eq!(store.images().unwrap(), kept.iter().copied().collect::<Vec<_>>());
    let reported: BTreeSet<Digest> = report.kept_images.iter().map(|kept| kept.digest).collect();
    prop_assert_eq!(&reported, &kept);
    prop_assert_eq!(stored(store, "layers"), kept_layers.iter().map(Digest::hex).collect());
    prop_assert_eq!(stored(store, "objects"), kept_objects.clone());
    prop_assert_eq!(report.kept_objects.files, kept_objects.len() as u64);
    let about: BTreeSet<String> = kept.iter().chain(&kept_layers).map(Digest::hex).collect();
    prop_assert_eq!(stored(store, "cache"), about.clone());
    let attached = about.iter().map(|hex| format!("{hex}facts")).collect();
    prop_assert_eq!(stored(store, "attachments"), attached);
    let after = everything(store);
    let gone: usize = before.iter().zip(&after).map(|(was, is)| was.difference(is).count()).sum();
    prop_assert_eq!(report.deleted.total().files, gone as u64);
    for image in &kept {
        store.verify_for_start(image).unwrap();
        store.tree(image).unwrap();
        let reasons = store.why_kept(image, roots.clone()).unwrap();
        let told = report.kept_images.iter().find(|kept| kept.digest == *image).unwrap();
        prop_assert_eq!(&reasons, &told.reasons);
        prop_assert!(!reasons.is_empty());
    }
    for layer in &kept_layers {
        prop_assert!(store.is_layer_whole(layer).unwrap());
    }
    prop_assert_eq!(store.fsck().unwrap(), []);
    let again = collect(store, &CollectOptions::default(), &roots);
    prop_assert_eq!(again.deleted.total().files, 0, "one run finds all: {:?}", again.deleted);

    // Without anything that keeps them, all go; the next case begins with an empty store.
    for (name, _) in store.refs().unwrap() {
        store.remove_ref(&name).unwrap();
    }
    collect(store, &CollectOptions::default(), &[]);
    prop_assert!(everything(store).iter().all(BTreeSet::is_empty));
    Ok(())
}

#[test]
fn gc_safe() {
    let own = scratch();
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(48) });
    runner.run(&model(), |model| check_collected(&own.store, &model)).unwrap();
}

#[test]
fn a_ceiling_takes_the_oldest_that_rules_keep_and_nothing_else() {
    let own = scratch();
    let store = &own.store;
    let text = |size: usize, seed: char| seed.to_string().repeat(size);
    let one =
        |seed, size| image(store, &[&[("shared", &text(1000, 's')), ("own", &text(size, seed))]]);
    let running = one('a', 500);
    let (old, middle, new) = (one('b', 100), one('c', 200), one('d', 300));
    let same = store
        .put_image(&ImageManifest::new(
            store.image(&running).unwrap().layers,
            ImageConfig { user: "1".into(), ..ImageConfig::default() },
        ))
        .unwrap();
    let loose = one('e', 700);
    let roots = [
        root(running, Protection::Always),
        root(same, Protection::ByRule { recency: 1 }),
        root(old, Protection::ByRule { recency: 2 }),
        root(middle, Protection::ByRule { recency: 3 }),
        root(new, Protection::ByRule { recency: 4 }),
    ];
    let kept_under = |limit_bytes| {
        let options = CollectOptions { ceiling_bytes: Some(limit_bytes), ..dry() };
        let report = collect(store, &options, &roots);
        let ceiling = report.ceiling.unwrap();
        assert_eq!((ceiling.limit_bytes, ceiling.always_bytes), (limit_bytes, 1500));
        assert_eq!(ceiling.met, report.kept_objects.bytes <= limit_bytes);
        for deleted in &report.deleted_images {
            match deleted.digest == loose {
                true => assert_eq!(deleted.why, Unneeded::NothingKeepsIt),
                false => assert!(
                    matches!(&deleted.why, Unneeded::Ceiling { reasons } if reasons.len() == 1)
                ),
            }
        }
        let kept: BTreeSet<Digest> = report.kept_images.iter().map(|kept| kept.digest).collect();
        (kept, report.kept_objects.bytes, ceiling.met)
    };
    let check = |limit, expected: &[Digest], bytes, met| {
        // What takes no room of its own is never worth dropping.
        let expected = expected.iter().chain(&[running, same]).copied().collect();
        assert_eq!(kept_under(limit), (expected, bytes, met), "ceiling of {limit} bytes");
    };
    check(2100, &[old, middle, new], 2100, true);
    check(2099, &[middle, new], 2000, true);
    check(2000, &[middle, new], 2000, true);
    // The oldest would fit where the middle one does not, but it goes first.
    check(1999, &[new], 1800, true);
    check(1799, &[], 1500, true);
    check(1500, &[], 1500, true);
    check(1499, &[], 1500, false);
    let options = CollectOptions { ceiling_bytes: Some(1800), ..CollectOptions::default() };
    let report = collect(store, &options, &roots);
    assert_eq!(report.kept_objects.bytes, 1800);
    assert_eq!(stored(store, "objects").len() as u64, report.kept_objects.files);
    assert_eq!(stored(store, "layers").len(), 2);
    for image in [running, same, new] {
        store.verify_for_start(&image).unwrap();
    }
    assert_eq!(store.images().unwrap().len(), 3);
}

#[test]
fn nothing_is_deleted_when_the_roots_are_not_known() {
    let own = scratch();
    let image = image(&own.store, &[&[("a", "hello")]]);
    let error = own
        .store
        .collect(&CollectOptions::default(), || Err("the ledger is away".into()), &|_| {})
        .unwrap_err();
    assert!(matches!(error, StoreError::Roots(_)), "{error}");
    own.store.verify_for_start(&image).unwrap();
}

#[test]
fn what_a_damaged_image_might_need_stays_until_it_is_healed() {
    let own = scratch();
    let store = &own.store;
    let (one, two) = (image(store, &[&[("a", "hello")]]), image(store, &[&[("b", "other")]]));
    let layer = store.image(&one).unwrap().layers[0];
    let paths = [
        (store.dir().join("images").join(one.hex()), one),
        (store.dir().join("layers").join(layer.hex()), layer),
    ];
    for (path, digest) in paths {
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let report = collect(store, &dry(), &[root(one, Protection::Always)]);
        assert_eq!(report.damaged, [digest]);
        assert_eq!((report.deleted.images.files, report.deleted.layers.files), (1, 0));
        assert_eq!(report.deleted.objects.files, 0);
        fs::write(&path, good).unwrap();
    }
    let report = collect(store, &CollectOptions::default(), &[root(one, Protection::Always)]);
    assert_eq!((report.damaged, report.deleted.objects.files), (Vec::new(), 1));
    assert!(!store.has_image(&two));
    store.verify_for_start(&one).unwrap();
}

#[test]
fn what_belongs_to_a_lost_image_stays_whatever_keeps_it() {
    for how in ["root", "pin", "name"] {
        let own = scratch();
        let store = &own.store;
        let (one, two) = (image(store, &[&[("a", "hello")]]), image(store, &[&[("b", "other")]]));
        let layer = store.image(&one).unwrap().layers[0];
        for subject in [one, two, layer] {
            store.attach(&subject, "signature.key", b"signed").unwrap();
        }
        let mut roots = Vec::new();
        match how {
            "root" => roots.push(root(one, Protection::Always)),
            "pin" => drop(store.pin(&one).unwrap()),
            _ => store.set_ref("image/one", &one).unwrap(),
        }
        let path = store.dir().join("images").join(one.hex());
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let rest = || ["layers", "objects", "metadata", "attachments"].map(|of| stored(store, of));
        let before = rest();
        let report = collect(store, &CollectOptions::default(), &roots);
        assert_eq!((report.damaged, report.missing.len()), (vec![one], 1), "{how}");
        assert_eq!(
            (report.missing[0].image, report.missing[0].protection),
            (one, Protection::Always)
        );
        assert_eq!(report.deleted.total(), report.deleted.images, "{how}");
        assert_eq!((rest(), store.has_image(&two)), (before, false), "{how}");

        fs::write(&path, good).unwrap();
        let report = collect(store, &CollectOptions::default(), &roots);
        assert_eq!(
            (report.damaged, report.missing, report.deleted.objects.files),
            (vec![], vec![], 1)
        );
        store.verify_for_start(&one).unwrap();
        for subject in [one, layer] {
            assert_eq!(store.attachment(&subject, "signature.key").unwrap().unwrap(), b"signed");
        }
        assert_eq!(store.attachments(&two).unwrap(), Vec::<String>::new(), "{how}");
    }
}

#[test]
fn whoever_holds_a_lease_is_waited_for_but_not_for_ever() {
    let own = scratch();
    let lease = own.store.lease().unwrap();
    let told = Mutex::new(Vec::new());
    let options = CollectOptions { patience: Some(Duration::from_millis(60)), ..dry() };
    let tell = |progress| told.lock().unwrap().push(progress);
    let error = own.store.collect(&options, || Ok(Vec::new()), &tell).unwrap_err();
    assert!(matches!(error, StoreError::Busy(_)), "{error}");
    assert!(matches!(told.lock().unwrap()[..], [CollectProgress::Waiting { .. }]));

    let (asked, waiting) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let (store, waiting, asked) = (&own.store, &waiting, &asked);
        let collecting = scope.spawn(move || {
            let tell = |progress| {
                if matches!(progress, CollectProgress::Waiting { .. }) {
                    waiting.store(true, Ordering::SeqCst);
                }
            };
            let roots = || {
                asked.store(true, Ordering::SeqCst);
                Ok(Vec::new())
            };
            store.collect(&CollectOptions::default(), roots, &tell).unwrap()
        });
        while !waiting.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert!(!asked.load(Ordering::SeqCst), "roots are asked for when the store is locked");
        drop(lease);
        collecting.join().unwrap();
    });
    assert!(asked.load(Ordering::SeqCst));
}

#[test]
fn bakes_beside_collecting_lose_nothing() {
    const IMAGES: usize = 40;
    let own = scratch();
    let done = AtomicBool::new(false);
    let runs = AtomicUsize::new(0);
    thread::scope(|scope| {
        let bakers: Vec<_> = (0..2)
            .map(|baker| {
                let (dir, runs) = (own.store.dir(), &runs);
                scope.spawn(move || {
                    let store = Store::open(dir).unwrap();
                    for round in 0..IMAGES {
                        // As a bake does it: what is cached is used, what is not is made.
                        let lease = store.lease().unwrap();
                        let contents = [format!("{}", round % 5), format!("{baker}-{round}")];
                        let files = [("a", contents[0].as_str()), ("b", contents[1].as_str())];
                        let key = Digest::of(contents.concat().as_bytes());
                        let cached = store.cache_get(&key).unwrap().is_some();
                        let known = Digest::of(contents[0].as_bytes());
                        let stored = Stored { digest: known, size: 1 };
                        let had = store.is_content_whole(stored).unwrap();
                        let image = image(&store, &[&files[..1], &files[1..]]);
                        store.cache_put(&key, format!("[\"{image}\"]").as_bytes()).unwrap();
                        assert!(!cached || had);
                        store.verify_for_start(&image).unwrap();
                        store.set_ref(&format!("image/baker{baker}"), &image).unwrap();
                        drop(lease);
                        // Named, and so whole, whatever was collected since.
                        store.verify_for_start(&image).unwrap();
                        let seen = runs.load(Ordering::SeqCst);
                        let deadline = Instant::now() + Duration::from_secs(20);
                        while runs.load(Ordering::SeqCst) == seen {
                            assert!(Instant::now() < deadline, "collecting goes on");
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let collector = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                collect(&own.store, &CollectOptions::default(), &[]);
                runs.fetch_add(1, Ordering::SeqCst);
            }
        });
        let results: Vec<_> = bakers.into_iter().map(|baker| baker.join()).collect();
        done.store(true, Ordering::SeqCst);
        collector.join().unwrap();
        for result in results {
            result.unwrap();
        }
    });
    assert!(runs.load(Ordering::SeqCst) > IMAGES / 2, "both were at work");
    collect(&own.store, &CollectOptions::default(), &[]);
    assert_eq!(own.store.images().unwrap().len(), 2);
    assert_eq!(own.store.fsck().unwrap(), []);
    assert_eq!(stored(&own.store, "objects").len(), 3);
}

#[test]
fn old_and_too_many_remembered_values_go() {
    let own = scratch();
    let store = &own.store;
    let key = |index: u8| Digest::of(&[index]);
    let day = Duration::from_secs(24 * 3600);
    let now = std::time::SystemTime::now();
    for index in 0..6 {
        store.cache_put(&key(index), &[index; 5000]).unwrap();
        let path = store.dir().join("cache").join(key(index).hex());
        let times = fs::FileTimes::new().set_modified(now - day * u32::from(index) * 10);
        fs::File::open(path).unwrap().set_times(times).unwrap();
    }
    let left = |options: &CollectOptions| -> Vec<u8> {
        collect(store, options, &[]);
        (0..6).filter(|index| store.cache_get(&key(*index)).unwrap().is_some()).collect()
    };
    // Reading notes the use: from here on all but what was not looked at are fresh.
    assert_eq!(store.cache_get(&key(5)).unwrap().unwrap(), [5; 5000]);
    let options = CollectOptions { cache_age: day * 35, ..CollectOptions::default() };
    assert_eq!(left(&options), [0, 1, 2, 3, 5]);
    let options = CollectOptions { cache_bytes: 3 * 5032, ..CollectOptions::default() };
    assert_eq!(left(&options).len(), 3);
}

#[test]
fn records_of_deleted_objects_go_too() {
    let own = scratch();
    let store = &own.store;
    let one = image(store, &[&[("a", "hello")]]);
    let two = image(store, &[&[("b", "one"), ("c", "two"), ("d", "three")]]);
    for image in [one, two] {
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.verify_for_start(&image).unwrap().hashed > 0 {
            assert!(Instant::now() < deadline);
        }
    }
    let path = store.dir().join("verified");
    let mentions = |content: &[u8]| {
        let bytes = fs::read(&path).unwrap();
        bytes.chunks_exact(80).any(|record| record[..32] == *Digest::of(content).as_bytes())
    };
    assert!(mentions(b"hello") && mentions(b"two"));
    collect(store, &CollectOptions::default(), &[root(one, Protection::Always)]);
    assert!(mentions(b"hello") && !mentions(b"two"));
    assert_eq!(store.verify_for_start(&one).unwrap().hashed, 0, "what stays is still known");
    let other = Store::open(store.dir()).unwrap();
    assert_eq!(other.verify_for_start(&one).unwrap().hashed, 0);
    assert_eq!(image(store, &[&[("b", "one"), ("c", "two"), ("d", "three")]]), two);
    store.verify_for_start(&two).unwrap();
}

#[test]
fn pins_are_told_apart_and_keep() {
    let own = scratch();
    let store = &own.store;
    let (one, two) = (image(store, &[&[("a", "1")]]), image(store, &[&[("a", "2")]]));
    assert!(store.pin(&one).unwrap() && !store.pin(&one).unwrap());
    assert!(matches!(store.pin(&Digest::of(b"none")), Err(StoreError::Missing { .. })));
    let pin = (format!("pin/{}", one.hex()), one);
    assert_eq!(Store::open(store.dir()).unwrap().refs().unwrap(), [pin]);
    store.set_ref("image/two", &two).unwrap();
    let reasons = |image: &Digest| -> Vec<String> {
        store.why_kept(image, Vec::new()).unwrap().into_iter().map(|reason| reason.text).collect()
    };
    assert_eq!(reasons(&one), ["it is pinned"]);
    assert_eq!(reasons(&two), ["the name `image/two` leads to it"]);
    let layer = store.image(&one).unwrap().layers[0];
    assert_eq!(reasons(&layer), [format!("image `{one}` has it: it is pinned")]);
    assert!(store.unpin(&one).unwrap() && !store.unpin(&one).unwrap());
    assert_eq!(reasons(&one), Vec::<String>::new());
    collect(store, &CollectOptions::default(), &[]);
    assert_eq!(store.images().unwrap(), [two]);
}
