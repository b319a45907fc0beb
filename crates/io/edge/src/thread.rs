//! One thread of the edge: its runtime, and what the control thread has it do.

use std::{io, net::SocketAddr, os::fd::OwnedFd, rc::Rc, sync::Arc};

use hornero_model::{ReleaseNumber, ServiceName};
use tokio::{
    sync::{mpsc, oneshot},
    task::{LocalSet, spawn_local},
};

use crate::{
    accept::Acceptor,
    clock::TICK,
    limits::Limits,
    table::Table,
    worker::{Common, Worker},
};

/// How long a kept-alive connection without a request is left open while a successor takes over: a busy client sends
/// one in that time, and learns from the answer that the connection ends.
pub(crate) const HANDOVER_IDLE_MS: u64 = 5_000;
/// The same when the edge stops for good: its clients are about to lose it anyway.
pub(crate) const STOP_IDLE_MS: u64 = 1_000;

/// What the control thread tells a thread.
pub(crate) enum Command {
    /// Uses another table from now on, and listens on more sockets.
    Apply { table: Arc<Table>, sockets: Vec<(SocketAddr, OwnedFd)>, done: oneshot::Sender<()> },
    /// A backend's health changed: held requests look again.
    HealthChanged,
    /// Interrupts the requests of one release; answers how many.
    Cut { service: ServiceName, release: ReleaseNumber, done: oneshot::Sender<u64> },
    /// Accepts nothing more, but first what waits in the queues unless a successor shares them; then tells once nothing
    /// is open.
    Drain { take_queued: bool, idle_ms: u64, done: oneshot::Sender<()> },
    /// Accepts again: the successor is gone.
    Resume { sockets: Vec<(SocketAddr, OwnedFd)>, done: oneshot::Sender<()> },
    /// Interrupts everything.
    CutAll,
    /// Ends the thread.
    End,
}

/// Runs a thread until its commands end; tells `drained` its lane whenever it has drained.
pub(crate) fn run(
    lane: usize,
    limits: Arc<Limits>,
    common: Arc<Common>,
    table: Arc<Table>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    drained: &mpsc::UnboundedSender<usize>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let worker = Rc::new(Worker::new(lane, limits, common, table));
    let mut acceptor = Acceptor::new(worker.clone());
    local.block_on(&runtime, async {
        spawn_local(tick_for_ever(worker.clone()));
        let mut told = false;
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::End) | None => return,
                    Some(command) => obey(&worker, &mut acceptor, command),
                },
                () = worker.slots.emptied.notified() => {}
            }
            let empty = worker.is_draining() && worker.slots.count() == 0;
            if empty && !told {
                // Whoever started the thread may be gone.
                let _ = drained.send(lane);
            }
            told = empty;
        }
    });
    Ok(())
}

async fn tick_for_ever(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        worker.tick();
    }
}

fn obey(worker: &Worker, acceptor: &mut Acceptor, command: Command) {
    // Whoever asked may be gone; what was asked is done all the same.
    match command {
        Command::Apply { table, sockets, done } => {
            let table = worker.use_table(table);
            acceptor.listen_on(sockets);
            acceptor.keep(|address| table.listener(address).is_some(), true);
            let _ = done.send(());
        }
        Command::HealthChanged => worker.changed.notify_waiters(),
        Command::Cut { service, release, done } => {
            let count = worker.slots.cut(|counters| {
                counters.set().release() == release && service.is_of(&counters.set().pool().service)
            });
            let _ = done.send(count);
        }
        Command::Drain { take_queued, idle_ms, done } => {
            acceptor.keep(|_| false, take_queued);
            worker.set_draining(Some(idle_ms));
            // HTTP/2 connections say goodbye now; others with their next answer.
            worker.changed.notify_waiters();
            let _ = done.send(());
        }
        Command::Resume { sockets, done } => {
            worker.set_draining(None);
            acceptor.listen_on(sockets);
            let _ = done.send(());
        }
        Command::CutAll => worker.slots.cut_all(),
        Command::End => {}
    }
}
