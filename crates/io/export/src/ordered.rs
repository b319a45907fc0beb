//! Blocks through a function on all cores, and out again in the order they came.

use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
};

use crate::ExportError;

/// Blocks in flight for each thread: enough that none waits, few enough that memory stays small.
const AHEAD: usize = 3;

/// Where blocks go in; whatever came out in order is given to the sink meanwhile.
pub(crate) struct Feeder<'a, Tag> {
    jobs: Option<SyncSender<(u64, Tag, Vec<u8>)>>,
    results: Receiver<Done<Tag>>,
    pending: BTreeMap<u64, Done<Tag>>,
    sink: &'a mut dyn FnMut(Tag, Vec<u8>, Vec<u8>) -> Result<(), ExportError>,
    fed: u64,
    given: u64,
    in_flight_max: u64,
}

struct Done<Tag> {
    number: u64,
    tag: Tag,
    raw: Vec<u8>,
    result: Result<Vec<u8>, ExportError>,
}

impl<Tag> Feeder<'_, Tag> {
    /// Adds one block; waits while too many are in flight.
    pub(crate) fn feed(&mut self, tag: Tag, raw: Vec<u8>) -> Result<(), ExportError> {
        while self.fed - self.given >= self.in_flight_max {
            self.take()?;
        }
        let jobs = self.jobs.as_ref().expect("it is only taken at the end");
        jobs.send((self.fed, tag, raw)).expect("the workers live until the feeder is gone");
        self.fed += 1;
        Ok(())
    }

    fn take(&mut self) -> Result<(), ExportError> {
        let done = self.results.recv().expect("the workers answer every block");
        self.pending.insert(done.number, done);
        while let Some(done) = self.pending.remove(&self.given) {
            self.given += 1;
            (self.sink)(done.tag, done.raw, done.result?)?;
        }
        Ok(())
    }
}

/// Runs `work` over every block that `feed` puts in; `sink` gets tag, block and result in the order of the blocks.
pub(crate) fn run<Tag: Send, Value>(
    work: impl Fn(&[u8]) -> Result<Vec<u8>, ExportError> + Sync,
    sink: &mut dyn FnMut(Tag, Vec<u8>, Vec<u8>) -> Result<(), ExportError>,
    feed: impl FnOnce(&mut Feeder<'_, Tag>) -> Result<Value, ExportError>,
) -> Result<Value, ExportError> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (job_sender, job_receiver) = mpsc::sync_channel::<(u64, Tag, Vec<u8>)>(threads * AHEAD);
    let (result_sender, results) = mpsc::channel();
    let job_receiver = Mutex::new(job_receiver);
    thread::scope(|scope| {
        for _ in 0..threads {
            let (job_receiver, work, sender) = (&job_receiver, &work, result_sender.clone());
            scope.spawn(move || {
                loop {
                    let job = job_receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, tag, raw)) = job else {
                        return;
                    };
                    let result = work(&raw);
                    if sender.send(Done { number, tag, raw, result }).is_err() {
                        return;
                    }
                }
            });
        }
        drop(result_sender);
        let mut feeder = Feeder {
            jobs: Some(job_sender),
            results,
            pending: BTreeMap::new(),
            sink,
            fed: 0,
            given: 0,
            in_flight_max: (threads * AHEAD) as u64,
        };
        let value = feed(&mut feeder)?;
        feeder.jobs = None;
        while feeder.given < feeder.fed {
            feeder.take()?;
        }
        Ok(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_out_in_order() {
        let mut seen = Vec::new();
        let mut sink = |tag: u32, raw: Vec<u8>, result: Vec<u8>| {
            assert_eq!(raw.len(), 1 + tag as usize % 7);
            seen.push((tag, result));
            Ok(())
        };
        let work = |raw: &[u8]| {
            if raw.len() == 3 {
                thread::yield_now();
            }
            Ok(vec![raw.len() as u8])
        };
        run(work, &mut sink, |feeder| {
            (0..1000).try_for_each(|tag| feeder.feed(tag, vec![0; 1 + tag as usize % 7]))
        })
        .unwrap();
        let expected: Vec<_> = (0..1000).map(|tag| (tag, vec![1 + (tag % 7) as u8])).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_error_ends_it() {
        let fail = || ExportError::TooLarge("test".into());
        let failed = run(
            |raw| if raw == [9] { Err(fail()) } else { Ok(Vec::new()) },
            &mut |_, _, _| Ok(()),
            |feeder| (0..100).try_for_each(|number| feeder.feed((), vec![number])),
        );
        assert!(failed.is_err());
        let mut sink = |(), _, _| Err(fail());
        assert!(run(|_| Ok(Vec::new()), &mut sink, |feeder| feeder.feed((), vec![])).is_err());
    }
}
