//! What the clients know against what the server has.

use std::collections::BTreeMap;

use super::{
    store::{WriteFault, WriteRule, WriteSession, WriteStore},
    writer::{NUMBERS, TurnedAway, WriteReport},
};

/// What became of the writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WritesChecked {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes that broke off: they may be there, or not.
    pub broken: u64,
    /// Numbers that are there several times where that may be.
    pub again: u64,
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
        let mut checked = WritesChecked::default();
        self.numbers(session.appended()?, store.rule(), &mut checked);
        if store.rule() == WriteRule::Mixed {
            self.sums(&mut *session, &mut checked)?;
        }
        Ok(checked)
    }

    /// Numbers: what was acknowledged is there, once where that is promised, and nothing that was never asked for.
    fn numbers(&self, appended: Vec<u64>, rule: WriteRule, checked: &mut WritesChecked) {
        let mut there = BTreeMap::<u64, u64>::new();
        for number in appended {
            *there.entry(number).or_default() += 1;
        }
        for client in &self.clients {
            let lost = client.appended.iter().filter(|number| !there.contains_key(number));
            checked.tell("acknowledged and lost", lost);
            checked.acknowledged += client.appended.len() as u64;
            checked.broken += client.broken;
        }
        let client_of = |number: u64| usize::try_from(number / NUMBERS).ok();
        let was_asked = |number: u64| {
            let client = client_of(number).and_then(|client| self.clients.get(client));
            client.is_some_and(|client| number < client.end)
        };
        checked.tell("never asked for", there.keys().filter(|number| !was_asked(**number)));
        let again = there.iter().filter(|(_, times)| **times > 1).map(|(number, _)| number);
        match rule {
            WriteRule::Mixed | WriteRule::Once => checked.tell("there more than once", again),
            WriteRule::AtLeastOnce => checked.again = again.count() as u64,
        }
    }

    /// Counters and accounts.
    fn sums(
        &self,
        session: &mut dyn WriteSession,
        checked: &mut WritesChecked,
    ) -> Result<(), WriteFault> {
        for client in &self.clients {
            let counter = session.counted(client.client)?;
            let most = client.counted + client.uncertain;
            if counter < client.counted || counter > most {
                checked.wrong.push(format!(
                    "counter {} is at {counter}: {} were acknowledged, {most} asked for",
                    client.client, client.counted
                ));
            }
            checked.acknowledged += client.counted + client.transfers;
        }
        let balance = session.balance()?;
        if balance != 0 {
            checked.wrong.push(format!("half a transfer: all accounts together have {balance}"));
        }
        Ok(())
    }

    /// Connections that were refused because nobody listened.
    pub fn refused(&self) -> usize {
        let refused = |of: &&TurnedAway| matches!(of.fault, WriteFault::Refused(_));
        self.refusals.iter().filter(refused).count()
    }
}

impl WritesChecked {
    /// Says that there are numbers of which there should be none.
    fn tell<'a>(&mut self, what: &str, numbers: impl Iterator<Item = &'a u64>) {
        let numbers: Vec<_> = numbers.collect();
        if !numbers.is_empty() {
            self.wrong.push(format!("{what}: {numbers:?}"));
        }
    }
}
