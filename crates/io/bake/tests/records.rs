//! Records that came with an image, or were put beside it: what this home wrote itself stands before them.

mod support;

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{BakeRecord, LayerSource, recorded_elsewhere};
use hornero_model::Digest;
use hornero_spec::Base;
use hornero_store::{ImageManifest, Store};
use support::home::{Home, chain, image, name};

fn archive() -> Archive {
    Archive::with(&[
        shell(),
        dpkg(),
        Package::new("scripted", "1").postinst("echo configured > /etc/configured"),
    ])
}

/// `base` with packages, and `site` with commands.
fn home(archive: &Archive) -> Home {
    let mut home = Home::with_base(archive, &["scripted"]);
    let mut site = image("site", Base::Image(name("base")), &[]);
    site.run = vec!["echo one > /etc/one".to_owned(), "echo two > /etc/two".to_owned()];
    home.add(site);
    home
}

fn record(store: &Store, image: &Digest) -> BakeRecord {
    BakeRecord::of(store, image).unwrap().expect("it has a record")
}

/// Puts a record beside its image, as a pull does with what it was sent.
fn plant(store: &Store, record: &BakeRecord) {
    store.attach(&record.image, "bake", &serde_json::to_vec(record).unwrap()).unwrap();
}

#[test]
fn a_bake_from_the_cache_does_not_keep_a_record_that_came_with_the_image() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    let store = home.store();
    let own = record(&store, &site.digest);
    assert!(recorded_elsewhere(&store, &site.digest).unwrap().is_empty());
    let lies: [fn(&mut BakeRecord); 5] = [
        |record| record.name = name("other"),
        |record| record.parent = None,
        |record| drop(record.steps.pop()),
        |record| record.steps[0].sources = vec![LayerSource::Database],
        |record| record.program = "another program".to_owned(),
    ];
    for lie in lies {
        let mut lying = own.clone();
        lie(&mut lying);
        plant(&store, &lying);
        // One that does not fit the layers is no record at all.
        if lying.steps.len() == own.steps.len() {
            assert_eq!(recorded_elsewhere(&store, &site.digest).unwrap(), [site.digest].into());
        }
        let again = home.bake_one("site");
        assert!(again.cached && again.digest == site.digest, "{:?}", again.steps);
        assert_eq!(record(&store, &site.digest), own);
        assert!(recorded_elsewhere(&store, &site.digest).unwrap().is_empty());
    }
    // One that this home wrote stays, whatever the same image is called next.
    store.detach(&site.digest, "bake").unwrap();
    home.bake_one("site");
    assert_eq!(record(&store, &site.digest), own, "one that was lost is written again");
}

#[test]
fn what_lies_with_a_layer_does_not_stand_for_an_image_with_a_record() {
    let archive = archive();
    let mut home = home(&archive);
    let base = home.bake_one("base");
    let store = home.store();
    let top = *store.image(&base.digest).unwrap().layers.last().unwrap();
    let kind = format!("bake.{}", &base.digest.hex()[..32]);
    let mut lying = record(&store, &base.digest);
    lying.steps[0].sources = vec![LayerSource::Database; lying.steps[0].layers.len()];
    store.attach(&top, &kind, &serde_json::to_vec(&lying).unwrap()).unwrap();
    home.bake_one("site");
    let own = store.attachment(&base.digest, "bake").unwrap();
    assert_eq!(store.attachment(&top, &kind).unwrap(), own);
    // Damage is put right as well.
    let path = home.path.join("store/attachments").join(top.hex()).join(&kind);
    std::fs::write(path, "damaged").unwrap();
    home.get("site").run.push("echo three > /etc/three".to_owned());
    home.bake_one("site");
    assert_eq!(store.attachment(&top, &kind).unwrap(), own);
}

#[test]
fn a_line_that_leads_to_itself_ends_there() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    let store = home.store();
    let mut lying = record(&store, &site.digest);
    lying.steps.clear();
    lying.parent = Some(site.digest);
    plant(&store, &lying);
    let error = hornero_bake::reproduce(&home.context(), &store, &site.digest).unwrap_err();
    assert!(error.to_string().contains("is made from itself"), "{}", chain(&error));
    let ownership = hornero_bake::ownership(&store, &site.digest).unwrap();
    assert!(ownership.owners().is_empty(), "nothing is known of its layers");
    assert!(ownership.unowned().next().is_some());
}

/// Images of the same layers, each made on the next by its record; gives the first.
fn line_of(store: &Store, layers: &[Digest], record: &BakeRecord, count: usize) -> Digest {
    let image = |number: usize| {
        let mut manifest = ImageManifest::new(layers.to_vec(), Default::default());
        manifest.config.env.insert("NUMBER".to_owned(), number.to_string());
        store.put_image(&manifest).unwrap()
    };
    let mut below = record.image;
    for number in 0..count {
        let mut made = record.clone();
        (made.image, made.parent, made.steps) = (image(number), Some(below), Vec::new());
        plant(store, &made);
        below = made.image;
    }
    below
}

#[test]
fn a_line_has_a_sensible_length() {
    let archive = archive();
    let home = home(&archive);
    let base = home.bake_one("base");
    let store = home.store();
    let layers = store.image(&base.digest).unwrap().layers;
    let own = record(&store, &base.digest);
    let known = |count: usize| {
        let first = line_of(&store, &layers, &own, count);
        let ownership = hornero_bake::ownership(&store, &first).unwrap();
        ownership.unowned().next().is_none()
    };
    assert!(known(63), "64 images are a line");
    assert!(!known(64), "65 are none");
}

#[test]
fn a_record_that_is_too_large_is_none() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    let store = home.store();
    let own = record(&store, &site.digest);
    let mut large = own.clone();
    large.program = "x".repeat(300);
    plant(&store, &large);
    assert!(BakeRecord::of(&store, &site.digest).unwrap().is_none());
    let mut large = own.clone();
    large.steps[0].title = "x".repeat(17 << 20);
    plant(&store, &large);
    assert!(BakeRecord::of(&store, &site.digest).unwrap().is_none());
    assert!(home.bake_one("site").cached);
    assert_eq!(record(&store, &site.digest), own);
}

#[test]
fn an_image_with_the_content_of_one_below_it_leaves_that_ones_record() {
    let archive = archive();
    let mut home = home(&archive);
    let base = home.bake_one("base");
    let store = home.store();
    let own = record(&store, &base.digest);
    let mut same = image("same", Base::Image(name("base")), &[]);
    same.run = vec!["true".to_owned()];
    // Another configuration, and back again.
    let mut other = image("other", Base::Image(name("same")), &[]);
    other.config.env.insert("WORD".to_owned(), "other".to_owned());
    let back = image("back", Base::Image(name("other")), &[]);
    let mut next = image("next", Base::Image(name("back")), &[]);
    next.run = vec!["echo next > /etc/next".to_owned()];
    for image in [same, other, back, next] {
        home.add(image);
    }
    for name in ["same", "back"] {
        assert_eq!(home.bake_one(name).digest, base.digest, "{name}");
        assert_eq!(record(&store, &base.digest), own, "{name}");
    }
    let next = home.bake_one("next");
    for image in [&base.digest, &next.digest] {
        let again = hornero_bake::reproduce(&home.context(), &store, image);
        let again = again.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(again.is_same(), "{:?}", again.differences);
        let ownership = hornero_bake::ownership(&store, image).unwrap();
        assert!(!ownership.owners().is_empty());
    }
}
