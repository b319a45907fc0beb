//! Which events of the ledger a client asks for.

use hornero_ledger::{Ledger, LedgerError};
use hornero_model::{Event, EventBody};
use serde_json::Value;

/// Events that are given at most where the newest are asked for: a page shows some hundred.
pub const LAST_EVENTS_MAX: usize = 10_000;
/// Events a read: few enough that a reader who goes away costs little.
pub const PAGE: usize = 500;
/// How deep an event's body is looked into: a receipt, a release's spec.
const DEPTH: usize = 3;

/// Which events are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditWish {
    /// The first sequence number.
    pub from: u64,
    /// Only the newest so many.
    pub last: Option<usize>,
    /// Only what is about this service.
    pub service: Option<String>,
    /// Only what is about this instance.
    pub instance: Option<String>,
}

impl AuditWish {
    /// Whether an event is asked for, but for its number.
    pub fn is_for(&self, event: &Event) -> bool {
        if self.service.is_none() && self.instance.is_none() {
            return true;
        }
        let body = body(&event.body);
        let names = |key: &str, wanted: Option<&String>| {
            wanted.is_none_or(|wanted| is_about(&body, key, wanted, DEPTH))
        };
        names("service", self.service.as_ref()) && names("instance", self.instance.as_ref())
    }

    /// The newest events that are asked for, oldest first; looked for from the end of the ledger.
    ///
    /// # Errors
    /// Where the ledger can't be read.
    pub fn newest(&self, ledger: &dyn Ledger, last: usize) -> Result<Vec<Event>, LedgerError> {
        let page = PAGE as u64;
        let mut found: Vec<Event> = Vec::new();
        let mut end = ledger.head()?.sequence + 1;
        while end > self.from.max(1) && found.len() < last {
            let begin = end.saturating_sub(page).max(self.from).max(1);
            let mut events = ledger.read(begin, PAGE)?;
            events.retain(|event| event.sequence < end && self.is_for(event));
            found.extend(events.into_iter().rev());
            end = begin;
        }
        found.truncate(last);
        found.reverse();
        Ok(found)
    }
}

fn body(body: &EventBody) -> Value {
    serde_json::to_value(body).unwrap_or_default()
}

/// Whether a body names `wanted` under `key`, in a list of such, or as the name of what it specifies. The state of a
/// rollout's journal is its own business.
fn is_about(body: &Value, key: &str, wanted: &str, depth: usize) -> bool {
    let Some(fields) = body.as_object() else { return false };
    fields.iter().any(|(name, value)| match value {
        Value::String(text) => name == key && text == wanted,
        Value::Array(values) => {
            name.strip_suffix('s') == Some(key) && values.iter().any(|value| value == wanted)
        }
        Value::Object(_) if name == "state" || depth == 0 => false,
        Value::Object(inner) => {
            let is_spec = name == "spec" && key == "service";
            (is_spec && inner.get("name").is_some_and(|value| value == wanted))
                || is_about(value, key, wanted, depth - 1)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_event_is_about_stands_in_fields_of_that_name() {
        let switched =
            json!({ "kind": "switched", "receipt": { "service": "site", "who": "shop" } });
        let created = json!({ "kind": "release_created", "release": { "spec": { "name": "site", "image_name": "shop" } } });
        let step = json!({ "kind": "rollout_step", "entry": { "service": "site", "phase": "shop", "state": { "service": "shop" } } });
        let recycled =
            json!({ "kind": "recycle_set", "service": "site", "instances": ["site-1-a"] });
        for body in [&switched, &created, &step, &recycled] {
            assert!(is_about(body, "service", "site", DEPTH), "{body}");
            assert!(!is_about(body, "service", "shop", DEPTH), "{body}");
        }
        assert!(is_about(&recycled, "instance", "site-1-a", DEPTH));
        assert!(!is_about(&recycled, "instance", "site-1-b", DEPTH));
        assert!(!is_about(&switched, "instance", "site", DEPTH));
    }
}
