//! Rollouts as OTLP's traces (opentelemetry-proto, `trace.proto`): a rollout is a trace, its phases are spans.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{Digest, Event, EventBody, Timestamp};
use serde_json::{Value, json};

use super::words::{nanos, number, own_resource, scope, text};

/// The value of `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// The values of `STATUS_CODE_OK` and `STATUS_CODE_ERROR`.
const OK: u8 = 1;
const ERROR: u8 = 2;

/// A rollout of which the journal was read from its beginning.
#[derive(Debug, Clone)]
struct OpenRollout {
    service: String,
    first_event: u64,
    /// The hash of its first event, from which its trace has its id: the same at every attempt.
    seed: Digest,
    who: String,
    why: String,
    phases: Vec<(Timestamp, String)>,
}

/// Rollouts, read event by event.
#[derive(Debug, Default)]
pub struct Rollouts {
    open: BTreeMap<u64, OpenRollout>,
    last: u64,
}

/// A rollout that is over, as spans.
#[derive(Debug)]
pub struct RolloutTrace {
    pub rollout: u64,
    pub spans: Vec<Value>,
}

impl Rollouts {
    /// Reads an event; the trace of a rollout that it ends.
    pub fn take(&mut self, event: &Event) -> Option<RolloutTrace> {
        self.last = event.sequence;
        let EventBody::RolloutStep { entry } = &event.body else { return None };
        let open = self.open.entry(entry.rollout.0).or_insert_with(|| OpenRollout {
            service: entry.service.to_string(),
            first_event: event.sequence,
            seed: event.hash,
            who: event.by.who.clone(),
            why: event.by.why.clone(),
            phases: Vec::new(),
        });
        if open.phases.last().is_none_or(|(_, phase)| *phase != entry.phase) {
            open.phases.push((event.time, entry.phase.clone()));
        }
        if !entry.finished {
            return None;
        }
        let rollout = entry.rollout.0;
        let spans = spans(rollout, &self.open.remove(&rollout)?, event.time);
        Some(RolloutTrace { rollout, spans })
    }

    /// The event behind which everything has to be read again by whoever begins anew.
    pub fn settled(&self) -> u64 {
        let first = self.open.values().map(|open| open.first_event).min();
        first.map_or(self.last, |first| first - 1)
    }

    /// Those of `sent` that would be read again.
    pub fn still(&self, sent: &BTreeSet<u64>) -> BTreeSet<u64> {
        let oldest = self.open.keys().min().copied();
        sent.iter()
            .copied()
            .filter(|rollout| oldest.is_some_and(|oldest| *rollout > oldest))
            .collect()
    }
}

/// So many bytes of an id, in hexadecimal digits.
fn id(seed: &Digest, part: &str, bytes: usize) -> String {
    Digest::of(format!("hornero {part}\n{seed}").as_bytes()).hex()[..2 * bytes].to_owned()
}

fn spans(rollout: u64, open: &OpenRollout, end: Timestamp) -> Vec<Value> {
    let (trace, root) = (id(&open.seed, "trace", 16), id(&open.seed, "rollout", 8));
    let begin = open.phases.first().map_or(end, |(at, _)| *at);
    let outcome = open.phases.last().map_or("", |(_, phase)| phase.as_str());
    let is_bad = matches!(outcome, "failed" | "rolled_back");
    let mut spans = vec![json!({
        "traceId": trace,
        "spanId": root,
        "name": format!("rollout {}", open.service),
        "kind": INTERNAL,
        "startTimeUnixNano": nanos(begin),
        "endTimeUnixNano": nanos(end),
        "attributes": [
            text("hornero.service", &open.service),
            number("hornero.rollout", rollout),
            text("hornero.outcome", outcome),
            text("hornero.who", &open.who),
            text("hornero.why", &open.why),
        ],
        "status": { "code": if is_bad { ERROR } else { OK } },
    })];
    for (index, (at, phase)) in open.phases.iter().enumerate() {
        let next = open.phases.get(index + 1);
        // The last one is how it ended, and takes no time.
        let Some((until, _)) = next else { break };
        spans.push(json!({
            "traceId": trace,
            "spanId": id(&open.seed, &format!("phase {index}"), 8),
            "parentSpanId": root,
            "name": phase,
            "kind": INTERNAL,
            "startTimeUnixNano": nanos(*at),
            "endTimeUnixNano": nanos(*until),
            "attributes": [text("hornero.service", &open.service)],
        }));
    }
    spans
}

/// What is sent of some spans.
pub fn request(host: &str, spans: &[Value]) -> Value {
    json!({ "resourceSpans": [{
        "resource": own_resource(host),
        "scopeSpans": [{ "scope": scope(), "spans": spans }],
    }] })
}
