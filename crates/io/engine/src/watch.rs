//! The thread that notices the end of shims.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use hornero_engine_port::EngineError;
use hornero_model::InstanceId;
use rustix::{
    buffer::spare_capacity,
    event::{
        EventfdFlags,
        epoll::{self, CreateFlags, EventData, EventFlags},
        eventfd,
    },
};

use crate::state::Shared;

/// The event that ends the thread; instances count from 1.
const STOP: u64 = 0;

/// Watches shims until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    inner: Arc<Inner>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    epoll: OwnedFd,
    shims: Mutex<Shims>,
}

#[derive(Debug, Default)]
struct Shims {
    last: u64,
    watched: BTreeMap<u64, (InstanceId, OwnedFd)>,
}

impl Watch {
    pub fn start(shared: Arc<Shared>) -> Result<Self, EngineError> {
        let failed = |error: io::Error| EngineError::failed("watch instances", error);
        let made = || -> io::Result<_> {
            let epoll = epoll::create(CreateFlags::CLOEXEC)?;
            let stop = eventfd(0, EventfdFlags::CLOEXEC)?;
            epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
            Ok((epoll, stop))
        };
        let (epoll, stop) = made().map_err(failed)?;
        let inner = Arc::new(Inner { epoll, shims: Mutex::default() });
        let work = {
            let inner = Arc::clone(&inner);
            move || watch(&inner, &shared)
        };
        let thread =
            thread::Builder::new().name("instances".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { inner, stop, thread: Some(thread) })
    }

    /// Watches a shim; one that has ended already is noticed too.
    pub fn add(&self, id: InstanceId, shim: OwnedFd) -> io::Result<()> {
        let mut shims = self.inner.shims.lock().unwrap_or_else(PoisonError::into_inner);
        shims.last += 1;
        let number = shims.last;
        epoll::add(&self.inner.epoll, shim.as_fd(), EventData::new_u64(number), EventFlags::IN)?;
        shims.watched.insert(number, (id, shim));
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The descriptor is open, and its counter far from full.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(inner: &Inner, shared: &Shared) {
    /// A switch ends a set at a time.
    const EVENTS: usize = 32;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        events.clear();
        match epoll::wait(&inner.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Only for a bad descriptor, which this one is not.
            Err(_) => return,
        }
        for event in &events {
            let number = event.data.u64();
            if number == STOP {
                return;
            }
            let ended = {
                let mut shims = inner.shims.lock().unwrap_or_else(PoisonError::into_inner);
                shims.watched.remove(&number)
            };
            if let Some((id, shim)) = ended {
                // Closing the last descriptor would do; this one may have copies.
                let _ = epoll::delete(&inner.epoll, &shim);
                shared.ended(&id);
            }
        }
    }
}
