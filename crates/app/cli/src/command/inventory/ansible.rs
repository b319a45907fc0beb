//! An inventory as Ansible reads it of a program ("Developing dynamic inventory" of its documentation).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::reports::InventoryReport;

/// The document: instances are hosts, in groups by service, release and label. There is no way into them: it is for what asks
/// from outside, and for reports.
pub fn document(report: &InventoryReport) -> Value {
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut variables = Map::new();
    for of in &report.instances {
        let id = of.instance.as_str();
        let mut join = |group: String| groups.entry(group).or_default().insert(id);
        join(name(&format!("service_{}", of.service)));
        join(name(&format!("release_{}_{}", of.service, of.release)));
        for (label, value) in &of.labels {
            join(name(&format!("label_{label}_{value}")));
        }
        let mut own = json!({
            "hornero_id": of.id,
            "hornero_service": of.service,
            "hornero_release": of.release,
            "hornero_image": of.image,
            "hornero_state": of.state,
            "hornero_created": of.created,
            "hornero_labels": of.labels,
        });
        if let Some(address) = of.address {
            own["ansible_host"] = json!(address);
        }
        variables.insert(id.to_owned(), own);
    }
    let children: Vec<&String> = groups.keys().collect();
    let mut document = Map::new();
    document.insert("_meta".to_owned(), json!({ "hostvars": variables }));
    document.insert("all".to_owned(), json!({ "children": children }));
    for (group, hosts) in &groups {
        document.insert(group.clone(), json!({ "hosts": hosts }));
    }
    Value::Object(document)
}

/// What Ansible takes as the name of a group.
fn name(text: &str) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    text.chars().map(plain).collect()
}
