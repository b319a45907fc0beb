//! Asks data guards: servers by their own protocols, and commands as one-off work.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hornero_model::{
    Actor, DataGuard, DataProbe, GuardAnswer, GuardVerdict, InstanceId, Millis, error_chain,
};
use hornero_rollout::GuardQuestion;
use zeroize::Zeroizing;

use crate::{
    ports::Adapters,
    runs::{Begun, Runs, Source},
    start::log_tail,
    tail::new_tail,
};

/// How long a command may take that is asked once.
const COMMAND_TIMEOUT: Millis = Millis(30_000);
/// How long all commands of a question may take, however many there are.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(3_600);
/// What is asked at once: each takes a thread.
const AT_ONCE: usize = 8;
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

    /// Asks each once, of every server; commands only where all others pass.
    pub fn once(&self, question: &GuardQuestion) -> Vec<GuardAnswer> {
        in_turn(question.has_command(), || self.servers(question), || self.commands(question))
    }

    /// Asks all servers, together.
    fn servers(&self, question: &GuardQuestion) -> Vec<GuardAnswer> {
        let guards = question.guards.iter();
        let guards = guards.filter(|guard| !matches!(guard.probe, DataProbe::Command(_)));
        let passwords = guards.map(|guard| (guard, self.password(guard, question)));
        let passwords: Vec<_> = passwords.collect();
        let asked: Vec<_> = passwords
            .iter()
            .flat_map(|(guard, password)| {
                question.servers.iter().map(move |server| (*guard, password, server))
            })
            .collect();
        let deadline = Instant::now() + GuardQuestion::ASKING.duration();
        together(&asked, |(guard, password, (instance, address))| {
            let password = password
                .as_ref()
                .map(|password| password.as_ref().map(|password| password.trim_ascii_end()));
            let (verdict, seen) = server(guard, *address, password, deadline);
            let (guard, instance) = (guard.name.clone(), Some(instance.clone()));
            GuardAnswer { guard, instance, verdict, seen }
        })
    }

    /// The password that a guard logs in by, or why there is none.
    fn password(
        &self,
        guard: &DataGuard,
        question: &GuardQuestion,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, String> {
        let secret = guard.probe.password().map(|name| {
            let mut secrets = question.spec.secrets.iter();
            let secret = secrets.find(|secret| secret.name == *name);
            let secret = secret.ok_or_else(|| format!("what serves has no secret `{name}`"))?;
            self.adapters.starter.open_secret(secret).map_err(|error| error_chain(&error))
        });
        secret.transpose()
    }

    /// Runs all commands, together.
    fn commands(&self, question: &GuardQuestion) -> Vec<GuardAnswer> {
        let commands = question.guards.iter().filter_map(|guard| match &guard.probe {
            DataProbe::Command(command) => Some((guard, command)),
            _ => None,
        });
        let commands: Vec<_> = commands.collect();
        let deadline = Instant::now() + COMMANDS_TIMEOUT;
        together(&commands, |(guard, command)| {
            let (verdict, seen) = self.run(guard, command, question, deadline);
            GuardAnswer { guard: guard.name.clone(), instance: None, verdict, seen }
        })
    }

    /// The verdict of a command, run once beside what serves.
    fn run(
        &self,
        guard: &DataGuard,
        command: &[String],
        question: &GuardQuestion,
        deadline: Instant,
    ) -> (GuardVerdict, String) {
        let unanswered = |seen: String| (GuardVerdict::Unanswered, seen);
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
        if left.is_zero() {
            return unanswered("other commands took all the time that there was".to_owned());
        }
        let server = (*question.spec).clone();
        let source = Source { release: Some(question.release.clone()), job: None, server };
        let timeout = Millis(COMMAND_TIMEOUT.0.max(guard.within.0).min(left.0));
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

/// Asks one server.
fn server(
    guard: &DataGuard,
    address: Option<IpAddr>,
    password: Result<Option<&[u8]>, &String>,
    deadline: Instant,
) -> (GuardVerdict, String) {
    let unanswered = |seen: String| (GuardVerdict::Unanswered, seen);
    let Some(address) = address else {
        return unanswered("it does not run".to_owned());
    };
    let password = match password {
        Ok(password) => password,
        Err(why) => return unanswered(why.clone()),
    };
    match hornero_guard::ask(address, &guard.probe, password, deadline) {
        Ok(answer) => answer,
        Err(error) => unanswered(error_chain(&error)),
    }
}

/// Servers, then commands where these pass, and then servers again: a command may take long, and what a server said before
/// is old by then.
fn in_turn(
    has_command: bool,
    servers: impl Fn() -> Vec<GuardAnswer>,
    commands: impl FnOnce() -> Vec<GuardAnswer>,
) -> Vec<GuardAnswer> {
    let pass = |answers: &[GuardAnswer]| {
        answers.iter().all(|answer| answer.verdict == GuardVerdict::Passes)
    };
    let before = servers();
    if !has_command || !pass(&before) {
        return before;
    }
    let said = commands();
    let servers = if pass(&said) { servers() } else { before };
    [servers, said].concat()
}

/// Does the same with all of them, a few at once; the results are in their order.
fn together<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return };
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    thread::scope(|scope| {
        for _ in 1..items.len().min(AT_ONCE) {
            let thread = thread::Builder::new().name("guard".to_owned());
            // What none is started for is done by the others.
            let _ = thread.spawn_scoped(scope, worker);
        }
        worker();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Barrier};

    use GuardVerdict::{Passes, Refuses};
    use hornero_model::GuardName;

    use super::*;

    fn said(verdict: GuardVerdict) -> Vec<GuardAnswer> {
        let guard = GuardName::new("quiet").unwrap();
        vec![GuardAnswer { guard, instance: None, verdict, seen: String::new() }]
    }

    #[test]
    fn servers_are_asked_again_behind_a_command_that_is_run_only_where_they_pass() {
        for (server, command, order) in [
            (Passes, Passes, "server command server"),
            (Passes, Refuses, "server command"),
            (Refuses, Passes, "server"),
        ] {
            let asked = RefCell::new(Vec::new());
            let ask = |who, verdict| {
                asked.borrow_mut().push(who);
                said(verdict)
            };
            let answers = in_turn(true, || ask("server", server), || ask("command", command));
            assert_eq!(answers.len(), order.split(' ').count().min(2));
            assert_eq!(asked.into_inner().join(" "), order);
        }
    }

    #[test]
    fn what_is_asked_together_does_not_wait_for_one_another() {
        // Comes to an end only where so many are at it at the same time.
        let all = Barrier::new(AT_ONCE);
        let items: Vec<usize> = (0..3 * AT_ONCE).collect();
        let doubled = together(&items, |item| {
            all.wait();
            item * 2
        });
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
    }
}
