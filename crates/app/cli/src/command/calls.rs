//! What people read of calls between services that nobody declared.

use hornero_api::message::CallStatus;
use hornero_model::Timestamp;

use crate::output::age;

/// A line for each pair of services of which one calls the other and does not say so.
pub fn undeclared(calls: &[CallStatus], now: Timestamp) -> String {
    let undeclared = calls.iter().filter(|call| !call.declared);
    let line = |call: &CallStatus| {
        let CallStatus { from, to, requests, last, .. } = call;
        let times = if *requests == 1 { "once".to_owned() } else { format!("{requests} times") };
        let ago = age(now, *last);
        format!(
            "note: `{from}` called `{to}` {times}, last {ago} ago, and does not declare it: `depends_on = [service.{to}]` in \
             `service.{from}` has `{to}` come up first\n"
        )
    };
    undeclared.map(line).collect()
}
