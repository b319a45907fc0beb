//! Moves that hold: what comes of them, how many at once, and that no content is opened.

use std::{fs, os::fd::OwnedFd};

use hornero_archive::{Archive, Package, shell};
use hornero_bake::{BakeRecord, RebaseError, Rebaser, facts, rebase};
use hornero_model::Digest;
use hornero_rebase::{FACTS_KIND, LayerFacts, RefusalKind};
use hornero_spec::Base;
use hornero_store::Store;

use crate::{
    bench::{Bench, FORCE, PLAIN, file, patched},
    support::{
        self,
        home::{Home, image, name},
        sandbox::run,
    },
};

#[test]
fn an_app_moves_onto_a_patched_base_and_runs() {
    let mut bench = Bench::new();
    let base = bench.base_of(&patched());
    let store = bench.store();
    let watch = Watch::new(&store);
    let moved = rebase(&store, &bench.app, &base, PLAIN)
        .unwrap_or_else(|error| panic!("{}", support::home::chain(&error)));
    assert_eq!(watch.opened(), 0, "a move opens no content");
    assert_eq!((moved.old_base, moved.new_base, moved.forced), (bench.base, base, false));
    assert_ne!(moved.image, bench.app);

    assert_eq!(run(&store, &moved.image, &["/usr/bin/app"]), "123\n");
    assert_eq!(run(&store, &moved.image, &["/usr/bin/script"]), "script\n");
    let read =
        |path: &str| String::from_utf8(store.read_file(&moved.image, path).unwrap()).unwrap();
    assert_eq!(
        (read("/etc/greet/motd"), read("/srv/made")),
        ("own\n".to_owned(), "made\n".to_owned())
    );
    assert_eq!(read("/usr/share/doc/greet/changelog"), "fixed\n");
    assert!(store.lookup(&moved.image, "/etc/greet/gone").is_err());
    // dpkg itself reads the status that was written anew.
    let query = ["/usr/bin/dpkg-query", "-W", "-f", "${Package} ${Version} ${Status}\n"];
    let listed = run(&store, &moved.image, &query);
    for line in ["app 1.0 install ok installed", "greet 1.0+patched install ok installed"] {
        assert!(listed.lines().any(|one| one == line), "{listed}");
    }

    let record = BakeRecord::of(&store, &moved.image).unwrap().unwrap();
    assert_eq!(record.parent, Some(base));
    let how = record.moved.unwrap();
    assert_eq!((how.image, how.base, how.forced), (bench.app, base, false));
    let manifest = store.image(&moved.image).unwrap();
    let own: Vec<Digest> = record.steps.iter().flat_map(|step| step.layers.clone()).collect();
    assert!(manifest.layers.ends_with(&own));

    // Moving it back gives the image it was; moving it again, the same as before.
    let back = rebase(&store, &moved.image, &bench.base, FORCE).unwrap();
    let status = |image: &Digest| store.read_file(image, "/var/lib/dpkg/status").unwrap();
    assert_eq!(
        String::from_utf8(status(&back.image)).unwrap(),
        String::from_utf8(status(&bench.app)).unwrap()
    );
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved.image);
    // The old base's own manifest is needed for none of it.
    fs::remove_file(store.dir().join("images").join(bench.base.hex())).unwrap();
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved.image);
    // A base has nothing to be moved from.
    let refused = rebase(&store, &base, &bench.app, PLAIN).unwrap_err();
    assert!(matches!(refused, RebaseError::NoParent(image) if image == base), "{refused}");
}

#[test]
fn a_whole_line_of_images_moves() {
    let mut bench = Bench::new();
    let mut leaf = image("leaf", Base::Image(name("app")), &[]);
    leaf.run = vec!["echo leaf > /srv/leaf".to_owned()];
    bench.home.add(leaf);
    let leaf = bench.home.bake_one("leaf").digest;
    // Of the base's own name: a new version of what lies two images down.
    let base = bench.replace(&patched());
    let store = bench.store();
    let moved = rebase(&store, &leaf, &base, PLAIN).unwrap();
    assert_eq!((moved.old_base, moved.new_base), (bench.base, base));
    let record = BakeRecord::of(&store, &moved.image).unwrap().unwrap();
    let middle = BakeRecord::of(&store, &record.parent.unwrap()).unwrap().unwrap();
    assert_eq!((middle.name, middle.parent), (name("app"), Some(base)));
    assert_eq!(run(&store, &moved.image, &["/usr/bin/app"]), "123\n");
}

#[test]
fn facts_are_recorded_once_and_made_again_where_they_are_missing() {
    let mut bench = Bench::new();
    let base = bench.base_of(&patched());
    let store = bench.store();
    let layers = store.image(&bench.app).unwrap().layers;
    let mut recorded = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let facts = store.attachment(layer, FACTS_KIND).unwrap();
        recorded.push(facts.unwrap_or_else(|| panic!("layer {number} has no facts")));
    }
    let moved = rebase(&store, &bench.app, &base, PLAIN).unwrap().image;
    for layer in &layers {
        store.detach(layer, FACTS_KIND).unwrap();
    }
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved);
    for (number, (layer, before)) in layers.iter().zip(&recorded).enumerate() {
        let again = facts::of_layer(&store, layer, &layers[..number]).unwrap();
        assert_eq!(&again.encode(), before, "layer {number}");
    }
    // Facts recorded above another status, and bytes that are none: both are made again.
    for (layer, before) in layers.iter().zip(&recorded) {
        let mut facts = LayerFacts::decode(before).unwrap();
        let bytes = match &mut facts.status {
            Some(status) => {
                status.against = Some(Digest::of(b"another status"));
                facts.encode()
            }
            None => b"no facts".to_vec(),
        };
        store.attach(layer, FACTS_KIND, &bytes).unwrap();
    }
    assert_eq!(rebase(&store, &bench.app, &base, PLAIN).unwrap().image, moved);
    for (layer, before) in layers.iter().zip(&recorded) {
        assert_eq!(&store.attachment(layer, FACTS_KIND).unwrap().unwrap(), before);
    }
}

#[test]
fn many_images_move_at_once_each_with_its_own_outcome() {
    let mut bench = Bench::new();
    let mut apps = vec![bench.app];
    for number in 0..4 {
        let title = format!("many-{number}");
        let mut one = image(&title, Base::Image(name("base")), &[]);
        one.run = vec![format!("mkdir -p /srv && echo {number} > /srv/number")];
        if number == 3 {
            one.run.push("echo own > /etc/greet/new".to_owned());
        }
        bench.home.add(one);
        apps.push(bench.home.bake_one(&title).digest);
    }
    let mut new = patched();
    new.push(Package::new("new", "1").essential().file("etc/greet/new", 0o644, "base\n"));
    let base = bench.base_of(&new);
    let store = bench.store();
    let rebaser = Rebaser::new(&store, &bench.base, &base).unwrap();
    let moved = rebaser.images(&apps, PLAIN).unwrap();
    assert_eq!(moved.len(), apps.len());
    for (number, outcome) in moved.iter().enumerate() {
        match outcome {
            Ok(moved) => {
                assert_eq!(moved.from, apps[number]);
                assert!(store.has_image(&moved.image));
                assert_eq!(store.image(&moved.image).unwrap().layers.len(), {
                    store.image(&apps[number]).unwrap().layers.len() + 1
                });
            }
            Err(error) => {
                assert_eq!(number, 4);
                file(error.refusals(), RefusalKind::PathBrought, "/etc/greet/new");
            }
        }
    }
    assert!(moved[4].is_err());
}

/// Counts how often contents of a store are opened, by any process.
struct Watch {
    inotify: OwnedFd,
}

impl Watch {
    fn new(store: &Store) -> Self {
        use rustix::fs::inotify;
        let inotify =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
        for shard in fs::read_dir(store.objects_dir()).unwrap() {
            let path = shard.unwrap().path();
            inotify::add_watch(&inotify, &path, inotify::WatchFlags::OPEN).unwrap();
        }
        Self { inotify }
    }

    /// Opened files so far; opening a directory of them counts for nothing.
    fn opened(&self) -> usize {
        use rustix::fs::inotify;
        let mut space = [std::mem::MaybeUninit::uninit(); 64 << 10];
        let mut events = inotify::Reader::new(&self.inotify, &mut space);
        let mut opened = 0;
        while let Ok(event) = events.next() {
            opened += usize::from(!event.events().contains(inotify::ReadFlags::ISDIR));
        }
        opened
    }
}

#[test]
fn the_watch_sees_what_is_opened() {
    let archive = Archive::with(&[shell()]);
    let home = Home::with_base(&archive, &[]);
    let base = home.bake_one("base");
    let store = home.store();
    let watch = Watch::new(&store);
    assert_eq!(watch.opened(), 0);
    let _ = store.read_file(&base.digest, "/etc/passwd").unwrap();
    assert_eq!(watch.opened(), 1);
}
