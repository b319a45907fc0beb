//! CycloneDX 1.6 as JSON (<https://cyclonedx.org/docs/1.6/json/>).

use hornero_model::Digest;
use serde_json::{Value, json};

use crate::{Bill, BillError, Component, File, FileKind, bill::text_of};

/// The bill as a CycloneDX 1.6 document in JSON: each component holds its files.
///
/// # Errors
/// Where a file belongs to no component.
pub fn cyclonedx(bill: &Bill) -> Result<String, BillError> {
    let owned = bill.by_owner()?;
    let mut components = Vec::new();
    if let Some(system) = &bill.distribution {
        components.push(json!({
            "bom-ref": "operating-system", "type": "operating-system",
            "name": system.id, "version": system.version,
        }));
    }
    for (index, (bill_component, files)) in bill.components.iter().zip(owned).enumerate() {
        components.push(component(bill, bill_component, index, &files));
    }
    let refs: Vec<Value> =
        components.iter().map(|component| component["bom-ref"].clone()).collect();
    let mut dependencies = vec![json!({ "ref": "image", "dependsOn": refs })];
    dependencies.extend(refs.iter().map(|reference| json!({ "ref": reference })));
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&bill.image),
        "version": 1,
        "metadata": {
            "timestamp": bill.created(),
            "tools": { "components": [
                { "type": "application", "name": "hornero", "version": bill.version },
            ] },
            "component": {
                "bom-ref": "image",
                "type": "container",
                "name": bill.name,
                "version": bill.image.to_string(),
                "hashes": [{ "alg": "SHA-256", "content": bill.image.hex() }],
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(document.to_string())
}

fn component(bill: &Bill, component: &Component, index: usize, files: &[&File]) -> Value {
    let (mut value, digest) = match component {
        Component::Package(package) => {
            let purl = bill.purl(package);
            let value = json!({
                "bom-ref": format!("{index}:{purl}"),
                "type": "library",
                "name": package.name,
                "version": package.version,
                "purl": purl,
                "properties": [
                    property("hornero:architecture", &package.architecture),
                    property("hornero:source", &package.source),
                    property("hornero:source_version", &package.source_version),
                ],
            });
            (value, package.digest)
        }
        Component::Source(source) => {
            let value = json!({
                "bom-ref": format!("{index}:{}", source.title),
                "type": "data",
                "name": source.title,
                "properties": [property("hornero:source_kind", source.kind.word())],
            });
            (value, source.digest)
        }
    };
    if let Some(digest) = digest {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": digest.hex() }]);
    }
    if !files.is_empty() {
        value["components"] = files.iter().map(|file| described(file)).collect();
    }
    value
}

fn described(file: &File) -> Value {
    let path = format!("/{}", text_of(&file.path));
    let mut value = json!({ "bom-ref": format!("file:{path}"), "type": "file", "name": path });
    match &file.kind {
        FileKind::Regular { digest, sha1, size_bytes } => {
            value["hashes"] = json!([
                { "alg": "SHA-1", "content": hex::encode(sha1) },
                { "alg": "SHA-256", "content": digest.hex() },
            ]);
            value["properties"] = json!([property("hornero:size_bytes", &size_bytes.to_string())]);
        }
        FileKind::Symlink(target) => {
            value["properties"] = json!([property("hornero:symlink", &text_of(target))]);
        }
        FileKind::Special => {
            value["properties"] = json!([property("hornero:special", "true")]);
        }
    }
    value
}

fn property(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// A UUID of version 8 (RFC 9562) made from the image's digest: equal images have equal documents.
fn serial(image: &Digest) -> String {
    let digest = Digest::of(format!("hornero cyclonedx\n{image}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}
