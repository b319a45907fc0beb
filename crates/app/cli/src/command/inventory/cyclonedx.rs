//! An inventory as a CycloneDX 1.6 document: services, and the images and packages that they consist of.

use hornero_model::Digest;
use serde_json::{Value, json};

use crate::reports::{InventoryImage, InventoryReport, InventoryService};

/// The document.
pub fn document(report: &InventoryReport) -> Value {
    let mut components: Vec<Value> = report.images.iter().map(image).collect();
    components.extend(report.packages().into_iter().map(|(purl, package)| {
        json!({
            "bom-ref": purl, "type": "library", "purl": purl,
            "name": package.name, "version": package.version,
        })
    }));
    let services: Vec<Value> = report.services.iter().map(|one| service(report, one)).collect();
    let place = format!("hornero://{}{}", report.host, report.home.display());
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": serial(&place, &components, &services),
        "version": 1,
        "metadata": {
            "timestamp": report.at.to_string(),
            "tools": { "components": [{
                "type": "application", "name": "hornero", "version": hornero_model::program_version(),
            }] },
            "component": { "bom-ref": "home", "type": "platform", "name": place },
        },
        "components": components,
        "services": services,
        "dependencies": dependencies(report),
    })
}

fn image(image: &InventoryImage) -> Value {
    json!({
        "bom-ref": image.id,
        "type": "container",
        "name": image.name.clone().unwrap_or_else(|| image.digest.short()),
        "version": image.digest.to_string(),
        "hashes": [{ "alg": "SHA-256", "content": image.digest.hex() }],
    })
}

fn service(report: &InventoryReport, service: &InventoryService) -> Value {
    let mut properties = Vec::new();
    let mut tell = |name: String, value: String| {
        properties.push(json!({ "name": name, "value": value }));
    };
    for (name, value) in &service.labels {
        tell(format!("hornero:label:{name}"), value.clone());
    }
    for of in report.instances.iter().filter(|of| of.service == service.name) {
        tell("hornero:instance".to_owned(), of.instance.to_string());
    }
    if let Some(released) = service.released {
        tell("hornero:released".to_owned(), released.to_string());
    }
    let version = service.release.map_or_else(|| "0".to_owned(), |number| number.to_string());
    json!({
        "bom-ref": service.id, "name": service.name, "version": version, "properties": properties,
    })
}

/// The home has its services; a service the images of its instances, an image its packages.
fn dependencies(report: &InventoryReport) -> Vec<Value> {
    let on =
        |reference: &str, others: Vec<String>| json!({ "ref": reference, "dependsOn": others });
    let all = report.services.iter().map(|service| service.id.clone()).collect();
    let mut dependencies = vec![on("home", all)];
    for service in &report.services {
        let own = report.instances.iter().filter(|of| of.service == service.name);
        let mut images: Vec<String> = own
            .filter_map(|of| report.image(of.image))
            .chain(report.image(service.image))
            .map(|image| image.id.clone())
            .collect();
        images.sort();
        images.dedup();
        dependencies.push(on(&service.id, images));
    }
    for image in &report.images {
        let packages = image.packages.iter().flatten().map(|package| package.purl.clone());
        let mut packages: Vec<String> = packages.collect();
        packages.sort();
        packages.dedup();
        dependencies.push(on(&image.id, packages));
    }
    dependencies
}

/// A UUID of version 8 (RFC 9562) made from what runs: equal inventories have equal documents but for their time.
fn serial(place: &str, components: &[Value], services: &[Value]) -> String {
    let content = json!([place, components, services]).to_string();
    let digest = Digest::of(format!("hornero inventory\n{content}").as_bytes());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    format!("urn:uuid:{}", parts.join("-"))
}
