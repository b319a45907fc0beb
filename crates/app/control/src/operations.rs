//! What clients follow: the lines of each operation, kept so that a client may come late, leave or come back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use hornero_api::message::OperationLine;
use tokio::sync::watch;

/// Operations whose lines are kept: a client that died is back within a few operations or never.
const KEPT_OPERATIONS: usize = 64;
/// Lines kept an operation; a rollout writes a few dozen.
const KEPT_LINES: usize = 10_000;

struct Operation {
    lines: Vec<OperationLine>,
    changed: watch::Sender<usize>,
}

/// All operations of this control process, by number.
#[derive(Default)]
pub struct Operations {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    last: u64,
    operations: BTreeMap<u64, Operation>,
}

impl Operations {
    /// Opens an operation and gives its number.
    pub fn open(&self) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last += 1;
        let number = inner.last;
        let lines = vec![OperationLine::Accepted { operation: number }];
        inner.operations.insert(number, Operation { lines, changed: watch::Sender::new(1) });
        while inner.operations.len() > KEPT_OPERATIONS {
            inner.operations.pop_first();
        }
        number
    }

    /// Adds a line; an operation that is no longer kept, or is full but for its outcome, drops it.
    pub fn push(&self, number: u64, line: OperationLine) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(operation) = inner.operations.get_mut(&number) else { return };
        if operation.lines.len() < KEPT_LINES || matches!(line, OperationLine::Finished { .. }) {
            operation.lines.push(line);
            operation.changed.send_replace(operation.lines.len());
        }
    }

    /// The lines from `index` on, and what tells of further ones; none for an operation that is not kept.
    pub fn read(
        &self,
        number: u64,
        index: usize,
    ) -> Option<(Vec<OperationLine>, watch::Receiver<usize>)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = inner.operations.get(&number)?;
        let lines = operation.lines.get(index..).unwrap_or_default().to_vec();
        Some((lines, operation.changed.subscribe()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hornero_api::message::{Outcome, OutcomeKind};

    #[test]
    fn a_late_reader_sees_every_line_and_old_operations_go() {
        let operations = Operations::default();
        let first = operations.open();
        let outcome = Outcome { result: OutcomeKind::Done, services: Vec::new(), failure: None };
        operations.push(first, OperationLine::Finished { outcome });
        let (lines, _) = operations.read(first, 0).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(matches!(lines[1], OperationLine::Finished { .. }));
        for _ in 0..KEPT_OPERATIONS {
            operations.open();
        }
        assert!(operations.read(first, 0).is_none());
    }
}
