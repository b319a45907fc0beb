//! Taking a table in from control: whole, by what it changes of the one in force, or prepared first and put in force later.

use std::{rc::Rc, sync::Arc};

use hornero_model::{RouteTable, Term};

use crate::{
    admin::{change::TableChange, protocol::Applied},
    control::Control,
    error::EdgeError,
    table::Table,
};

impl Control {
    /// Puts a table in force: checks it, opens what is new, switches every thread, writes it to disk. A listener that can't
    /// serve keeps no other from it: the status tells of it.
    pub(crate) async fn apply(
        self: &Rc<Self>,
        source: RouteTable,
        term: Option<Term>,
    ) -> Result<Applied, EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        self.admit(term).await?;
        let current = self.table();
        if source == current.source {
            return self.applied_before(&current).await;
        }
        check_newer(source.generation, &current)?;
        let table = self.prepare(source, &[])?;
        self.put_in_force(table, term).await
    }

    /// Puts a table in force that is told by what it changes of the one in force, where that is known to be the one that the
    /// control of this term means.
    pub(crate) async fn change(
        self: &Rc<Self>,
        change: TableChange,
        term: Option<Term>,
    ) -> Result<Applied, EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        self.admit(term).await?;
        let current = self.table();
        let is_own = term.is_some_and(|term| !term.is_first()) && self.given_by.get() == term;
        // Asked again for what is in force by now, it wants to see all of it: a number alone does not say that it is the same.
        if !is_own || current.source.generation != change.from {
            return Err(EdgeError::UnknownTable { given: change.from });
        }
        let source = change.of(&current.source);
        check_newer(source.generation, &current)?;
        let table = self.prepare(source, &[])?;
        self.put_in_force(table, term).await
    }

    /// Checks a table and keeps it ready in the place of the last one that was, without putting it in force; its generation.
    pub(crate) async fn make_ready(
        self: &Rc<Self>,
        source: RouteTable,
        term: Option<Term>,
    ) -> Result<u64, EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        self.admit(term).await?;
        let (current, generation) = (self.table(), source.generation);
        if source != current.source {
            check_newer(generation, &current)?;
            *self.ready.borrow_mut() = Some(self.prepare(source, &[])?);
        }
        Ok(generation)
    }

    /// Puts the table in force that was made ready last, if it has this generation.
    pub(crate) async fn commit(
        self: &Rc<Self>,
        generation: u64,
        term: Option<Term>,
    ) -> Result<Applied, EdgeError> {
        let _one_at_a_time = self.applying.lock().await;
        self.admit(term).await?;
        let current = self.table();
        if generation == current.source.generation {
            return self.applied_before(&current).await;
        }
        let ready = self.ready.borrow_mut().take_if(|of| of.source.generation == generation);
        match ready {
            Some(table) => self.put_in_force(table, term).await,
            None => Err(EdgeError::NotPrepared { given: generation }),
        }
    }

    /// The answer for a table that is in force already.
    async fn applied_before(&self, current: &Arc<Table>) -> Result<Applied, EdgeError> {
        self.persist(current).await?;
        let generation = current.source.generation;
        Ok(Applied { generation, switch_ms: 0.0, counters: self.sets.read_counts() })
    }

    async fn put_in_force(
        self: &Rc<Self>,
        table: Arc<Table>,
        term: Option<Term>,
    ) -> Result<Applied, EdgeError> {
        let fresh = self.open_missing(&table);
        let switch_ms = self.switch(table.clone(), fresh).await;
        self.given_by.set(term);
        let counters = self.sets.read_counts();
        self.persist(&table).await?;
        self.certificates.sweep(&table.source.listeners);
        Ok(Applied { generation: table.source.generation, switch_ms, counters })
    }
}

/// Refuses what is not newer than the table in force.
fn check_newer(given: u64, current: &Table) -> Result<(), EdgeError> {
    match current.source.generation {
        current if given <= current => Err(EdgeError::StaleGeneration { given, current }),
        _ => Ok(()),
    }
}
