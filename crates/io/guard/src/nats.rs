//! NATS: what JetStream says on the monitoring port (`/jsz` of its documentation).

use std::{
    io::{Read, Write},
    net::SocketAddr,
};

use hornero_model::{GuardMeasure, GuardVerdict, NatsProbe};
use serde_json::Value;

use crate::{Login, ProbeError, http, jetstream, wire::told};

/// Streams and consumers of up to so many accounts.
const PATH: &str = "/jsz?streams=true&consumers=true&limit=1024";

/// Asks it, at the one port or the other.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    (address, login): (SocketAddr, Option<Login<'_>>),
    probe: &NatsProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    match login {
        Some(login) => measured(jetstream::ask(stream, login, probe)?, probe),
        None => monitored(stream, address, probe),
    }
}

fn monitored(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    probe: &NatsProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    let (status, body) = http::get(stream, (address, None), PATH)?;
    if status != 200 {
        return Err(ProbeError::Refused(format!("GET {PATH} answered {status}")));
    }
    judge(&http::json(&body)?, probe)
}

fn judge(document: &Value, probe: &NatsProbe) -> Result<(GuardVerdict, String), ProbeError> {
    let list = |value: &Value, name: &str| -> Vec<Value> {
        value.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let is_called = |name: &str| {
        let name = name.to_owned();
        move |value: &Value| value.get("name").and_then(Value::as_str) == Some(&name)
    };
    let accounts = list(document, "account_details");
    let streams = accounts.iter().flat_map(|account| list(account, "stream_detail"));
    let named: Vec<Value> = streams.filter(is_called(&probe.stream)).collect();
    let [stream] = named.as_slice() else {
        let count = named.len();
        return Err(ProbeError::Refused(format!(
            "it has {count} streams `{}`",
            told(probe.stream.as_bytes())
        )));
    };
    match &probe.consumer {
        None => measured(stream.clone(), probe),
        Some(name) => {
            let consumer = list(stream, "consumer_detail").into_iter().find(is_called(name));
            let consumer = consumer.ok_or_else(|| {
                ProbeError::Refused(format!("it has no consumer `{}`", told(name.as_bytes())))
            })?;
            measured(consumer, probe)
        }
    }
}

/// What is told of a stream, or of its consumer where the probe has one, in the same words at both ports.
fn measured(document: Value, probe: &NatsProbe) -> Result<(GuardVerdict, String), ProbeError> {
    let number = |value: Option<&Value>, name: &str| {
        let number = value.and_then(|value| value.get(name)?.as_u64());
        number.ok_or_else(|| ProbeError::foreign(format!("it does not tell `{name}`")))
    };
    let (what, seen) = match &probe.consumer {
        None => ("messages in the stream", number(document.get("state"), "messages")?),
        Some(_) => {
            let waiting = number(Some(&document), "num_pending")?;
            let unacknowledged = number(Some(&document), "num_ack_pending")?;
            ("messages pending", waiting.saturating_add(unacknowledged))
        }
    };
    Ok(GuardVerdict::of(&[GuardMeasure { what, seen, most: probe.pending.into(), unit: "" }]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_tells_is_judged() {
        let document: Value = serde_json::from_str(
            r#"{"account_details":[{"name":"$G","stream_detail":[{"name":"ORDERS","state":{"messages":5},
               "consumer_detail":[{"name":"mail","num_pending":1,"num_ack_pending":2}]}]}]}"#,
        )
        .unwrap();
        let judged = |stream: &str, consumer: Option<&str>, pending| {
            let consumer = consumer.map(str::to_owned);
            judge(
                &document,
                &NatsProbe {
                    port: 8_222,
                    stream: stream.to_owned(),
                    consumer,
                    pending,
                    login: None,
                },
            )
        };
        let pending = judged("ORDERS", Some("mail"), 2).unwrap();
        assert_eq!(pending, (GuardVerdict::Refuses, "3 messages pending (at most 2)".to_owned()));
        assert_eq!(judged("ORDERS", Some("mail"), 3).unwrap().0, GuardVerdict::Passes);
        assert_eq!(judged("ORDERS", None, 4).unwrap().0, GuardVerdict::Refuses);
        assert!(judged("ORDERS", Some("other"), 3).is_err());
        assert!(judged("OTHER", None, 3).is_err());
    }
}
