//! One request over and over, with control killed or the power cut at each of its appends.

use hornero_driver::RequestKind;

use crate::{CrashPoint, Host, Simulation};

/// Carries out what `prepare` asks for once whole, and then once for every append that it made, with control killed, or
/// everything on the host, just before and just after that append. Each comes to rest whole; `check` looks at what it came to,
/// with words that say which one it was. The load goes on all the time. Gives how many appends there were.
pub fn at_every_append(
    seed: u64,
    prepare: impl Fn(&mut Simulation) -> RequestKind,
    check: impl Fn(&Simulation, &str),
) -> u64 {
    let mut simulation = Simulation::new(seed);
    let request = prepare(&mut simulation);
    let before = simulation.host.ledger.appends;
    simulation.ask(request);
    let appends = simulation.host.ledger.appends - before;
    for number in 1..=appends {
        for point in [CrashPoint::Before(number), CrashPoint::After(number)] {
            for takes_host in [false, true] {
                let mut simulation = Simulation::new(seed);
                let request = prepare(&mut simulation);
                simulation.crash_at(point);
                simulation.host.crash_takes_host = takes_host;
                let id = simulation.request(request);
                simulation.answer(id, 60_000);
                simulation.host.crash = None;
                simulation.come_to_rest();
                simulation.check_whole();
                check(&simulation, &format!("seed {seed}, {point:?}, host: {takes_host}"));
            }
        }
    }
    appends
}

impl Host {
    /// The host loses its power and is started again: what ran is gone, ledger and the edge's table stay.
    pub(crate) fn restart(&mut self) {
        self.boots += 1;
        // Of steps that ran the engine may know nothing any more.
        self.work.retain(|id, _| !id.as_str().starts_with("step-"));
        self.engine.lose_power(&mut self.random, self.now);
        self.edge.start_on_another_boot();
    }
}
