//! Patching a directory: what changes is told, bases are baked, images on them moved; and images placed on an older
//! base.

mod support;

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{
    BakeError, BakeOptions, BakeRecord, PackageChangeKind, PatchOptions, PatchReport, PatchedHow,
};
use hornero_model::{Digest, ImageName};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use support::home::{Home, chain, image, name};

fn library(version: &str) -> Package {
    Package::new("library", version).file("usr/share/library/data", 0o644, format!("{version}\n"))
}

fn tool(version: &str) -> Package {
    tool_with("library", version)
}

fn tool_with(depends: &str, version: &str) -> Package {
    let package = Package::new("tool", version).depends(depends);
    package.postinst(&format!("echo {version} > /etc/tool"))
}

fn archive() -> Archive {
    Archive::with(&[shell(), dpkg(), library("1"), tool("1")])
}

fn copy(from: &str, to: &str) -> CopySource {
    let (from, to) = (from.to_owned(), to.to_owned());
    CopySource { from, kind: SourceKind::File, to, mode: None, owner: CopyOwner::default() }
}

/// `base` with the library, `site` with the tool and a page, `plain` with a page alone, and `top` on `site`.
fn home(archive: &Archive) -> Home {
    let mut home = Home::with_base(archive, &["library"]);
    home.write("page", "page\n");
    let mut site = image("site", Base::Image(name("base")), &["tool"]);
    site.copies = vec![copy("page", "/srv/page")];
    let mut plain = image("plain", Base::Image(name("base")), &[]);
    plain.copies = vec![copy("page", "/srv/page")];
    let mut top = image("top", Base::Image(name("site")), &[]);
    top.run = vec!["echo top > /srv/top".to_owned()];
    for image in [site, plain, top] {
        home.add(image);
    }
    home
}

const ALL: [&str; 4] = ["base", "site", "plain", "top"];

fn patch(home: &Home, dry_run: bool) -> Result<PatchReport, BakeError> {
    let names: Vec<ImageName> = ALL.iter().map(|text| name(text)).collect();
    let options = PatchOptions { dry_run };
    hornero_bake::patch(&home.context(), &home.store(), &home.spec, &home.source, &names, options)
}

fn digests(home: &Home) -> Vec<Digest> {
    home.bake(&ALL).unwrap().iter().map(|baked| baked.digest).collect()
}

fn how(report: &PatchReport) -> Vec<PatchedHow> {
    report.images.iter().map(|image| image.how).collect()
}

fn lock(home: &Home) -> Vec<u8> {
    std::fs::read(home.source.join("hornero.lock")).unwrap()
}

#[test]
fn a_security_update_of_the_base_moves_the_images_on_it() {
    let mut archive = archive();
    let home = home(&archive);
    let old = digests(&home);
    let old_lock = lock(&home);
    let same = patch(&home, false).unwrap();
    assert_eq!((same.changes.len(), how(&same)), (0, vec![PatchedHow::Unchanged; 4]));

    archive.put_security(library("1+security1"));
    archive.publish();
    let dry = patch(&home, true).unwrap();
    let [change] = dry.changes.as_slice() else { panic!("{:?}", dry.changes) };
    assert_eq!((change.image.as_str(), change.package.as_str()), ("base", "library"));
    assert_eq!((change.old.as_deref(), change.new.as_deref()), (Some("1"), Some("1+security1")));
    assert_eq!((change.kind, change.security), (PackageChangeKind::Upgraded, true));
    assert!(change.archive.ends_with(" test-security"), "{}", change.archive);
    assert_eq!(dry.images, []);
    assert_eq!(lock(&home), old_lock);

    let report = patch(&home, false).unwrap();
    assert_eq!(report.changes, dry.changes);
    use PatchedHow::{Baked, Rebased};
    assert_eq!(how(&report), [Baked, Rebased, Rebased, Rebased], "{report:?}");
    let was: Vec<Option<Digest>> = report.images.iter().map(|image| image.old).collect();
    assert_eq!(was, old.iter().copied().map(Some).collect::<Vec<_>>());
    let [base, site, plain, top] = report.images.as_slice() else { panic!() };
    assert_eq!(
        (site.base_new, plain.base_new, top.base_new),
        (Some(base.new), Some(base.new), Some(site.new))
    );
    assert_eq!((site.base_old, top.base_old), (base.old, site.old));
    assert_ne!(lock(&home), old_lock);

    // The next bake from the new lock finds what was made, and what was there before is still there.
    let baked = home.bake(&ALL).unwrap();
    assert!(baked.iter().all(|baked| baked.cached));
    assert!(baked.iter().zip(&report.images).all(|(baked, patched)| baked.digest == patched.new));
    for image in &baked[1..] {
        assert_eq!(home.read(image, "/usr/share/library/data"), "1+security1\n");
        assert_eq!(home.read(image, "/srv/page"), "page\n");
        let status = home.read(image, "/var/lib/dpkg/status");
        assert!(status.contains("Version: 1+security1"), "{status}");
    }
    let store = home.store();
    assert!(old.iter().all(|digest| store.has_image(digest)));
    let record = BakeRecord::of(&store, &old[0]).unwrap().unwrap();
    let kept = record.locked.unwrap().packages;
    assert!(kept.iter().any(|package| package.title() == "library 1"));
}

#[test]
fn an_image_that_is_edited_after_a_patch_is_baked_itself() {
    let mut archive = archive();
    let mut home = home(&archive);
    digests(&home);
    archive.put_security(library("1+security1"));
    archive.publish();
    let report = patch(&home, false).unwrap();
    let moved = report.images[1].new;
    let record = |image: &Digest| BakeRecord::of(&home.store(), image).unwrap().unwrap();
    let before = record(&moved);
    assert!(before.moved.is_some());
    // The image as a whole is known, and its record goes on saying how it came to be.
    let baked = home.bake_one("site");
    assert!(baked.cached && baked.digest == moved);
    assert_eq!(record(&moved), before);

    let reproduced = |home: &Home, image: &Digest| {
        let again = hornero_bake::reproduce(&home.context(), &home.store(), image);
        let again = again.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(again.is_same(), "{again:?}");
    };
    reproduced(&home, &moved);
    let store = home.store();
    for edit in ["command", "page"] {
        match edit {
            "page" => home.write("page", "edited\n"),
            _ => home.get("site").config.command = vec!["/bin/tool".to_owned()],
        }
        let baked = home.bake_one("site");
        let steps: Vec<(bool, &str)> =
            baked.steps.iter().map(|step| (step.cached, step.why.as_str())).collect();
        let record = BakeRecord::of(&store, &baked.digest).unwrap().unwrap();
        assert_eq!((record.image, record.moved.is_some()), (baked.digest, false), "{steps:?}");
        reproduced(&home, &baked.digest);
        if edit == "command" {
            let foreign = "the cache has it only as it was moved with another image";
            assert_eq!(steps[0], (false, foreign), "{steps:?}");
        }
    }
    reproduced(&home, &moved);
}

#[test]
fn an_image_whose_own_packages_changed_is_baked() {
    let mut archive = archive();
    let home = home(&archive);
    digests(&home);
    archive.put(tool("2"));
    archive.publish();
    let report = patch(&home, false).unwrap();
    use PatchedHow::{Baked, Rebased, Unchanged};
    assert_eq!(how(&report), [Unchanged, Baked, Unchanged, Rebased], "{report:?}");
    assert!(!report.changes[0].security);
    let top = &home.bake(&["top"]).unwrap()[0];
    assert_eq!(home.read(top, "/etc/tool"), "2\n");
}

#[test]
fn what_the_proof_refuses_is_baked_and_the_reason_told() {
    let mut archive = archive();
    let mut home = home(&archive);
    // The page takes the place of a file of the library, which changes.
    home.get("plain").copies = vec![copy("page", "/usr/share/library/data")];
    digests(&home);
    archive.put(library("2"));
    archive.publish();
    let report = patch(&home, false).unwrap();
    let plain = &report.images[2];
    assert_eq!(plain.how, PatchedHow::Baked);
    let text = format!("{:?}", plain.refusals);
    assert!(text.contains("/usr/share/library/data"), "{text}");
    assert_eq!(report.images[1].how, PatchedHow::Rebased);
    assert_eq!(home.read(&home.bake(&["plain"]).unwrap()[0], "/usr/share/library/data"), "page\n");
}

#[test]
fn nothing_changes_where_resolving_or_baking_fails() {
    let mut archive = archive();
    let home = home(&archive);
    digests(&home);
    let before = (lock(&home), home.store().images().unwrap());
    // The library's successor breaks the tool.
    archive.put(library("2").field("Breaks", "tool"));
    archive.publish();
    let error = patch(&home, false).unwrap_err();
    assert!(matches!(error, BakeError::Unsatisfiable { .. }), "{}", chain(&error));
    assert_eq!((lock(&home), home.store().images().unwrap()), before);

    archive.put(library("3").postinst("exit 7"));
    archive.publish();
    let error = patch(&home, false).unwrap_err();
    assert!(matches!(error, BakeError::Step { .. }), "{}", chain(&error));
    assert_eq!((lock(&home), home.store().images().unwrap()), before);
}

fn on(home: &Home, names: &[&str], base: &Digest) -> Result<Vec<Digest>, BakeError> {
    let baked = home.bake_with(names, BakeOptions { base: Some(*base), ..Default::default() })?;
    Ok(baked.iter().map(|baked| baked.digest).collect())
}

#[test]
fn an_older_base_is_taken_when_asked_for() {
    let mut archive = archive();
    let home = home(&archive);
    let old = digests(&home);
    archive.put(library("2"));
    archive.publish();
    patch(&home, false).unwrap();
    let new = digests(&home);
    assert_eq!(on(&home, &["site", "plain", "top"], &old[0]).unwrap(), old[1..]);
    assert_eq!(on(&home, &["site", "plain", "top"], &new[0]).unwrap(), new[1..]);

    // A page that changed since is put on the older base.
    home.write("page", "newer\n");
    let [site, top] = on(&home, &["site", "top"], &old[0]).unwrap()[..] else { panic!() };
    assert!(site != old[1] && top != old[3]);
    let read = |path: &str| home.store().read_file(&top, path).unwrap();
    assert_eq!(
        (read("/srv/page"), read("/usr/share/library/data")),
        (b"newer\n".to_vec(), b"1\n".to_vec())
    );
    let record = BakeRecord::of(&home.store(), &top).unwrap().unwrap();
    assert_eq!(record.parent, Some(site));
}

#[test]
fn a_base_that_the_image_does_not_hold_on_is_refused_with_the_reasons() {
    let mut archive = archive();
    let home = home(&archive);
    let old = digests(&home);
    archive.put(library("2")).put(tool_with("library (>= 2)", "2"));
    archive.publish();
    patch(&home, false).unwrap();
    let error = on(&home, &["site"], &old[0]).unwrap_err();
    let reasons = format!("{:?}", error.refusals());
    assert!(reasons.contains("library"), "{}: {reasons}", chain(&error));
    assert!(error.hint().unwrap().contains("library"), "{:?}", error.hint());

    for (digest, expected) in [
        (Digest::of(b"none"), "it is not in the store"),
        (old[1], "it is made on another image itself"),
    ] {
        let error = on(&home, &["site"], &digest).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = on(&home, &["base"], &old[0]).unwrap_err().to_string();
    assert!(error.contains("none of the images is made on that"), "{error}");
}
