//! SPDX 2.3 as JSON (<https://spdx.github.io/spdx-spec/v2.3/>).

use std::collections::BTreeSet;

use hornero_model::Digest;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use serde_json::{Value, json};

use crate::{Bill, BillError, Component, File, FileKind, bill::text_of};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-Image";
const SYSTEM: &str = "SPDXRef-OperatingSystem";
/// Hex digits of a path's digest in a file's id: 96 bits tell the paths of an image apart.
const ID_DIGITS: usize = 24;

/// The bill as an SPDX 2.3 document in JSON. Symbolic links and devices have no content, so SPDX has no place for them.
///
/// # Errors
/// Where a file belongs to no component.
pub fn spdx(bill: &Bill) -> Result<String, BillError> {
    let owned = bill.by_owner()?;
    let mut packages = vec![image(bill)];
    let mut relationships = vec![related(DOCUMENT, "DESCRIBES", IMAGE)];
    if let Some(system) = &bill.distribution {
        packages.push(json!({
            "SPDXID": SYSTEM, "name": system.id, "versionInfo": system.version,
            "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
            "primaryPackagePurpose": "OPERATING-SYSTEM",
            "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
        }));
        relationships.push(related(IMAGE, "CONTAINS", SYSTEM));
    }
    let mut files = Vec::new();
    let mut ids = Ids::default();
    for (component, owned) in bill.components.iter().zip(owned) {
        let id = ids.of(component);
        let contents: Vec<&File> = owned
            .into_iter()
            .filter(|file| matches!(file.kind, FileKind::Regular { .. }))
            .collect();
        packages.push(package(bill, component, &id, &contents));
        relationships.push(related(IMAGE, "CONTAINS", &id));
        for file in contents {
            let path = Digest::of(&file.path).hex();
            let file_id = format!("SPDXRef-File-{}", &path[..ID_DIGITS]);
            relationships.push(related(&id, "CONTAINS", &file_id));
            files.push(described(file, &file_id));
        }
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": DOCUMENT,
        "name": bill.name,
        "documentNamespace": format!("https://hornero.dev/spdx/{}", bill.image.hex()),
        "creationInfo": {
            "created": bill.created(),
            "creators": [format!("Tool: hornero-{}", bill.version)],
        },
        "packages": packages,
        "files": files,
        "relationships": relationships,
    });
    Ok(document.to_string())
}

fn image(bill: &Bill) -> Value {
    json!({
        "SPDXID": IMAGE,
        "name": bill.name,
        "versionInfo": bill.image.to_string(),
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": bill.image.hex() }],
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
    })
}

fn package(bill: &Bill, component: &Component, id: &str, files: &[&File]) -> Value {
    let mut value = json!({
        "SPDXID": id,
        "downloadLocation": "NOASSERTION",
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "filesAnalyzed": !files.is_empty(),
    });
    if !files.is_empty() {
        value["packageVerificationCode"] =
            json!({ "packageVerificationCodeValue": verification_code(files) });
    }
    let digest = match component {
        Component::Package(package) => {
            value["name"] = json!(package.name);
            value["versionInfo"] = json!(package.version);
            value["sourceInfo"] = json!(format!(
                "built from the source package {} {}",
                package.source, package.source_version
            ));
            value["externalRefs"] = json!([{
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": bill.purl(package),
            }]);
            package.digest
        }
        Component::Source(source) => {
            value["name"] = json!(source.title);
            value["sourceInfo"] = json!(format!("no package: {}", source.kind.text()));
            value["primaryPackagePurpose"] = json!("FILE");
            source.digest
        }
    };
    if let Some(digest) = digest {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": digest.hex() }]);
    }
    value
}

fn described(file: &File, id: &str) -> Value {
    let mut value = json!({
        "SPDXID": id,
        "fileName": format!("./{}", text_of(&file.path)),
        "licenseConcluded": "NOASSERTION",
        "licenseInfoInFiles": ["NOASSERTION"],
        "copyrightText": "NOASSERTION",
    });
    if let FileKind::Regular { digest, sha1, .. } = &file.kind {
        value["checksums"] = json!([
            { "algorithm": "SHA1", "checksumValue": hex::encode(sha1) },
            { "algorithm": "SHA256", "checksumValue": digest.hex() },
        ]);
    }
    value
}

/// The SHA-1 of the files' SHA-1s in hex, sorted (SPDX 2.3, section 7.9).
fn verification_code(files: &[&File]) -> String {
    let mut sums: Vec<String> = files
        .iter()
        .filter_map(|file| match &file.kind {
            FileKind::Regular { sha1, .. } => Some(hex::encode(sha1)),
            FileKind::Symlink(_) | FileKind::Special => None,
        })
        .collect();
    sums.sort_unstable();
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    sums.iter().for_each(|sum| context.update(sum.as_bytes()));
    hex::encode(context.finish())
}

fn related(one: &str, how: &str, other: &str) -> Value {
    json!({ "spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other })
}

/// Ids of components: letters, digits, `.` and `-` only (SPDX 2.3, section 7.2), each once.
#[derive(Default)]
struct Ids(BTreeSet<String>);

impl Ids {
    fn of(&mut self, component: &Component) -> String {
        let (kind, text) = match component {
            Component::Package(package) => {
                ("Package", format!("{}-{}", package.name, package.architecture))
            }
            Component::Source(source) => ("Source", source.title.clone()),
        };
        let plain = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => letter,
            _ => '-',
        };
        let text: String = text.chars().take(80).map(plain).collect();
        let id = format!("SPDXRef-{kind}-{text}");
        let numbered = (2_u64..).map(|number| format!("{id}-{number}"));
        let mut free = std::iter::once(id.clone()).chain(numbered);
        // Invariant: numbers do not run out before components do.
        let free = free.find(|id| !self.0.contains(id)).expect("one number is free");
        self.0.insert(free.clone());
        free
    }
}
