//! What clients follow: the lines of each operation, kept so that a client may come late, leave or come back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use hornero_api::message::OperationLine;
use hornero_store::Lease;
use tokio::sync::watch;

/// Operations whose lines are kept: a client that died is back within a few operations or never. What is under way is
/// kept beyond it; the driver takes a limited number of requests and answers the rest at once.
const KEPT_OPERATIONS: usize = 64;
/// Lines kept an operation; a rollout writes a few dozen.
const KEPT_LINES: usize = 10_000;

struct Operation {
    lines: Vec<OperationLine>,
    changed: watch::Sender<usize>,
    /// Keeps collections away from the images that it may start, until it is over.
    lease: Option<Lease>,
    over: bool,
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
    /// Opens an operation and gives its number. The lease is given back when it is over.
    pub fn open(&self, lease: Option<Lease>) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last += 1;
        let number = inner.last;
        let lines = vec![OperationLine::Accepted { operation: number }];
        let operation = Operation { lines, changed: watch::Sender::new(1), lease, over: false };
        inner.operations.insert(number, operation);
        while inner.operations.len() > KEPT_OPERATIONS {
            let oldest = inner.operations.iter().find(|(_, operation)| operation.over);
            let Some(oldest) = oldest.map(|(number, _)| *number) else { break };
            inner.operations.remove(&oldest);
        }
        number
    }

    /// Adds a line; an operation that is no longer kept, or is full but for its outcome, drops it.
    pub fn push(&self, number: u64, line: OperationLine) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(operation) = inner.operations.get_mut(&number) else { return };
        let last = matches!(line, OperationLine::Finished { .. });
        if operation.lines.len() < KEPT_LINES || last {
            operation.lines.push(line);
            operation.changed.send_replace(operation.lines.len());
        }
        if last {
            operation.over = true;
            operation.lease = None;
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
    use hornero_store::{Store, StoreError};

    fn finish(operations: &Operations, number: u64) {
        let outcome = Outcome { result: OutcomeKind::Done, services: Vec::new(), failure: None };
        operations.push(number, OperationLine::Finished { outcome });
    }

    #[test]
    fn a_late_reader_sees_every_line_and_old_operations_go() {
        let operations = Operations::default();
        let first = operations.open(None);
        finish(&operations, first);
        let (lines, _) = operations.read(first, 0).unwrap();
        assert_eq!(lines.len(), 2);
        assert!(matches!(lines[1], OperationLine::Finished { .. }));
        for _ in 0..KEPT_OPERATIONS {
            operations.open(None);
        }
        assert!(operations.read(first, 0).is_none());
    }

    #[test]
    fn what_is_under_way_is_never_forgotten() {
        let operations = Operations::default();
        let first = operations.open(None);
        let second = operations.open(None);
        finish(&operations, second);
        for _ in 0..2 * KEPT_OPERATIONS {
            let number = operations.open(None);
            finish(&operations, number);
        }
        assert!(operations.read(second, 0).is_none(), "the oldest that is over goes");
        let (_, mut changed) = operations.read(first, 0).unwrap();
        finish(&operations, first);
        assert!(changed.has_changed().unwrap() && *changed.borrow_and_update() == 2);
    }

    #[test]
    fn gc_safe_an_operation_holds_its_lease_until_it_is_over() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let operations = Operations::default();
        let number = operations.open(Some(store.lease().unwrap()));
        assert!(matches!(store.exclusive(), Err(StoreError::Busy(_))));
        finish(&operations, number);
        drop(store.exclusive().unwrap());
        assert!(operations.read(number, 0).is_some(), "its lines are kept");
    }
}
