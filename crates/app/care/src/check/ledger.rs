//! The ledger, and the key that signs it.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use hornero_ledger::{AuditVerdict, KeyError, LedgerError, ReadOnlyLedger, VerifyingKey};
use hornero_model::error_chain;

use super::finding::{HomeFindings, Severity};

impl HomeFindings<'_> {
    pub(super) fn key_and_ledger(&mut self) {
        let (keys, ledger) = (self.home.join("keys"), self.home.join("ledger.db"));
        let private = keys.join("signing.pk8");
        if !ledger.exists() {
            if self.home.join("ledger.head").exists() {
                let text = format!("`{}` is missing, and its head file is there", ledger.display());
                let run = "hornero home restore BACKUP --to NEW-HOME";
                self.add(Severity::Error, "ledger_missing", text, run);
            }
            return;
        }
        if !private.exists() {
            let error = KeyError::Lost { path: private.clone(), ledger: ledger.clone() };
            let run = "put `keys/signing.pk8` back from a backup (mode 600)";
            self.add(Severity::Error, "key_lost", error.to_string(), run);
        } else if let Ok(found) = fs::metadata(&private)
            && found.mode() & 0o077 != 0
        {
            let text =
                KeyError::Exposed { path: private.clone(), mode: found.mode() & 0o777 }.to_string();
            self.add(
                Severity::Error,
                "key_exposed",
                text,
                format!("chmod 600 '{}'", private.display()),
            );
        }
        if private.exists() && fs::metadata(&private).is_ok_and(|found| found.mode() & 0o077 == 0)
            // Also writes the public half where it is missing or is another's.
            && let Err(error) = hornero_ledger::Keys::open(&keys)
        {
            let code = error.code().unwrap_or("key_damaged");
            let run = "put `keys/signing.pk8` back from a backup (mode 600)";
            self.add(Severity::Error, code, error.to_string(), run);
        }
        let key = match VerifyingKey::load(&keys) {
            Ok(key) => key,
            Err(error) => {
                let text = format!("the ledger can't be verified: {error}");
                let run = "put `keys/signing.pub` back from a backup";
                return self.add(Severity::Error, "key_lost", text, run);
            }
        };
        let verdict = ReadOnlyLedger::open(&ledger, key).and_then(|opened| opened.verify());
        match verdict {
            Ok(AuditVerdict::Intact { .. }) => {}
            Ok(AuditVerdict::Touched { sequence, reason }) => {
                self.touched(&ledger, sequence, &reason)
            }
            Err(error) => {
                let code = error.code().unwrap_or("ledger_unavailable");
                let text = error_chain(&error);
                self.add(Severity::Error, code, text, "hornero home restore BACKUP --to NEW-HOME");
            }
        }
    }

    pub(super) fn touched(&mut self, ledger: &Path, sequence: u64, reason: &str) {
        let head = ledger.with_extension("head");
        // Whoever asked control to serve it has made an empty one.
        if fs::metadata(&head).map_or(true, |found| found.len() == 0) {
            let error = LedgerError::HeadMissing { head, sequence: sequence.saturating_sub(1) };
            let run = self.command("home accept-ledger");
            return self.add(Severity::Error, "ledger_head_missing", error.to_string(), run);
        }
        let text = format!("event `{sequence}` of the ledger {reason}");
        let run = "hornero home restore BACKUP --to NEW-HOME";
        self.add(Severity::Error, "ledger_touched", text, run);
    }
}
