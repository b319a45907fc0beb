//! Baking again what was recorded: the same bytes, or the files that differ and in what.

mod support;

use hornero_archive::{Archive, Package, dpkg, shell};
use hornero_bake::{BakedImage, Differs, LayerSource, Reproduction};
use hornero_spec::{Base, CopyOwner, CopySource, SourceKind};
use hornero_store::ImageManifest;
use support::home::{Home, chain, image, name};

fn archive() -> Archive {
    Archive::with(&[
        shell(),
        dpkg(),
        Package::new("scripted", "1").postinst("echo configured > /etc/configured"),
    ])
}

/// `base`, `middle` with a package that has scripts, and `site` with a copy and a command.
fn home(archive: &Archive) -> Home {
    let mut home = Home::with_base(archive, &[]);
    home.add(image("middle", Base::Image(name("base")), &["scripted"]));
    let mut site = image("site", Base::Image(name("middle")), &[]);
    home.write("public/a", "a\n");
    home.write("public/b/c", "c\n");
    site.copies = vec![CopySource {
        from: "public".to_owned(),
        kind: SourceKind::Directory,
        to: "/srv".to_owned(),
        mode: None,
        owner: CopyOwner { user: "www".to_owned(), group: Some("staff".to_owned()) },
    }];
    site.run = vec!["echo $KEY > /etc/key".to_owned()];
    site.config.env.insert("KEY".to_owned(), "value".to_owned());
    home.add(site);
    home
}

fn reproduce(home: &Home, image: &BakedImage) -> Result<Reproduction, hornero_bake::BakeError> {
    hornero_bake::reproduce(&home.context(), &home.store(), &image.digest)
}

#[test]
fn what_was_recorded_gives_the_same_bytes() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    // Neither the directory nor the archive is needed any more.
    std::fs::remove_dir_all(&home.source).unwrap();
    drop(archive);
    let again = reproduce(&home, &site).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(again.is_same(), "{again:?}");
    assert_eq!((again.differences, again.layers), (Vec::new(), Vec::new()));
    assert_eq!((again.networked, again.imported), (Vec::new(), Vec::new()));
    let left: Vec<_> = std::fs::read_dir(home.path.join("tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_package_that_is_nowhere_any_more_is_named() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    let bytes = Package::new("scripted", "1").postinst("echo configured > /etc/configured").build();
    let cached = hornero_model::Digest::of(&bytes).hex();
    std::fs::remove_file(home.path.join("cache/packages").join(cached)).unwrap();
    assert!(reproduce(&home, &site).unwrap().is_same(), "the archive still has it");
    let cached = hornero_model::Digest::of(&bytes).hex();
    std::fs::remove_file(home.path.join("cache/packages").join(cached)).unwrap();
    drop(archive);
    let error = reproduce(&home, &site).unwrap_err();
    assert!(chain(&error).contains("package `scripted 1`"), "{}", chain(&error));
}

#[test]
fn an_identity_that_a_package_makes_up_differs_and_is_told_of_once() {
    use hornero_bake::progress::BakeEvent;
    let uuid = "read id < /proc/sys/kernel/random/uuid\n";
    let archive = Archive::with(&[
        shell(),
        dpkg(),
        // As varnish, open-iscsi and postgresql do: a secret, a name and a cluster with an identifier.
        Package::new("identified", "1").postinst(&format!(
            "{uuid}umask 077; echo $id > /etc/secret\n\
             {uuid}umask 022; echo \"# name\nInitiatorName=x:$id\" > /etc/initiator\n\
             {uuid}mkdir -p /var/lib/cluster; echo \"$id and so on\" > /var/lib/cluster/control"
        )),
    ]);
    let home = Home::with_base(&archive, &["identified"]);
    let base = home.bake_one("base");
    let secret = BakeEvent::SecretInImage { image: name("base"), path: "/etc/secret".to_owned() };
    let told = |event: &BakeEvent| matches!(event, BakeEvent::SecretInImage { .. });
    let heard: Vec<BakeEvent> = home.heard().into_iter().filter(told).collect();
    assert_eq!(heard, [secret]);
    let again = reproduce(&home, &base).unwrap();
    let paths: Vec<&str> = again.differences.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["/etc/initiator", "/etc/secret", "/var/lib/cluster/control"]);
    assert!(again.differences.iter().all(|file| file.owner == Some(LayerSource::Configured)));
    assert!(!home.heard().iter().any(told), "of the image that goes away again");
}

#[test]
fn what_differs_is_named() {
    let archive = archive();
    let mut home = home(&archive);
    let command =
        "read id < /proc/sys/kernel/random/uuid; echo $id > /etc/id; echo same > /etc/same";
    home.get("middle").run = vec![command.to_owned()];
    let site = home.bake_one("site");
    let again = reproduce(&home, &site).unwrap();
    assert!(!again.is_same());
    let [one] = again.differences.as_slice() else { panic!("{:?}", again.differences) };
    assert_eq!((one.path.as_str(), &*one.what), ("/etc/id", &[Differs::Content][..]));
    assert!(matches!(&one.owner, Some(LayerSource::Run { command }) if command.contains("uuid")));
    let [layer] = again.layers.as_slice() else { panic!("{:?}", again.layers) };
    assert!(matches!(&layer.source, Some(LayerSource::Run { .. })), "{layer:?}");
}

#[test]
fn every_aspect_of_a_difference_is_told() {
    let archive = archive();
    let home = home(&archive);
    let site = home.bake_one("site");
    let store = home.store();
    // An image that claims to have been made by the same steps, with another last layer.
    let script =
        "chmod 600 /etc/key; echo more >> /etc/key; rm /etc/configured; echo x > /etc/extra";
    let mut other = Home::at(&home.path, &home.source);
    other.spec = home.spec.clone();
    other.get("site").run.push(script.to_owned());
    let changed = other.bake_one("site");
    let manifest = store.image(&changed.digest).unwrap();
    let bytes = store.attachment(&changed.digest, "bake").unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    // Its last command is taken for one that did nothing.
    let last = record["steps"].as_array_mut().unwrap().last_mut().unwrap();
    last["action"]["command"] = ":".into();
    store.attach(&changed.digest, "bake", &serde_json::to_vec(&record).unwrap()).unwrap();
    let again = reproduce(&home, &changed).unwrap();
    let found: Vec<(&str, &[Differs])> =
        again.differences.iter().map(|one| (one.path.as_str(), &*one.what)).collect();
    assert_eq!(
        found,
        [
            ("/etc/configured", &[Differs::Extra][..]),
            ("/etc/extra", &[Differs::Missing]),
            ("/etc/key", &[Differs::Content, Differs::Size, Differs::Mode]),
        ]
    );
    assert_eq!(again.layers.len(), 1);
    assert_eq!(
        (again.layers[0].recorded, again.layers[0].made),
        (manifest.layers.last().copied(), None)
    );
    assert_eq!(again.made, site.digest);
}

#[test]
fn an_import_below_is_taken_as_it_is_and_a_stranger_is_refused() {
    let archive = archive();
    let mut home = home(&archive);
    let base = home.bake_one("base");
    let store = home.store();
    let tree = store.tree(&base.digest).unwrap();
    let layer = store.put_layer(&(*tree).clone().into_layer()).unwrap();
    let stray = store.put_image(&ImageManifest::new(vec![layer], Default::default())).unwrap();
    let error = hornero_bake::reproduce(&home.context(), &store, &stray).unwrap_err();
    assert!(error.to_string().contains("no record of its bake or import"), "{error}");
    store.attach(&stray, "import", br#"{"from":"a tarball"}"#).unwrap();
    home.get("site").base = Base::Stored(hornero_spec::StoredImage::Digest(stray));
    let site = home.bake_one("site");
    let again = reproduce(&home, &site).unwrap();
    assert!(again.is_same());
    assert_eq!(again.imported, [stray]);
}

/// Takes down the network of a home, also when its test fails.
struct Network(std::path::PathBuf);

impl Drop for Network {
    fn drop(&mut self) {
        if let Ok(network) = hornero_net::HomeNetwork::open(&self.0) {
            let _ = network.down();
        }
    }
}

#[test]
fn steps_with_a_network_are_told() {
    let archive = archive();
    let mut home = home(&archive);
    home.get("site").network = true;
    let _network = Network(home.path.clone());
    let site = home.bake_one("site");
    let again = reproduce(&home, &site).unwrap();
    assert!(again.is_same());
    assert_eq!(again.networked, [(name("site"), "run `echo $KEY > /etc/key`".to_owned())]);
}

#[test]
fn an_image_that_was_moved_is_moved_again() {
    let mut archive = archive();
    let library = |version: &str| Package::new("library", version).essential();
    archive.put(library("1"));
    archive.publish();
    let home = home(&archive);
    home.bake_one("site");
    let mut last = None;
    for version in ["2", "3"] {
        archive.put(library(version));
        archive.publish();
        let names = [name("site")];
        let (context, store) = (home.context(), home.store());
        let options = hornero_bake::PatchOptions::default();
        let report =
            hornero_bake::patch(&context, &store, &home.spec, &home.source, &names, options);
        let report = report.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(report.images[0].how, hornero_bake::PatchedHow::Rebased, "{report:?}");
        last = Some(report.images[0].new);
    }
    drop(archive);
    let (context, store, last) = (home.context(), home.store(), last.unwrap());
    let again = hornero_bake::reproduce(&context, &store, &last);
    let again = again.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(again.is_same(), "{again:?}");

    let record = hornero_bake::BakeRecord::of(&store, &last).unwrap().unwrap();
    let from = record.moved.unwrap().image;
    std::fs::remove_file(home.path.join("store/images").join(from.hex())).unwrap();
    let error = hornero_bake::reproduce(&context, &store, &last).unwrap_err().to_string();
    assert!(error.contains("which it was moved from, is no longer in the store"), "{error}");
}
