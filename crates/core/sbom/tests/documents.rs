//! Documents hold what is known of an image, keep the rules of their formats, and are equal for equal images.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use std::collections::BTreeSet;

use expect_test::expect;
use hornero_model::Digest;
use hornero_sbom::{
    Bill, BillError, Component, Distribution, File, FileKind, Package, Source, SourceKind,
    cyclonedx, spdx,
};
use serde_json::Value;

fn package(name: &str, version: &str) -> Component {
    Component::Package(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: "amd64".to_owned(),
        source: "gcc-12".to_owned(),
        source_version: "12.2.0-14".to_owned(),
        digest: Some(Digest::of(name.as_bytes())),
    })
}

fn source(title: &str, kind: SourceKind) -> Component {
    Component::Source(Source { title: title.to_owned(), kind, digest: None })
}

fn file(path: &[u8], owner: usize) -> File {
    let kind = FileKind::Regular { digest: Digest::of(path), sha1: [0xab; 20], size_bytes: 7 };
    File { path: path.to_vec(), kind, owner: Some(owner) }
}

fn bill() -> Bill {
    Bill {
        name: "site".to_owned(),
        image: Digest::of(b"site"),
        epoch_seconds: 1_700_000_000,
        version: "0.1.0".to_owned(),
        distribution: Some(Distribution { id: "debian".to_owned(), version: "12".to_owned() }),
        components: vec![
            package("libstdc++6", "1:12.2.0-14+deb12u1~x"),
            source("copy public/", SourceKind::Copy),
            source("copy public+", SourceKind::Copy),
            source("run true", SourceKind::Run),
        ],
        files: vec![
            file(b"srv/\xff", 1),
            file(b"srv/\\xFE", 1),
            file(b"srv/index.html", 2),
            file(b"usr/lib/libstdc++.so.6.0.30", 0),
            File {
                path: b"usr/lib/libstdc++.so.6".to_vec(),
                kind: FileKind::Symlink(b"libstdc++.so.6.0.30".to_vec()),
                owner: Some(0),
            },
        ],
    }
}

fn documents(bill: &Bill) -> (Value, Value) {
    let parse = |text: Result<String, BillError>| serde_json::from_str(&text.unwrap()).unwrap();
    (parse(spdx(bill)), parse(cyclonedx(bill)))
}

#[track_caller]
fn all_different<'v>(values: impl Iterator<Item = &'v Value>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for value in values {
        let text = value.as_str().unwrap().to_owned();
        assert!(seen.insert(text.clone()), "`{text}` is there twice");
    }
    seen
}

#[test]
fn spdx_names_everything_once_and_relates_what_is_there() {
    let (document, _) = documents(&bill());
    let lists = [&document["packages"], &document["files"]];
    let elements = lists.iter().flat_map(|list| list.as_array().unwrap());
    let mut ids = all_different(elements.map(|element| &element["SPDXID"]));
    for id in &ids {
        let rest = id.strip_prefix("SPDXRef-").unwrap();
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        assert!(rest.bytes().all(fine), "{id}");
    }
    ids.insert("SPDXRef-DOCUMENT".to_owned());
    let mut described = BTreeSet::new();
    for related in document["relationships"].as_array().unwrap() {
        for end in ["spdxElementId", "relatedSpdxElement"] {
            assert!(ids.contains(related[end].as_str().unwrap()), "{related}");
        }
        assert!(described.insert(related["relatedSpdxElement"].as_str().unwrap().to_owned()));
    }
    assert_eq!(described.len() + 1, ids.len(), "everything is contained in something, once");
    all_different(document["files"].as_array().unwrap().iter().map(|file| &file["fileName"]));
    assert_eq!(document["creationInfo"]["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn spdx_describes_packages_and_files() {
    let (document, _) = documents(&bill());
    let package = serde_json::to_string_pretty(&document["packages"][2]).unwrap();
    expect![[r#"
        {
          "SPDXID": "SPDXRef-Package-libstdc--6-amd64",
          "checksums": [
            {
              "algorithm": "SHA256",
              "checksumValue": "ee0af3d57a5402f4ea4ec08e3c9a09a6dd42fab2aa53d63c1aacef98d70e19a7"
            }
          ],
          "copyrightText": "NOASSERTION",
          "downloadLocation": "NOASSERTION",
          "externalRefs": [
            {
              "referenceCategory": "PACKAGE-MANAGER",
              "referenceLocator": "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=debian-12",
              "referenceType": "purl"
            }
          ],
          "filesAnalyzed": true,
          "licenseConcluded": "NOASSERTION",
          "licenseDeclared": "NOASSERTION",
          "name": "libstdc++6",
          "packageVerificationCode": {
            "packageVerificationCodeValue": "4be4f187d43f06b23454d3203091f43104a4ebbc"
          },
          "sourceInfo": "built from the source package gcc-12 12.2.0-14",
          "versionInfo": "1:12.2.0-14+deb12u1~x"
        }"#]].assert_eq(&package);
    let file = serde_json::to_string_pretty(&document["files"][0]).unwrap();
    expect![[r#"
        {
          "SPDXID": "SPDXRef-File-4354b5b5c133e82a9760db04",
          "checksums": [
            {
              "algorithm": "SHA1",
              "checksumValue": "abababababababababababababababababababab"
            },
            {
              "algorithm": "SHA256",
              "checksumValue": "4354b5b5c133e82a9760db0499abcf75918a074b1f08eb55e0ae271a65ddc5c0"
            }
          ],
          "copyrightText": "NOASSERTION",
          "fileName": "./usr/lib/libstdc++.so.6.0.30",
          "licenseConcluded": "NOASSERTION",
          "licenseInfoInFiles": [
            "NOASSERTION"
          ]
        }"#]]
    .assert_eq(&file);
}

/// By hand: the 40 letters `abab…` through `sha1sum`; the symbolic link has no part in it.
#[test]
fn the_verification_code_is_over_sorted_sums() {
    let mut one = bill();
    one.files.retain(|file| file.owner == Some(0));
    let code = |bill: &Bill| {
        let (document, _) = documents(bill);
        let code = &document["packages"][2]["packageVerificationCode"];
        code["packageVerificationCodeValue"].as_str().unwrap().to_owned()
    };
    expect!["4be4f187d43f06b23454d3203091f43104a4ebbc"].assert_eq(&code(&one));
    let mut other = file(b"a", 0);
    other.kind = FileKind::Regular { digest: Digest::of(b""), sha1: [1; 20], size_bytes: 0 };
    one.files.push(other);
    let before = code(&one);
    one.files.reverse();
    assert_eq!(code(&one), before);
}

#[test]
fn cyclonedx_holds_files_in_their_components() {
    let (_, document) = documents(&bill());
    let components = document["components"].as_array().unwrap();
    let nested =
        components.iter().flat_map(|one| one["components"].as_array().into_iter().flatten());
    let mut refs =
        all_different(components.iter().chain(nested).map(|component| &component["bom-ref"]));
    refs.insert("image".to_owned());
    for dependency in document["dependencies"].as_array().unwrap() {
        assert!(refs.contains(dependency["ref"].as_str().unwrap()));
    }
    let serial = document["serialNumber"].as_str().unwrap();
    let parts: Vec<usize> = serial["urn:uuid:".len()..].split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    expect![[r#"
        {
          "bom-ref": "0:pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=debian-12",
          "components": [
            {
              "bom-ref": "file:/usr/lib/libstdc++.so.6.0.30",
              "hashes": [
                {
                  "alg": "SHA-1",
                  "content": "abababababababababababababababababababab"
                },
                {
                  "alg": "SHA-256",
                  "content": "4354b5b5c133e82a9760db0499abcf75918a074b1f08eb55e0ae271a65ddc5c0"
                }
              ],
              "name": "/usr/lib/libstdc++.so.6.0.30",
              "properties": [
                {
                  "name": "hornero:size_bytes",
                  "value": "7"
                }
              ],
              "type": "file"
            },
            {
              "bom-ref": "file:/usr/lib/libstdc++.so.6",
              "name": "/usr/lib/libstdc++.so.6",
              "properties": [
                {
                  "name": "hornero:symlink",
                  "value": "libstdc++.so.6.0.30"
                }
              ],
              "type": "file"
            }
          ],
          "hashes": [
            {
              "alg": "SHA-256",
              "content": "ee0af3d57a5402f4ea4ec08e3c9a09a6dd42fab2aa53d63c1aacef98d70e19a7"
            }
          ],
          "name": "libstdc++6",
          "properties": [
            {
              "name": "hornero:architecture",
              "value": "amd64"
            },
            {
              "name": "hornero:source",
              "value": "gcc-12"
            },
            {
              "name": "hornero:source_version",
              "value": "12.2.0-14"
            }
          ],
          "purl": "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1~x?arch=amd64&distro=debian-12",
          "type": "library",
          "version": "1:12.2.0-14+deb12u1~x"
        }"#]].assert_eq(&serde_json::to_string_pretty(&components[1]).unwrap());
}

#[test]
fn equal_images_have_equal_documents() {
    assert_eq!(spdx(&bill()), spdx(&bill()));
    assert_eq!(cyclonedx(&bill()), cyclonedx(&bill()));
    let other = Bill { image: Digest::of(b"other"), ..bill() };
    let (one, other) = (documents(&bill()), documents(&other));
    assert_ne!(one.0["documentNamespace"], other.0["documentNamespace"]);
    assert_ne!(one.1["serialNumber"], other.1["serialNumber"]);
}

#[test]
fn files_without_an_owner_are_named() {
    let mut bill = bill();
    bill.files[2].owner = None;
    let error = spdx(&bill).unwrap_err();
    expect!["1 files belong to no package and to no declared source: `/srv/index.html`"]
        .assert_eq(&error.to_string());
    assert_eq!(cyclonedx(&bill), Err(error));
    bill.files[2].owner = Some(4);
    expect!["file `srv/index.html` belongs to component 4, and there are 4"]
        .assert_eq(&spdx(&bill).unwrap_err().to_string());
}

#[test]
fn an_image_without_packages_has_documents_too() {
    let bare = Bill { distribution: None, components: Vec::new(), files: Vec::new(), ..bill() };
    let (spdx, cyclonedx) = documents(&bare);
    assert_eq!(spdx["packages"].as_array().unwrap().len(), 1);
    assert_eq!(cyclonedx["components"], serde_json::json!([]));
}
