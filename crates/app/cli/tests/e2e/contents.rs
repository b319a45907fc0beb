//! What is in an image and what two images have differently, told of real packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use hornero_model::Digest;
use hornero_store::{EntryKind, Store};
use serde_json::Value;

use crate::{home::Home, site::Site, validators};

/// A built site, and the identity of its image.
fn built() -> (Home, Digest) {
    let home = Home::new();
    let site = Site { image: r#"run = ["echo made >/srv/made"]"#, ..Site::default() };
    site.write(&home, "what is in here");
    let images = home.run(&["build", "--json"]).expect(0).json();
    let images = images["images"].as_array().unwrap().clone();
    let site = images.into_iter().find(|image| image["name"] == "site").unwrap();
    (home, site["digest"].as_str().unwrap().parse().unwrap())
}

fn texts<'v>(values: &'v Value, field: &str) -> Vec<&'v str> {
    values.as_array().unwrap().iter().map(|value| value[field].as_str().unwrap()).collect()
}

#[test]
fn every_file_has_one_owner_in_a_bill_of_materials() {
    let (home, digest) = built();
    let sbom = |format: &str| home.run(&["image", "sbom", "site", "--format", format]).expect(0);
    let spdx = sbom("spdx").json();
    let store = Store::open(home.path().join("store")).unwrap();
    let tree = store.tree(&digest).unwrap();
    let regular =
        tree.entries().iter().filter(|entry| matches!(entry.kind, EntryKind::File { .. }));
    let expected: BTreeSet<String> = regular.map(|entry| format!(".{}", entry.path)).collect();
    let names = texts(&spdx["files"], "fileName");
    assert_eq!(names.len(), expected.len(), "each once");
    assert_eq!(names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>(), expected);

    let id_of = |list: &str, field: &str, name: &str| {
        let found = spdx[list].as_array().unwrap().iter().find(|one| one[field] == name);
        found.unwrap_or_else(|| panic!("no `{name}`"))["SPDXID"].clone()
    };
    let owner_of = |path: &str| {
        let id = id_of("files", "fileName", path);
        let relations = spdx["relationships"].as_array().unwrap();
        let relation = relations.iter().find(|one| one["relatedSpdxElement"] == id).unwrap();
        let owner = relation["spdxElementId"].clone();
        let packages = spdx["packages"].as_array().unwrap();
        packages.iter().find(|one| one["SPDXID"] == owner).unwrap()["name"].clone()
    };
    assert_eq!(owner_of("./usr/bin/bash"), "bash");
    assert_eq!(owner_of("./srv/site/index.html"), "copy public");
    assert_eq!(owner_of("./srv/made"), "run echo made >/srv/made");
    // A configuration file that the project replaces is the project's.
    assert_eq!(owner_of("./etc/nginx/nginx.conf"), "copy nginx.conf");

    let bash =
        spdx["files"].as_array().unwrap().iter().find(|one| one["fileName"] == "./usr/bin/bash");
    let EntryKind::File { digest: content, .. } =
        store.lookup(&digest, "/usr/bin/bash").unwrap().kind
    else {
        panic!("bash is a file")
    };
    let object = store.objects_dir().join(&content.hex()[..2]).join(&content.hex()[2..]);
    let sum = Command::new("sha1sum").arg(object).output().unwrap().stdout;
    let sum = String::from_utf8(sum).unwrap();
    assert_eq!(bash.unwrap()["checksums"][0]["checksumValue"], sum.split(' ').next().unwrap());
    assert_eq!(bash.unwrap()["checksums"][1]["checksumValue"], content.hex());

    // What the bill says of packages is what dpkg in the image says.
    let status = store.read_file(&digest, "/var/lib/dpkg/status").unwrap();
    let status = String::from_utf8(status).unwrap();
    let field = |stanza: &str, name: &str| {
        let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    let installed: BTreeMap<String, String> = status
        .split("\n\n")
        .filter_map(|stanza| Some((field(stanza, "Package")?, field(stanza, "Version")?)))
        .collect();
    let cyclonedx = sbom("cyclonedx").json();
    let components = cyclonedx["components"].as_array().unwrap();
    let named = components.iter().filter(|one| one["purl"].is_string()).map(|one| {
        let purl = one["purl"].as_str().unwrap();
        assert!(
            purl.starts_with("pkg:deb/debian/") && purl.ends_with("&distro=debian-12"),
            "{purl}"
        );
        (one["name"].as_str().unwrap().to_owned(), one["version"].as_str().unwrap().to_owned())
    });
    assert_eq!(named.collect::<BTreeMap<_, _>>(), installed);

    assert_eq!(sbom("spdx").stdout, sbom("spdx").stdout, "equal images have equal documents");

    // Public readers of both formats have nothing to complain of, and find the same in them.
    let document = |name: &str, text: String| {
        let path = home.project().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let packages = spdx["packages"].as_array().unwrap().len();
    let path = document("site.spdx.json", sbom("spdx").stdout);
    assert_eq!(validators::check(&["spdx", &path]), format!("{packages} {}", names.len()));
    let path = document("site.cdx.json", sbom("cyclonedx").stdout);
    assert_eq!(validators::check(&["cyclonedx", &path]), installed.len().to_string());
}

#[test]
fn differences_are_told_by_package_file_and_configuration() {
    let (home, _) = built();
    let difference = home.run(&["image", "diff", "base", "site", "--json"]).expect(0).json();
    assert_eq!(difference["packages"], serde_json::json!([]), "both have the same packages");
    let files = difference["files"].as_array().unwrap();
    let of = |path: &str| files.iter().find(|one| one["path"] == path).unwrap();
    assert_eq!(of("/srv/site/index.html")["change"], "added");
    assert_eq!(of("/srv/site/index.html")["new"]["size_bytes"], "what is in here".len());
    let replaced = of("/etc/nginx/nginx.conf");
    assert_eq!(replaced["change"], "changed");
    assert!(replaced["what"].as_array().unwrap().contains(&"content".into()), "{replaced}");
    assert!(texts(&difference["config"], "field").contains(&"command"));

    // The other way round what was added was removed.
    let back = home.run(&["image", "diff", "site", "base", "--json"]).expect(0).json();
    let removed = back["files"].as_array().unwrap().iter().find(|one| one["path"] == "/srv/made");
    assert_eq!(removed.unwrap()["change"], "removed");

    let text = home.run(&["image", "diff", "base", "site"]).expect(0).stdout;
    assert!(text.lines().any(|line| line == "+ /srv/site/index.html (15 bytes)"), "{text}");
    assert_eq!(home.run(&["image", "diff", "site", "site"]).expect(0).stdout, "no difference\n");
    home.run(&["image", "diff", "site", "nothing"]).expect(5);
}
