//! An inventory in Prometheus' text format, for its node exporter's directory of texts.

use hornero_control::{Exposition, FamilyKind};

use crate::reports::InventoryReport;

/// The text.
#[allow(clippy::cast_precision_loss)] // Milliseconds since 1970.
pub fn text(report: &InventoryReport) -> String {
    let mut text = Exposition::default();
    text.family(
        "hornero_inventory_instance",
        FamilyKind::Gauge,
        "An instance, and what it is made from.",
    );
    for of in &report.instances {
        let (release, state) = (of.release.to_string(), of.state.to_string());
        let image = of.image.map(|image| image.to_string()).unwrap_or_default();
        let address = of.address.map(|address| address.to_string()).unwrap_or_default();
        let own = [
            ("instance", of.instance.as_str()),
            ("service", of.service.as_str()),
            ("release", &release),
            ("image", &image),
            ("state", &state),
            ("address", &address),
        ];
        let said = of.labels.iter().map(|(name, value)| (format!("label_{name}"), value));
        let said: Vec<_> = said.collect();
        let said = said.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        text.sample(&own.into_iter().chain(said).collect::<Vec<_>>(), 1);
    }
    text.family(
        "hornero_inventory_instance_created_seconds",
        FamilyKind::Gauge,
        "When an instance was made.",
    );
    for of in &report.instances {
        text.sample(&[("instance", of.instance.as_str())], of.created.0 as f64 / 1_000.0);
    }
    text.family(
        "hornero_inventory_image_packages",
        FamilyKind::Gauge,
        "How many packages an image has.",
    );
    for image in &report.images {
        let Some(packages) = &image.packages else { continue };
        let (digest, name) = (image.digest.to_string(), image.name.as_deref().unwrap_or_default());
        text.sample(&[("image", &digest), ("name", name)], packages.len());
    }
    text.into_text()
}
