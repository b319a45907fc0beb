//! Operations of control as a command follows them: progress on stderr, to the end, or until the command may leave.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use hornero_api::{
    Client,
    message::{OperationLine, OperationOutcome, OutcomeKind},
};
use hornero_model::{InstanceId, RolloutId, ServiceName};
use hyper::Method;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{arguments::UpArguments, failure::Failure, harmless::harmless};

/// After so long without a word a user wonders.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a command follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// To the end.
    Over,
    /// Until all servers and new requests are on what was asked for.
    Serving,
}

impl Until {
    /// As it is wanted on the command line.
    pub const fn of(arguments: &UpArguments) -> Self {
        match arguments.no_wait {
            true => Self::Serving,
            false => Self::Over,
        }
    }
}

/// What was followed.
#[derive(Debug)]
pub struct Followed {
    /// The operation's number.
    pub operation: u64,
    /// How it ended; where it goes on, what it came to by now.
    pub outcome: OperationOutcome,
    /// Whether it goes on without the command.
    pub goes_on: bool,
    /// When it was taken.
    pub accepted: Instant,
    /// What was told.
    pub steps: Vec<ToldStep>,
    /// How long after it was taken the last line came, in milliseconds.
    pub took_ms: f64,
}

/// A line of progress, and when it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct ToldStep {
    /// How long after the operation was taken, in milliseconds.
    pub after_ms: f64,
    /// The service.
    pub service: Option<ServiceName>,
    /// The rollout.
    pub rollout: Option<RolloutId>,
    /// The phase.
    pub phase: String,
    /// The instance.
    pub instance: Option<InstanceId>,
}

/// Sends a request that changes something and follows it to its end, telling progress on stderr; `accepted` is called
/// once control holds what it needs for it.
pub async fn follow(
    client: &Client,
    path: &str,
    request: &impl Serialize,
    accepted: impl FnOnce(),
) -> Result<OperationOutcome, Failure> {
    Ok(follow_until(client, path, request, accepted, Until::Over).await?.outcome)
}

/// The same as far as is wanted, with what was told on the way.
pub async fn follow_until(
    client: &Client,
    path: &str,
    request: &impl Serialize,
    accepted: impl FnOnce(),
    until: Until,
) -> Result<Followed, Failure> {
    let mut accepted = Some(accepted);
    let mut interrupts = Interrupts::listen();
    let mut lines = tokio::select! {
        lines = client.stream::<OperationLine>(Method::POST, path, Some(request)) => lines?,
        () = interrupts.next() => return Err(interrupted(false)),
    };
    let mut silence = Silence::begin();
    let mut course = Course { operation: 0, accepted: Instant::now(), steps: Vec::new() };
    loop {
        let mut line = pin!(lines.next());
        let line = loop {
            let waited = tokio::select! {
                waited = tokio::time::timeout(SILENCE, &mut line) => waited,
                () = interrupts.next() => return Err(interrupted(accepted.is_none())),
            };
            match waited {
                Ok(line) => break line?,
                Err(_) => silence.tell(),
            }
        };
        let Some(line) = line else { break };
        if let OperationLine::Accepted { operation } = line {
            (course.operation, course.accepted) = (operation, Instant::now());
            if let Some(accepted) = accepted.take() {
                accepted();
            }
        } else if let Some(followed) = course.took(line, until, &mut silence) {
            return Ok(followed);
        }
    }
    let broken = hornero_api::ClientError::Broken("it ended before the outcome".to_owned());
    Err(broken.into())
}

/// An operation under way.
struct Course {
    operation: u64,
    accepted: Instant,
    steps: Vec<ToldStep>,
}

impl Course {
    /// Takes a line in; gives what was followed where the command may leave.
    fn took(
        &mut self,
        line: OperationLine,
        until: Until,
        silence: &mut Silence,
    ) -> Option<Followed> {
        let arrived = self.accepted.elapsed().as_secs_f64() * 1_000.0;
        match line {
            OperationLine::Accepted { .. } => None,
            OperationLine::Progress { serves: Some(services), after_ms, .. } => {
                let (result, failure) = (OutcomeKind::Done, None);
                let outcome = OperationOutcome { result, services, failure };
                let took_ms = after_ms.unwrap_or(arrived);
                (until == Until::Serving).then(|| self.over(outcome, true, took_ms))
            }
            OperationLine::Progress {
                service,
                rollout,
                phase,
                message,
                instance,
                after_ms,
                serves: None,
            } => {
                let name = service.as_ref().map_or_else(String::new, ToString::to_string);
                tell!("{name:>12}  {phase:<9} {}", harmless(&message));
                silence.broken_by(format!("{phase} {name}: {}", harmless(&message)));
                let after_ms = after_ms.unwrap_or(arrived);
                self.steps.push(ToldStep { after_ms, service, rollout, phase, instance });
                None
            }
            OperationLine::Finished { outcome } => Some(self.over(outcome, false, arrived)),
        }
    }

    fn over(&mut self, outcome: OperationOutcome, goes_on: bool, took_ms: f64) -> Followed {
        let (operation, accepted) = (self.operation, self.accepted);
        let steps = std::mem::take(&mut self.steps);
        Followed { operation, outcome, goes_on, accepted, steps, took_ms }
    }
}

/// How long nothing was told, and what was told last.
struct Silence {
    last: String,
    since: Instant,
}

impl Silence {
    fn begin() -> Self {
        Self {
            last: "waiting for what is under way in this home".to_owned(),
            since: Instant::now(),
        }
    }

    fn broken_by(&mut self, news: String) {
        *self = Self { last: news, since: Instant::now() };
    }

    fn tell(&self) {
        let (last, seconds) = (&self.last, self.since.elapsed().as_secs());
        tell!("still     {last}, {seconds} s by now; it goes on without this command");
    }
}

/// Ctrl-C from here on, also while nobody waits for it: one that comes between two lines of progress is not lost.
struct Interrupts(Option<Signal>);

impl Interrupts {
    /// Where it can't be caught, it ends the command as it always did.
    fn listen() -> Self {
        Self(signal(SignalKind::interrupt()).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// What a shell says of a command that Ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: u8 = 130;

/// Ctrl-C ends this command and nothing else.
fn interrupted(is_accepted: bool) -> Failure {
    let text = match is_accepted {
        true => "interrupted; the operation goes on without this command",
        false => "interrupted before control answered; it may go on without this command",
    };
    Failure::new(INTERRUPTED, text).hint(
        "`hornero status` shows how far it is, `hornero logs SERVICE` what its servers write; `hornero cancel SERVICE` \
         ends it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_that_comes_between_two_lines_ends_the_command_at_the_next() {
        let mut interrupts = Interrupts::listen();
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::INT).unwrap();
        // It arrived while nobody waited for it.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        tokio::time::timeout(SILENCE, interrupts.next()).await.unwrap();
    }
}
