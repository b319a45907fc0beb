//! What was counted and compared: traffic, churn, images.

use std::sync::Arc;

use hornero_api::message::TrafficReport;
use hornero_driver::Account;
use hornero_ledger::LedgerError;
use hornero_model::{Digest, Millis, Timestamp, error_chain};
use hornero_store::StoreError;

use super::records::time;
use crate::{
    account::churn_report,
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    audit_filter,
    difference::image_difference,
};

/// Paths of a difference that are told: a page shows no more, and an image may have a hundred thousand.
const PATHS: usize = 2_000;

impl Api {
    /// What was made and removed of the services.
    pub async fn churn(&self, query: &str) -> Answer {
        /// What is told where nobody says since when: 24 hours.
        const DAY: Millis = Millis(86_400_000);
        let until = Timestamp::now();
        let before = Timestamp(until.0.saturating_sub(DAY.0));
        let since = time(query, "since")?.unwrap_or(before);
        let ledger = Arc::clone(&self.ledger);
        let account = self.look_long(move || {
            let (mut account, mut next) = (Account::since(since), 1);
            loop {
                let events = ledger.read(next, audit_filter::PAGE)?;
                let Some(last) = events.last() else { return Ok::<_, LedgerError>(account) };
                next = last.sequence + 1;
                events.iter().for_each(|event| account.apply(event));
            }
        });
        let account = account.await?.map_err(|error| ApiRefusal::internal(error_chain(&error)))?;
        let report = self
            .ask(move |driver| churn_report(&account.at(until), driver.churn(), since, until))
            .await?;
        json(&report)
    }

    /// What the edge has counted.
    pub async fn traffic(&self) -> Answer {
        let report = self
            .ask(|driver| {
                let edge = driver.edge();
                let mut releases = edge.map(|edge| edge.counters.clone()).unwrap_or_default();
                for counters in &mut releases {
                    let service = &counters.pool.service;
                    counters.release = driver.world().terms(service, counters.release);
                }
                TrafficReport { at: Timestamp::now(), edge: edge.map(|edge| edge.pid), releases }
            })
            .await?;
        json(&report)
    }

    /// What two images have differently.
    pub async fn image_difference(&self, old: &str, new: &str) -> Answer {
        let digest = |text: &str| text.parse::<Digest>().map_err(|_| not_found("image", text));
        let (old, new) = (digest(old)?, digest(new)?);
        let adapters = Arc::clone(&self.adapters);
        let found = self.look_long(move || image_difference(adapters.starter.store(), &old, &new));
        let mut found = match found.await? {
            Ok(found) => found,
            Err(StoreError::Missing { kind, digest }) => {
                return Err(not_found(kind, &digest.to_string()));
            }
            Err(error) => return Err(ApiRefusal::internal(error_chain(&error))),
        };
        // What a bake makes anew every time says little: it goes last.
        found.files.sort_by_key(|file| file.what == ["mtime"]);
        found.left_off = found.files.len().saturating_sub(PATHS) as u64;
        found.files.truncate(PATHS);
        json(&found)
    }
}
