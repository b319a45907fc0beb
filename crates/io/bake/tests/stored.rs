//! Images made on an image that is in the store already: found by name or digest, pinned by the lock.

mod support;

use hornero_archive::{Archive, shell};
use hornero_bake::{BakeOptions, BakedImage, LockMode};
use hornero_model::Digest;
use hornero_spec::{Base, StoredImage};
use support::home::{Home, chain, image, name};

/// A home with a base in its store that its file does not tell of, under the name `imported`.
fn home(archive: &Archive) -> (Home, BakedImage) {
    let mut home = Home::with_base(archive, &[]);
    home.get("base").config.env.insert("FROM".to_owned(), "base".to_owned());
    let base = home.bake_one("base");
    home.store().set_ref("image/imported", &base.digest).unwrap();
    home.spec.images.clear();
    std::fs::remove_file(home.source.join("hornero.lock")).unwrap();
    let mut site = image("site", Base::Stored(StoredImage::Name(name("imported"))), &[]);
    site.run = vec!["echo \"$FROM $SOURCE_DATE_EPOCH\" > /srv-made".to_owned()];
    home.add(site);
    (home, base)
}

/// Another image under the same name.
fn move_name(home: &mut Home) -> Digest {
    let mut other = image("other", Base::Stored(StoredImage::Name(name("imported"))), &[]);
    other.run = vec!["echo other > /other".to_owned()];
    let site = home.spec.images.remove(&name("site")).unwrap();
    let lock = std::fs::read(home.source.join("hornero.lock")).unwrap();
    home.add(other);
    let digest = home.bake_one("other").digest;
    home.store().set_ref("image/imported", &digest).unwrap();
    home.spec.images.clear();
    home.add(site);
    std::fs::write(home.source.join("hornero.lock"), lock).unwrap();
    digest
}

fn parent(home: &Home, image: &BakedImage) -> Option<Digest> {
    hornero_bake::BakeRecord::of(&home.store(), &image.digest).unwrap().unwrap().parent
}

#[test]
fn is_pinned_by_the_lock_until_asked_to_update() {
    let archive = Archive::with(&[shell()]);
    let (mut home, base) = home(&archive);
    let first = home.bake_one("site");
    assert_eq!(home.read(&first, "/srv-made"), "base 1700000000\n", "what it is made on counts");
    assert_eq!(parent(&home, &first), Some(base.digest));
    let locked = home.lock(LockMode::Frozen).unwrap();
    assert_eq!(locked.stored, [(name("imported"), base.digest)].into());

    let other = move_name(&mut home);
    let again = home.bake_one("site");
    assert!(again.cached && again.digest == first.digest, "a name that moved changes nothing");
    home.bake_with(&["site"], BakeOptions { locked: true, ..Default::default() }).unwrap();

    home.lock(LockMode::Update).unwrap();
    let updated = home.bake_one("site");
    assert_eq!(parent(&home, &updated), Some(other));
    assert_eq!(home.read(&updated, "/other"), "other\n");
}

#[test]
fn a_frozen_lock_takes_no_image_that_it_does_not_name() {
    let archive = Archive::with(&[shell()]);
    let (home, _) = home(&archive);
    let locked = BakeOptions { locked: true, ..Default::default() };
    let error = home.bake_with(&["site"], locked).unwrap_err();
    assert!(chain(&error).contains("`hornero.lock` does not fit image `site`"), "{error}");
    assert!(chain(&error).contains("`imported`"), "{error}");
}

#[test]
fn one_that_is_missing_says_how_to_bring_it_in() {
    let archive = Archive::with(&[shell()]);
    let (mut home, base) = home(&archive);
    home.bake_one("site");
    for missing in
        [StoredImage::Name(name("nowhere")), StoredImage::Digest(Digest::of(b"no image"))]
    {
        home.get("site").base = Base::Stored(missing.clone());
        let error = home.bake(&["site"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&format!("`{missing}`")) && text.contains("`site`"), "{text}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("hornero image import") && hint.contains("pull"), "{hint}");
    }
    home.get("site").base = Base::Stored(StoredImage::Digest(base.digest));
    assert_eq!(parent(&home, &home.bake_one("site")), Some(base.digest));
}
