//! The check of writes sees what is lost, what is there twice, and what nobody asked for.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use hornero_load::writes::{WriteFault, WriteRule, WriteSession, WriteStore, Writers};

/// A server in memory, of whose acknowledgements every seventh does not arrive.
struct Memory {
    rule: WriteRule,
    numbers: Arc<Mutex<Numbers>>,
}

#[derive(Default)]
struct Numbers {
    appended: Vec<u64>,
    /// Whether a number that is there already is left alone.
    knows_again: bool,
    asked: u64,
}

impl WriteStore for Memory {
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault> {
        Ok(Box::new(MemorySession(Arc::clone(&self.numbers))))
    }

    fn rule(&self) -> WriteRule {
        self.rule
    }
}

struct MemorySession(Arc<Mutex<Numbers>>);

impl WriteSession for MemorySession {
    fn prepare(&mut self) -> Result<(), WriteFault> {
        Ok(())
    }

    fn append(&mut self, number: u64) -> Result<(), WriteFault> {
        let mut numbers = self.0.lock().unwrap();
        if !numbers.knows_again || !numbers.appended.contains(&number) {
            numbers.appended.push(number);
        }
        numbers.asked += 1;
        match numbers.asked % 7 {
            0 => Err(WriteFault::Broken("the answer is lost".to_owned())),
            _ => Ok(()),
        }
    }

    fn appended(&mut self) -> Result<Vec<u64>, WriteFault> {
        Ok(self.0.lock().unwrap().appended.clone())
    }
}

/// What is wrong with so many writes and a change of what the server has, and how many numbers are there again.
fn checked(
    rule: WriteRule,
    knows_again: bool,
    change: impl Fn(&mut Vec<u64>),
) -> (Vec<String>, u64) {
    let numbers = Arc::new(Mutex::new(Numbers { knows_again, ..Numbers::default() }));
    let store = Arc::new(Memory { rule, numbers: Arc::clone(&numbers) });
    let writers = Writers::start(Arc::clone(&store) as Arc<dyn WriteStore>, 2).unwrap();
    while numbers.lock().unwrap().asked < 40 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let report = writers.stop();
    change(&mut numbers.lock().unwrap().appended);
    let checked = report.check(&*store).unwrap();
    assert!(checked.acknowledged > 20 && checked.broken > 2, "{checked:?}");
    (checked.wrong, checked.again)
}

#[test]
fn what_is_sent_again_is_there_once_where_that_is_promised() {
    assert_eq!(checked(WriteRule::Once, true, |_| {}), (Vec::new(), 0));
    let (wrong, again) = checked(WriteRule::AtLeastOnce, false, |_| {});
    assert_eq!(wrong, Vec::<String>::new());
    assert!(again > 2, "{again}");
    let (wrong, _) = checked(WriteRule::Once, false, |_| {});
    assert!(wrong[0].starts_with("there more than once: ["), "{wrong:?}");
}

#[test]
fn what_is_lost_or_made_up_is_seen() {
    for rule in [WriteRule::Once, WriteRule::AtLeastOnce] {
        let (wrong, _) = checked(rule, true, |appended| {
            appended.remove(0);
        });
        assert!(wrong[0].starts_with("acknowledged and lost: ["), "{wrong:?}");
        let (wrong, _) = checked(rule, true, |appended| appended.push(9 << 32));
        assert!(wrong[0].starts_with("never asked for: ["), "{wrong:?}");
    }
}
