//! An inventory as Ansible reads it of a program ("Developing dynamic inventory" of its documentation).

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::Digest;
use serde_json::{Map, Value, json};

use crate::reports::InventoryReport;

/// The document: instances are hosts, in groups by service, release and label. There is no way into them: it is for what asks
/// from outside, and for reports.
pub fn document(report: &InventoryReport) -> Value {
    // By what they are of: two of them may have the same name.
    let mut groups: BTreeMap<Vec<String>, BTreeSet<&str>> = BTreeMap::new();
    let mut variables = Map::new();
    for of in &report.instances {
        let id = of.instance.as_str();
        let mut join = |of: &[&str]| {
            let of = of.iter().map(|part| (*part).to_owned()).collect();
            groups.entry(of).or_default().insert(id);
        };
        join(&["service", of.service.as_str()]);
        join(&["release", of.service.as_str(), &of.release.to_string()]);
        for (label, value) in &of.labels {
            join(&["label", label, value]);
        }
        // What a release says of itself is no template.
        let labels = of
            .labels
            .iter()
            .map(|(label, value)| (label.clone(), json!({ "__ansible_unsafe": value })));
        let labels: Map<String, Value> = labels.collect();
        let mut own = json!({
            "hornero_id": of.id,
            "hornero_service": of.service,
            "hornero_release": of.release,
            "hornero_image": of.image,
            "hornero_state": of.state,
            "hornero_created": of.created,
            "hornero_labels": labels,
        });
        if let Some(address) = of.address {
            own["ansible_host"] = json!(address);
        }
        variables.insert(id.to_owned(), own);
    }
    let groups = named(&groups);
    let children: Vec<&String> = groups.keys().collect();
    let mut document = Map::new();
    document.insert("_meta".to_owned(), json!({ "hostvars": variables }));
    document.insert("all".to_owned(), json!({ "children": children }));
    for (group, hosts) in &groups {
        document.insert(group.clone(), json!({ "hosts": hosts }));
    }
    Value::Object(document)
}

/// Groups by their names. Of those that would have the same name each has the beginning of its digest behind it.
fn named<'a>(
    groups: &BTreeMap<Vec<String>, BTreeSet<&'a str>>,
) -> BTreeMap<String, BTreeSet<&'a str>> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    groups.keys().for_each(|of| *count.entry(name(of)).or_default() += 1);
    let named = groups.iter().map(|(of, hosts)| {
        let name = name(of);
        let name = match count[&name] {
            1 => name,
            _ => {
                let digest = Digest::of(of.join("\0").as_bytes());
                let begin: String =
                    digest.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                format!("{name}_{begin}")
            }
        };
        (name, hosts.clone())
    });
    named.collect()
}

/// What Ansible takes as the name of a group.
fn name(of: &[String]) -> String {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    of.join("_").chars().map(plain).collect()
}
