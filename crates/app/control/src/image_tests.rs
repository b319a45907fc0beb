//! Runs the tests that an image declares, against a server started from exactly that image.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_engine_port::{Engine, InstanceSpec};
use hornero_model::{
    Check, Digest, ExitCause, ImageTest, InstanceId, ServiceSpec, Term, TestCheck,
};
use hornero_rollout::{TestOutcome, TestRun};
use tokio::runtime::Handle;

use crate::{
    check,
    instances::exit_of,
    start::{Starter, TEST_RELEASE, log_tail},
};

/// Between two questions to a server that is still starting: short at first, so that a fast server is no slower.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a tested server may take to end by itself before it is killed.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// Runs every test of `image`, by the term of this control and with a tail for the ids of its servers; results in the image's
/// order.
pub fn run(
    starter: &Starter,
    runtime: &Handle,
    image: Digest,
    spec: &ServiceSpec,
    (term, tail): (Term, &str),
) -> TestRun {
    let tests = match starter.tests_of(&image) {
        Ok(tests) => tests,
        Err(error) => return failed_all(&[], &error.to_string()),
    };
    let (server, commands): (Vec<ImageTest>, Vec<ImageTest>) =
        tests.into_iter().partition(|test| matches!(test.check, TestCheck::Server(_)));
    let mut run = TestRun { results: Vec::new(), not_run: None, log_tail: Vec::new() };
    if !server.is_empty() {
        ask_server(starter, runtime, image, spec, (term, tail), &server, &mut run);
    }
    for (index, test) in commands.iter().enumerate() {
        let name = format!("{tail}{index}");
        run_command(starter, image, spec, (term, &name), test, &mut run);
    }
    run
}

fn failed_all(tests: &[ImageTest], why: &str) -> TestRun {
    let names = tests.iter().map(|test| test.name.clone());
    let names: Vec<String> =
        if tests.is_empty() { vec!["start".to_owned()] } else { names.collect() };
    let results = names
        .into_iter()
        .map(|test| TestOutcome { test, passed: false, detail: why.to_owned() })
        .collect();
    TestRun { results, not_run: Some(why.to_owned()), log_tail: Vec::new() }
}

/// The tests of the server count as failed, none of which was run.
fn run_none(tests: &[ImageTest], why: &str, run: &mut TestRun) {
    let failed = failed_all(tests, why);
    run.results.extend(failed.results);
    run.not_run = failed.not_run;
}

/// A started test instance that is removed again whatever happens.
struct TestInstance<'s> {
    engine: &'s Arc<dyn Engine>,
    term: Term,
    id: InstanceId,
}

impl Drop for TestInstance<'_> {
    fn drop(&mut self) {
        let _ = self.engine.stop(self.term, &self.id, STOP_GRACE);
        if let Err(error) = self.engine.remove(self.term, &self.id) {
            tracing::warn!("removing test instance `{}` failed: {error}", self.id);
        }
    }
}

impl TestInstance<'_> {
    /// Why it ended; none while it runs.
    fn ended(&self) -> Option<ExitCause> {
        exit_of(&**self.engine, &self.id)
    }

    fn log_tail(&self) -> Vec<String> {
        log_tail(&**self.engine, &self.id)
    }
}

fn test_spec(
    starter: &Starter,
    image: Digest,
    spec: &ServiceSpec,
    tail: &str,
) -> anyhow::Result<InstanceSpec> {
    let id = InstanceId::new(format!("test-{}-{tail}", image.short()))?;
    starter.instance_spec(&id, TEST_RELEASE, &ServiceSpec { image, ..spec.clone() })
}

fn ask_server(
    starter: &Starter,
    runtime: &Handle,
    image: Digest,
    spec: &ServiceSpec,
    (term, tail): (Term, &str),
    tests: &[ImageTest],
    run: &mut TestRun,
) {
    let prepared = test_spec(starter, image, spec, tail);
    let instance_spec = match prepared {
        Ok(instance_spec) => instance_spec,
        Err(error) => return run_none(tests, &format!("{error:#}"), run),
    };
    let instance = TestInstance { engine: starter.engine(), term, id: instance_spec.id.clone() };
    let begun = Instant::now();
    let started = match starter.engine().start(term, &instance_spec) {
        Ok(started) => started,
        Err(error) => {
            run_none(tests, &error.to_string(), run);
            run.log_tail = instance.log_tail();
            return;
        }
    };
    let Some(address) = started.address else {
        return run_none(tests, "the tested server has no address", run);
    };
    for test in tests {
        let TestCheck::Server(wanted) = &test.check else { continue };
        let deadline = begun + test.timeout.duration();
        let seen = runtime.block_on(until_passed(&instance, wanted, address, deadline));
        if seen.is_err() && run.log_tail.is_empty() {
            run.log_tail = instance.log_tail();
        }
        let (passed, detail) = (seen.is_ok(), seen.err().unwrap_or_default());
        run.results.push(TestOutcome { test: test.name.clone(), passed, detail });
    }
}

async fn until_passed(
    instance: &TestInstance<'_>,
    wanted: &Check,
    address: std::net::IpAddr,
    deadline: Instant,
) -> Result<(), String> {
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let seen = match check::ask(wanted, address, left.min(ASK_TIMEOUT)).await {
            Ok(()) => return Ok(()),
            Err(seen) => seen,
        };
        if let Some(cause) = instance.ended() {
            return Err(format!("the tested server {cause}; {seen}"));
        }
        if Instant::now() + pause >= deadline {
            return Err(seen);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn run_command(
    starter: &Starter,
    image: Digest,
    spec: &ServiceSpec,
    (term, tail): (Term, &str),
    test: &ImageTest,
    run: &mut TestRun,
) {
    let TestCheck::Run(command) = &test.check else { return };
    let outcome = |passed, detail| TestOutcome { test: test.name.clone(), passed, detail };
    let instance_spec = match test_spec(starter, image, spec, tail) {
        Ok(instance_spec) => InstanceSpec { command: command.clone(), ..instance_spec },
        Err(error) => return run.results.push(outcome(false, format!("{error:#}"))),
    };
    let instance = TestInstance { engine: starter.engine(), term, id: instance_spec.id.clone() };
    if let Err(error) = starter.engine().start(term, &instance_spec) {
        return run.results.push(outcome(false, error.to_string()));
    }
    let deadline = Instant::now() + test.timeout.duration();
    let mut pause = FIRST_PAUSE;
    let cause = loop {
        match instance.ended() {
            Some(cause) => break Some(cause),
            None if Instant::now() >= deadline => break None,
            None => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    let (passed, detail) = match cause {
        Some(ExitCause::Code(0)) => (true, String::new()),
        Some(cause) => (false, cause.to_string()),
        None => (false, format!("did not end within {} ms", test.timeout.0)),
    };
    if !passed && run.log_tail.is_empty() {
        run.log_tail = instance.log_tail();
    }
    run.results.push(outcome(passed, detail));
}
