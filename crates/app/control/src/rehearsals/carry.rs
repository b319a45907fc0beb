//! Carries one rehearsal out: its server is started once, has to become healthy, and is removed whatever happens.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use hornero_model::{
    HealthContract, InstanceId, Millis, RehearsalEnd, ServiceName, ServiceSpec, error_chain,
};

use crate::{
    check, image_tests,
    instances::exit_of,
    ports::Adapters,
    start::{TEST_RELEASE, log_tail},
    tail::new_tail,
    underway::Going,
};

/// How long a server without a health contract has to run to count as healthy.
const RUNS_FOR: Duration = Duration::from_secs(2);
/// Between two questions at least: a contract's interval may be long, and a server that starts is asked sooner.
const SOONEST: Duration = Duration::from_millis(20);
/// Between two looks whether such a server runs still.
const LOOK: Duration = Duration::from_millis(100);
/// How long it may take to end before it is killed: nobody waits for what it does.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Does it, and says how it ended.
pub fn carry_out(
    adapters: &Adapters,
    id: InstanceId,
    server: &ServiceSpec,
    going: &Going<ServiceName>,
) -> RehearsalEnd {
    let healthy = until_healthy(adapters, &id, server, going);
    let log = match &healthy {
        Ok(_) => None,
        Err(_) => log_tail(&**adapters.starter.engine(), &id).pop(),
    };
    remove(adapters, &id);
    let tested = healthy.and_then(|took| {
        let image = server.image;
        let (term, tail) = (adapters.tenure.term(), new_tail());
        let (starter, runtime) = (&adapters.starter, &adapters.runtime);
        let run = image_tests::run(starter, runtime, image, server, (term, &tail));
        match run.results.iter().find(|test| !test.passed) {
            Some(failed) => Err(format!("test `{}`: {}", failed.test, failed.detail)),
            None => Ok(took),
        }
    });
    match tested {
        Ok(took) => RehearsalEnd { id, healthy_after: Some(took), failure: String::new() },
        Err(why) => {
            let said = log.map_or_else(String::new, |line| format!("; its last word was: {line}"));
            RehearsalEnd { id, healthy_after: None, failure: format!("{why}{said}") }
        }
    }
}

/// Starts its server, and says how long it took to become healthy.
fn until_healthy(
    adapters: &Adapters,
    id: &InstanceId,
    server: &ServiceSpec,
    going: &Going<ServiceName>,
) -> Result<Millis, String> {
    let starter = &adapters.starter;
    // What keeps a rollback from beginning is what a rehearsal is to find.
    if let Err(denied) = starter.accept_again(std::slice::from_ref(server)) {
        return Err(error_chain(&denied));
    }
    // It is none of the servers of its release: they get requests.
    let spec = starter.instance_spec(id, TEST_RELEASE, server);
    let spec = spec.map_err(|error| format!("its server was not started: {error:#}"))?;
    let begun = Instant::now();
    let place = adapters.starts.enter(|_| ());
    let started = starter.engine().start(adapters.tenure.term(), &spec);
    drop(place);
    let started =
        started.map_err(|error| format!("its server was not started: {}", error_chain(&error)))?;
    match (&server.health, started.address) {
        (Some(contract), Some(address)) => {
            ask(adapters, id, (contract, address), (begun, going))?;
        }
        (Some(_), None) => return Err("its server has no address".to_owned()),
        (None, _) => runs_on(adapters, id, (begun, going))?,
    }
    let took = begun.elapsed().as_millis();
    Ok(Millis(u64::try_from(took).unwrap_or(u64::MAX)))
}

/// Asks by the contract until it is healthy.
fn ask(
    adapters: &Adapters,
    id: &InstanceId,
    (contract, address): (&HealthContract, IpAddr),
    (begun, going): (Instant, &Going<ServiceName>),
) -> Result<(), String> {
    let deadline = begun + contract.start_timeout.duration();
    let interval = contract.interval.duration();
    let (mut in_a_row, mut pause) = (0, SOONEST.min(interval));
    loop {
        let asked = check::ask(&contract.check, address, contract.timeout.duration());
        let seen = adapters.runtime.block_on(asked);
        in_a_row = if seen.is_ok() { in_a_row + 1 } else { 0 };
        if in_a_row >= contract.healthy_after {
            return Ok(());
        }
        let seen = seen.err();
        still_there(adapters, id, going)?;
        if Instant::now() + pause >= deadline {
            let limit = contract.start_timeout;
            let seen = seen.unwrap_or_else(|| "it answered too few times in a row".to_owned());
            return Err(format!("it did not become healthy within {limit}: {seen}"));
        }
        going.wait(pause);
        pause = (pause * 2).min(interval.max(SOONEST));
    }
}

/// Waits until it has run for long enough.
fn runs_on(
    adapters: &Adapters,
    id: &InstanceId,
    (begun, going): (Instant, &Going<ServiceName>),
) -> Result<(), String> {
    while begun.elapsed() < RUNS_FOR {
        still_there(adapters, id, going)?;
        going.wait(LOOK);
    }
    still_there(adapters, id, going)
}

/// Why it can't become healthy any more.
fn still_there(
    adapters: &Adapters,
    id: &InstanceId,
    going: &Going<ServiceName>,
) -> Result<(), String> {
    if going.is_to_end() {
        return Err("it was ended: its service goes down".to_owned());
    }
    match exit_of(&**adapters.starter.engine(), id) {
        Some(cause) => Err(format!("its server {cause}")),
        None => Ok(()),
    }
}

/// Removes its server; its log stays as those of other servers do. What is left here is removed by the next control.
fn remove(adapters: &Adapters, id: &InstanceId) {
    let (engine, term) = (adapters.starter.engine(), adapters.tenure.term());
    // What was never started need not be stopped.
    let _ = engine.stop(term, id, STOP_GRACE);
    if let Err(error) = engine.remove(term, id) {
        tracing::debug!("removing the server of rehearsal `{id}`: {}", error_chain(&error));
    }
}
