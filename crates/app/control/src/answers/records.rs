//! What was: releases, receipts, events and logs.

use std::sync::{Arc, PoisonError};

use hornero_engine_port::log::LogFilter;
use hornero_model::{Receipt, RolloutId, ServiceName, Timestamp, error_chain};
use hyper::StatusCode;

use crate::{
    answer::{Answer, ApiRefusal, json, stream},
    api::{Api, not_found},
    audit_filter::{self, AuditWish, LAST_EVENTS_MAX},
    logs::{self, LAST_LINES_MAX, LogWish},
    offline::audit_report,
    report,
};

impl Api {
    /// The releases of a service, newest first.
    pub async fn history(&self, name: &str) -> Answer {
        let service: ServiceName = name.parse().map_err(|_| not_found("service", name))?;
        let found = self
            .ask(move |driver| driver.world().services.get(&service).map(report::history))
            .await?;
        json(&found.ok_or_else(|| not_found("service", name))?)
    }

    /// Receipts, newest first; those of one service where the query names it.
    pub fn receipts(&self, query: &str) -> Answer {
        let service = parameter(query, "service");
        let receipts = self.receipts.read().unwrap_or_else(PoisonError::into_inner);
        let found: Vec<&Receipt> =
            receipts.iter().rev().filter(|receipt| report::concerns(receipt, service)).collect();
        json(&found)
    }

    /// The receipt of one rollout.
    pub fn receipt(&self, number: &str) -> Answer {
        let id = number.parse().map(RolloutId).map_err(|_| not_found("receipt", number))?;
        let receipts = self.receipts.read().unwrap_or_else(PoisonError::into_inner);
        let receipt = receipts.iter().rev().find(|receipt| receipt.body.id == id);
        json(receipt.ok_or_else(|| not_found("receipt", number))?)
    }

    /// The lines of a service or an instance.
    pub async fn logs(&self, object: &str, query: &str) -> Answer {
        let wish = log_wish(query)?;
        logs::answer(Arc::clone(&self.ledger), Arc::clone(&self.engine), object, wish).await
    }

    /// Whether the ledger is as it was written.
    pub async fn audit_verify(&self) -> Answer {
        let ledger = Arc::clone(&self.ledger);
        let verdict = self.look_long(move || ledger.verify()).await?;
        json(&audit_report(verdict.map_err(ApiRefusal::internal)?))
    }

    /// The events that the query asks for.
    pub fn audit(&self, query: &str) -> Answer {
        let wish = audit_wish(query)?;
        let ledger = Arc::clone(&self.ledger);
        let (lines, answer) = stream();
        tokio::task::spawn_blocking(move || {
            let failed = |error| lines.fail_blocking("ledger", error_chain(&error));
            if let Some(last) = wish.last {
                return match wish.newest(&*ledger, last) {
                    Ok(events) => {
                        // A reader that has gone misses nothing.
                        let _ = events.iter().all(|event| lines.send_blocking(event));
                    }
                    Err(error) => failed(error),
                };
            }
            let mut next = wish.from;
            loop {
                let events = match ledger.read(next, audit_filter::PAGE) {
                    Ok(events) => events,
                    Err(error) => return failed(error),
                };
                let Some(last) = events.last() else { return };
                next = last.sequence + 1;
                let mut wanted = events.iter().filter(|event| wish.is_for(event));
                if !wanted.all(|event| lines.send_blocking(event)) || lines.is_closed() {
                    return;
                }
            }
        });
        answer
    }
}

/// Which events are asked for.
fn audit_wish(query: &str) -> Result<AuditWish, ApiRefusal> {
    let bad = |text: String| ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text);
    let from = parameter(query, "from").unwrap_or("1").parse();
    let from = from.map_err(|_| bad("`from` is no sequence number".to_owned()))?;
    let last = parameter(query, "last").map(|text| {
        let number = text.parse().ok().filter(|number| *number <= LAST_EVENTS_MAX);
        number.ok_or_else(|| bad(format!("`last` is no number up to {LAST_EVENTS_MAX}")))
    });
    let (service, instance) = (decoded(query, "service").next(), decoded(query, "instance").next());
    Ok(AuditWish { from, last: last.transpose()?, service, instance })
}

/// A time that a query gives.
pub fn time(query: &str, name: &str) -> Result<Option<Timestamp>, ApiRefusal> {
    let text = decoded(query, name).next();
    text.map(|text| {
        serde_json::from_value(text.as_str().into()).map_err(|_| {
            let text = format!("`{text}` is no RFC 3339 time");
            ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
        })
    })
    .transpose()
}

/// The value of a query parameter; what Hornero's own values need of percent-decoding is nothing but `:` and `+`.
pub fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Every value of a query parameter, decoded.
pub fn decoded<'q>(query: &'q str, name: &'q str) -> impl Iterator<Item = String> + 'q {
    let values =
        query.split('&').filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix('='));
    values.map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}

/// Which lines of a log are asked for.
fn log_wish(query: &str) -> Result<LogWish, ApiRefusal> {
    let bad = |text| ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text);
    let last = parameter(query, "last").map(|text| {
        let number = text.parse().ok().filter(|number| *number <= LAST_LINES_MAX);
        number.ok_or_else(|| bad(format!("`{text}` is no number up to {LAST_LINES_MAX}")))
    });
    let level = parameter(query, "level").map(|text| text.parse().map_err(&bad)).transpose()?;
    let fields = decoded(query, "field").map(|pair| {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| bad(format!("`{pair}` is no field: write `name=value`")))?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let filter = LogFilter {
        since: time(query, "since")?,
        until: time(query, "until")?,
        level,
        pattern: decoded(query, "grep").next(),
        words: decoded(query, "word").collect(),
        fields: fields.collect::<Result<_, ApiRefusal>>()?,
    };
    let is_true = |name| parameter(query, name) == Some("true");
    let (follow, raw) = (is_true("follow"), is_true("raw"));
    let wish = LogWish { filter, last: last.transpose()?, follow, raw };
    wish.check().map_err(|error| bad(error.to_string()))?;
    Ok(wish)
}
