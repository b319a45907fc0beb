//! The ledger compared with what was kept elsewhere: a receipt, or a copy of the head file.
//!
//! Whoever puts back an older ledger with its older head, or signs all anew with a key pair of his own, leaves a ledger that
//! is sound in itself. Something from outside of the home shows it.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use hornero_ledger::{MAX_READ_EVENTS, ReadOnlyLedger, VerifyingKey, parse_head, verify_receipt};
use hornero_model::{EventBody, Receipt};

/// What a ledger is compared with has at most this many bytes: a receipt with the longest reason has 17 KiB.
pub const WITNESS_BYTES_MAX: u64 = 64 << 10;

/// Whether the ledger of a home holds every head that its witness has; how many those were. An inner error says what is
/// missing or another.
pub fn ledger_holds_all(home: &Path, heads: &str) -> anyhow::Result<Result<u64, String>> {
    let key = VerifyingKey::load(&home.join("keys"))?;
    let ledger = ReadOnlyLedger::open(&home.join("ledger.db"), key)?;
    let mut witnessed = BTreeMap::new();
    for (number, line) in (1_u64..).zip(heads.split_inclusive('\n')) {
        let Some(head) = parse_head(line, &key) else {
            let reason =
                format!("line {number} of the witness is no head that this home's key signed");
            return Ok(Err(reason));
        };
        // Two heads of one event that differ are two histories, of which the ledger can hold one.
        let known = *witnessed.entry(head.sequence).or_insert(head.hash);
        if known != head.hash {
            return Ok(Err(format!("the witness has two heads of event `{}`", head.sequence)));
        }
    }
    let mut next = 1;
    let mut left: BTreeMap<_, _> = witnessed.range(1..).collect();
    while let Some(last) = left.keys().next_back().copied() {
        let events = ledger.read(next, MAX_READ_EVENTS)?;
        let Some(newest) = events.last() else {
            return Ok(Err(format!("event `{last}`, which the witness has, is missing")));
        };
        next = newest.sequence + 1;
        for event in &events {
            if left.remove(&event.sequence).is_some_and(|hash| *hash != event.hash) {
                let sequence = event.sequence;
                return Ok(Err(format!("event `{sequence}` is another than the witness has")));
            }
        }
    }
    Ok(Ok(witnessed.len() as u64))
}

/// Whether the ledger of a home holds what `witness` says: the JSON of one receipt, or the line of a head file. An inner
/// error says what is missing or another.
pub fn ledger_holds(home: &Path, witness: &str) -> anyhow::Result<Result<(), String>> {
    let key = VerifyingKey::load(&home.join("keys"))?;
    let ledger = ReadOnlyLedger::open(&home.join("ledger.db"), key)?;
    if witness.trim_start().starts_with('{') {
        let receipt: Receipt = serde_json::from_str(witness).context("it is no receipt")?;
        return match verify_receipt(&receipt, &key) {
            Ok(()) => holds_receipt(&ledger, &receipt),
            Err(error) => Ok(Err(error.to_string())),
        };
    }
    let Some(head) = parse_head(witness, &key) else {
        let reason = "it is neither a receipt nor a head that this home's key signed";
        return Ok(Err(reason.to_owned()));
    };
    if head.sequence == 0 {
        return Ok(Ok(()));
    }
    let sequence = head.sequence;
    let found = ledger.read(sequence, 1)?.into_iter().find(|event| event.sequence == sequence);
    Ok(match found {
        Some(event) if event.hash == head.hash => Ok(()),
        Some(_) => Err(format!("event `{sequence}` is another than the one that was sealed")),
        None => {
            Err(format!("event `{sequence}`, as far as which the ledger went once, is missing"))
        }
    })
}

fn holds_receipt(ledger: &ReadOnlyLedger, receipt: &Receipt) -> anyhow::Result<Result<(), String>> {
    let id = receipt.body.id;
    let mut next = 1;
    loop {
        let events = ledger.read(next, MAX_READ_EVENTS)?;
        let Some(last) = events.last() else {
            return Ok(Err(format!("receipt `{id}` is missing from the ledger")));
        };
        next = last.sequence + 1;
        for event in &events {
            if let EventBody::Switched { receipt: found } = &event.body
                && found.body.id == id
            {
                let same = **found == *receipt;
                return Ok(same
                    .then_some(())
                    .ok_or(format!("receipt `{id}` in the ledger is another")));
            }
        }
    }
}
