//! What the clients know against what the server has.

use super::{
    store::{WriteFault, WriteStore},
    writer::{TurnedAway, WriteReport},
};

/// What became of the writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WritesChecked {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that broke off: they may be there, or not.
    pub broken: u64,
    /// What is wrong; nothing where all that was acknowledged is there, and nothing that was never asked for.
    pub wrong: Vec<String>,
}

impl WriteReport {
    /// Compares with what the server has by now; the clients have to be the only ones that wrote.
    ///
    /// # Errors
    /// Where the server can't be asked.
    pub fn check(&self, store: &dyn WriteStore) -> Result<WritesChecked, WriteFault> {
        let mut session = store.connect()?;
        let there = session.appended()?;
        let mut checked = WritesChecked::default();
        for client in &self.clients {
            let lost: Vec<_> = client.appended.iter().filter(|of| !there.contains(of)).collect();
            if !lost.is_empty() {
                checked.wrong.push(format!("acknowledged and lost: {lost:?}"));
            }
            let counter = session.counted(client.client)?;
            let most = client.counted + client.uncertain;
            if counter < client.counted || counter > most {
                checked.wrong.push(format!(
                    "counter {} is at {counter}: {} were acknowledged, {most} asked for",
                    client.client, client.counted
                ));
            }
            checked.acknowledged += client.counted + client.transfers;
            checked.acknowledged += client.appended.len() as u64;
            checked.broken += client.broken;
        }
        let balance = session.balance()?;
        if balance != 0 {
            checked.wrong.push(format!("half a transfer: all accounts together have {balance}"));
        }
        Ok(checked)
    }

    /// Connections that were refused because nobody listened.
    pub fn refused(&self) -> usize {
        let refused = |of: &&TurnedAway| matches!(of.fault, WriteFault::Refused(_));
        self.refusals.iter().filter(refused).count()
    }
}
