//! The ledger read from its first event: what is known of a home is folded from it.

use hornero_driver::Churn;
use hornero_ledger::{Ledger, LedgerError};
use hornero_model::{Event, EventBody, Receipt};
use hornero_rollout::World;

use crate::notify::Notifier;

/// What a ledger tells.
#[derive(Debug, Default)]
pub struct Told {
    /// What is known.
    pub world: World,
    /// What was made and removed.
    pub churn: Churn,
    /// Every receipt, oldest first.
    pub receipts: Vec<Receipt>,
}

/// Folds the whole ledger.
pub fn load(ledger: &dyn Ledger, notifier: &Notifier) -> anyhow::Result<Told> {
    let Told { mut world, mut churn, mut receipts } = Told::default();
    let last = ledger.head()?.sequence;
    fold(
        &mut world,
        |next| ledger.read(next, hornero_ledger::MAX_READ_EVENTS),
        |event| {
            notifier.still_starting(|| format!("reading event {} of {last}", event.sequence));
            churn.apply(event);
            if let EventBody::Switched { receipt } = &event.body {
                receipts.push((**receipt).clone());
            }
        },
    )?;
    Ok(Told { world, churn, receipts })
}

/// Folds page by page until there is none, and shows each event.
pub fn fold(
    world: &mut World,
    read: impl Fn(u64) -> Result<Vec<Event>, LedgerError>,
    mut see: impl FnMut(&Event),
) -> anyhow::Result<()> {
    let mut next = 1;
    loop {
        let events = read(next)?;
        let Some(last) = events.last() else { return Ok(()) };
        next = last.sequence + 1;
        for event in &events {
            world.apply(event)?;
            see(event);
        }
    }
}
