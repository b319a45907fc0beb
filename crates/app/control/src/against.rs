//! The ledger compared with what was kept elsewhere: a receipt, or a copy of the head file.
//!
//! Whoever puts back an older ledger with its older head, or signs all anew with a key pair of his own, leaves a ledger that
//! is sound in itself. Something from outside of the home shows it.

use std::path::Path;

use anyhow::Context as _;
use hornero_ledger::{MAX_READ_EVENTS, PublicKey, ReadOnlyLedger, parse_head, verify_receipt};
use hornero_model::{EventBody, Receipt};

/// What a ledger is compared with has at most this many bytes: a receipt with the longest reason has 17 KiB.
pub const WITNESS_BYTES_MAX: u64 = 64 << 10;

/// Whether the ledger of a home holds what `witness` says: the JSON of one receipt, or the line of a head file. An inner
/// error says what is missing or another.
pub fn ledger_holds(home: &Path, witness: &str) -> anyhow::Result<Result<(), String>> {
    let key = PublicKey::load(&home.join("keys"))?;
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
