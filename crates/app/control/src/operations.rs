//! What clients follow: the lines of each operation, kept so that a client may come late, leave or come back.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use hornero_api::message::OperationLine;
use hornero_model::ServiceName;
use hornero_store::StoreLease;
use tokio::sync::watch;

/// Operations whose lines are kept: a client that died is back within a few operations or never. What is under way is
/// kept beyond it; the driver takes a limited number of requests and answers the rest at once.
const KEPT_OPERATIONS: usize = 64;
/// Lines kept an operation; a rollout writes a few dozen.
const KEPT_LINES: usize = 10_000;

/// Keeps collections away from the images that an operation may start, until the ledger says that they are needed.
#[derive(Debug)]
pub struct Held {
    /// Given back with the rest.
    _lease: StoreLease,
    /// The service that comes last: with its rollout in the ledger all are. None where only the end tells.
    last: Option<ServiceName>,
}

impl Held {
    /// For an operation that comes to these services in this order.
    pub fn new<'s>(
        lease: StoreLease,
        services: impl DoubleEndedIterator<Item = &'s ServiceName>,
    ) -> Self {
        let mut services = services.rev();
        let last = services.next().cloned();
        // Named twice, its first rollout is not the last one.
        let last = last.filter(|last| services.all(|other| other != last));
        Self { _lease: lease, last }
    }

    /// Whether everything that the operation may start is in the ledger, by what it tells.
    fn is_over(&self, line: &OperationLine) -> bool {
        match line {
            OperationLine::Accepted { .. } => false,
            // Told once it is recorded.
            OperationLine::Progress { service, rollout, .. } => {
                rollout.is_some() && service.is_some() && *service == self.last
            }
            OperationLine::Finished { .. } => true,
        }
    }
}

struct Operation {
    begun: Instant,
    lines: Vec<OperationLine>,
    changed: watch::Sender<usize>,
    held: Option<Held>,
    over: bool,
}

/// All operations of this control process, by number.
#[derive(Default)]
pub struct Operations {
    inner: Mutex<Inner>,
    journal_fault: Mutex<Option<String>>,
}

#[derive(Default)]
struct Inner {
    last: u64,
    operations: BTreeMap<u64, Operation>,
}

impl Operations {
    /// Takes why nothing can be written to the ledger; none once it can.
    pub fn set_journal_fault(&self, fault: Option<String>) {
        *self.journal_fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Why nothing can be written to the ledger now.
    pub fn journal_fault(&self) -> Option<String> {
        self.journal_fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens an operation and gives its number.
    pub fn open(&self, held: Option<Held>) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.last += 1;
        let number = inner.last;
        let lines = vec![OperationLine::Accepted { operation: number }];
        let (begun, changed) = (Instant::now(), watch::Sender::new(1));
        let operation = Operation { begun, lines, changed, held, over: false };
        inner.operations.insert(number, operation);
        while inner.operations.len() > KEPT_OPERATIONS {
            let oldest = inner.operations.iter().find(|(_, operation)| operation.over);
            let Some(oldest) = oldest.map(|(number, _)| *number) else { break };
            inner.operations.remove(&oldest);
        }
        number
    }

    /// Adds a line; an operation that is no longer kept, or is full but for its outcome, drops it.
    pub fn push(&self, number: u64, mut line: OperationLine) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(operation) = inner.operations.get_mut(&number) else { return };
        if let OperationLine::Progress { after_ms, .. } = &mut line {
            *after_ms = Some(operation.begun.elapsed().as_secs_f64() * 1_000.0);
        }
        let last = matches!(line, OperationLine::Finished { .. });
        operation.held.take_if(|held| held.is_over(&line));
        if operation.lines.len() < KEPT_LINES || last {
            operation.lines.push(line);
            operation.changed.send_replace(operation.lines.len());
        }
        operation.over |= last;
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
    use hornero_api::message::{OperationOutcome, OutcomeKind};
    use hornero_model::RolloutId;
    use hornero_store::{Store, StoreError};

    fn finish(operations: &Operations, number: u64) {
        let outcome =
            OperationOutcome { result: OutcomeKind::Done, services: Vec::new(), failure: None };
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
    fn gc_safe_an_operation_holds_its_lease_until_the_ledger_knows_of_its_last_rollout() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let operations = Operations::default();
        let services: Vec<ServiceName> =
            ["data", "site"].iter().map(|name| name.parse().unwrap()).collect();
        let is_held = || matches!(store.exclusive(), Err(StoreError::Busy(_)));
        let open = |services: &[ServiceName]| {
            let held = Held::new(store.lease().unwrap(), services.iter());
            let number = operations.open(Some(held));
            assert!(is_held());
            number
        };
        let tell = |number, service: usize, rollout: Option<u64>| {
            let line = OperationLine::Progress {
                service: Some(services[service].clone()),
                rollout: rollout.map(RolloutId),
                phase: "preparing".to_owned(),
                message: String::new(),
                instance: None,
                after_ms: None,
                serves: None,
            };
            operations.push(number, line);
        };
        let number = open(&services);
        tell(number, 0, Some(1));
        tell(number, 1, None);
        assert!(is_held(), "the site is still to come");
        tell(number, 1, Some(2));
        assert!(!is_held(), "however long it drains");

        let number = open(&services);
        tell(number, 0, Some(3));
        finish(&operations, number);
        assert!(!is_held(), "the site was as it should be");
        assert!(operations.read(number, 0).is_some(), "its lines are kept");

        let twice = [&services[1], &services[0], &services[1]].map(Clone::clone);
        let number = open(&twice);
        tell(number, 1, Some(4));
        assert!(is_held(), "it comes again");
        finish(&operations, number);
        assert!(!is_held());
    }
}
