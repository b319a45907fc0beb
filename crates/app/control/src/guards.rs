//! Asks data guards: servers by their own protocols, and commands as one-off work.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_model::{
    Actor, DataGuard, DataProbe, GuardAnswer, GuardVerdict, InstanceId, Millis, error_chain,
};
use hornero_rollout::GuardQuestion;

use crate::{
    ports::Adapters,
    runs::{Begun, Runs, Source},
    start::log_tail,
    tail::new_tail,
};

/// How long one question to a server may take: it is a glance at what it knows anyway.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command may take that is asked once.
const COMMAND_TIMEOUT: Millis = Millis(30_000);
/// Between two looks whether a run has ended, which tells when it does.
const LOOK: Duration = Duration::from_secs(1);

/// Asks guards.
#[derive(Clone)]
pub struct Guards {
    adapters: Arc<Adapters>,
    runs: Arc<Runs>,
}

impl Guards {
    /// With what servers and commands are reached by.
    pub fn new(adapters: Arc<Adapters>, runs: Arc<Runs>) -> Self {
        Self { adapters, runs }
    }

    /// Asks each once, of every server.
    pub fn once(&self, question: &GuardQuestion) -> Vec<GuardAnswer> {
        let mut answers = Vec::new();
        for guard in &question.guards {
            let mut answer = |instance, (verdict, seen)| {
                let guard = guard.name.clone();
                answers.push(GuardAnswer { guard, instance, verdict, seen });
            };
            if let DataProbe::Command(command) = &guard.probe {
                answer(None, self.run(guard, command, question));
                continue;
            }
            for (instance, address) in &question.servers {
                answer(Some(instance.clone()), self.server(guard, *address, question));
            }
        }
        answers
    }

    fn server(
        &self,
        guard: &DataGuard,
        address: Option<IpAddr>,
        question: &GuardQuestion,
    ) -> (GuardVerdict, String) {
        let unanswered = |seen: String| (GuardVerdict::Unanswered, seen);
        let Some(address) = address else {
            return unanswered("it does not run".to_owned());
        };
        let secret = guard.probe.password().map(|name| {
            let mut secrets = question.spec.secrets.iter();
            let secret = secrets.find(|secret| secret.name == *name);
            let secret = secret.ok_or_else(|| format!("what serves has no secret `{name}`"))?;
            self.adapters.starter.open_secret(secret).map_err(|error| error_chain(&error))
        });
        let password = match secret.transpose() {
            Ok(password) => password,
            Err(why) => return unanswered(why),
        };
        let password = password.as_ref().map(|password| password.trim_ascii_end());
        let deadline = Instant::now() + ASK_TIMEOUT;
        match hornero_guard::ask(address, &guard.probe, password, deadline) {
            Ok(answer) => answer,
            Err(error) => unanswered(error_chain(&error)),
        }
    }

    /// The verdict of a command, run once beside what serves.
    fn run(
        &self,
        guard: &DataGuard,
        command: &[String],
        question: &GuardQuestion,
    ) -> (GuardVerdict, String) {
        let unanswered = |seen: String| (GuardVerdict::Unanswered, seen);
        let server = (*question.spec).clone();
        let source = Source { release: Some(question.release.clone()), job: None, server };
        let timeout = Millis(COMMAND_TIMEOUT.0.max(guard.within.0));
        let run = match source.run(command.to_vec(), timeout, &new_tail()) {
            Ok(run) => run,
            Err(error) => return unanswered(error.to_string()),
        };
        let by = Actor::hornero(format!("guard `{}` asks", guard.name));
        let id = run.id.clone();
        match self.runs.begin(by, run, source.server) {
            Begun::Yes { .. } => {}
            Begun::TooMany(open) => return unanswered(format!("{open} runs are under way")),
            Begun::Not(error) => return unanswered(error_chain(&error)),
        }
        let Some(watched) = self.runs.watched(id.as_str()) else {
            return unanswered(format!("nobody knows how `{id}` ended"));
        };
        let end = loop {
            if let Some(end) = watched.end() {
                break end;
            }
            watched.wait(LOOK);
        };
        let wrote = self.last_line(&id).map(|line| format!(": {line}")).unwrap_or_default();
        match (end.cut_off, end.is_success(), end.exit_code()) {
            (None, true, _) => (GuardVerdict::Passes, format!("`{id}` ended with 0{wrote}")),
            // Not started, or nobody knows.
            (Some(_), ..) | (None, _, 125) => unanswered(format!("`{id}`: {}{wrote}", end.cause)),
            (None, false, _) => (GuardVerdict::Refuses, format!("`{id}` {}{wrote}", end.cause)),
        }
    }

    fn last_line(&self, id: &InstanceId) -> Option<String> {
        let lines = log_tail(&**self.adapters.starter.engine(), id);
        lines.into_iter().rev().find(|line| !line.trim().is_empty())
    }
}
