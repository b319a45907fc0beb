//! An inventory as comma-separated values (RFC 4180), of which spreadsheets take nothing for a formula.

use crate::reports::{InventoryInstance, InventoryReport};

const HEAD: [&str; 13] = [
    "id",
    "host",
    "home",
    "service",
    "release",
    "instance",
    "state",
    "health",
    "address",
    "image",
    "image_name",
    "created",
    "labels",
];

/// A line for each instance, behind a head.
pub fn text(report: &InventoryReport) -> String {
    let head = HEAD.map(str::to_owned).to_vec();
    let rows = report.instances.iter().map(|instance| row(report, instance));
    let lines = std::iter::once(head).chain(rows).map(|cells| {
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        format!("{}\r\n", cells.join(","))
    });
    lines.collect()
}

fn row(report: &InventoryReport, of: &InventoryInstance) -> Vec<String> {
    let image = report.image(of.image);
    let labels: Vec<String> =
        of.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        of.id.clone(),
        report.host.clone(),
        report.home.display().to_string(),
        of.service.to_string(),
        of.release.to_string(),
        of.instance.to_string(),
        of.state.to_string(),
        of.health.map(|health| format!("{health:?}").to_lowercase()).unwrap_or_default(),
        of.address.map(|address| address.to_string()).unwrap_or_default(),
        of.image.map(|image| image.to_string()).unwrap_or_default(),
        image.and_then(|image| image.name.clone()).unwrap_or_default(),
        of.created.to_string(),
        labels.join(";"),
    ]
}

/// A cell in quotes. What a spreadsheet would take for a formula gets a `'` before it, and no cell has control characters.
fn quoted(cell: &str) -> String {
    let plain: String =
        cell.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let first = plain.trim_start().chars().next();
    let guard = if first.is_some_and(|first| "=+-@|%".contains(first)) { "'" } else { "" };
    format!("\"{guard}{}\"", plain.replace('"', "\"\""))
}
