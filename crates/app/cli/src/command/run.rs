//! `run`: a command in a server of its own, followed to its end.

use std::{
    io::{ErrorKind, Write as _},
    path::Path,
    pin::pin,
    time::Duration,
};

use hornero_api::{
    Client, ClientError,
    message::{
        CancelRunRequest, Intent, Nothing, RunLine, RunRequest, RunSource, RunStatus, StatusReport,
    },
};
use hornero_doctor::Need;
use hornero_model::{CutOff, ExitCause, RunEnd, ServiceName};
use hyper::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    arguments::RunArguments,
    command::{doctor, named, operation, plain_server, stores},
    daemon,
    failure::{Failure, exit},
    output::{print_json, print_text},
    reports::RunReport,
};

/// How often in a row control is asked again whose answer broke off without a word.
const TRIES: u32 = 50;
/// Between two of them: one that takes another's place needs a moment.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// What becomes of what a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Each stream goes to this command's own.
    Streams,
    /// Both go to stderr: stdout is for data.
    OnStderr,
    /// It is left to `hornero logs`.
    Nothing,
}

/// `hornero run`.
pub async fn run(home: &Path, json: bool, arguments: RunArguments) -> Result<(), Failure> {
    doctor::before(home, Need::Run, true)?;
    let RunArguments { object, timeout, reason, command } = arguments;
    if timeout.is_zero() {
        return Err(Failure::new(exit::USAGE, "a run needs some time; `--timeout` is 0"));
    }
    let client = daemon::ensure(home).await?;
    let ended = begin(home, &client, &object, timeout, reason, command, json).await;
    // Nothing else may be there for it to do; what came of the run is not changed by that.
    if let Ok(client) = daemon::ensure(home).await {
        let _ = operation::end_idle(&client).await;
    }
    let (status, end) = ended?;
    tell(json, &status, &end)
}

async fn begin(
    home: &Path,
    client: &Client,
    object: &str,
    timeout: Duration,
    why: String,
    command: Vec<String>,
    json: bool,
) -> Result<(RunStatus, RunEnd), Failure> {
    let source = source(home, client, object).await?;
    let intent = Intent { why, commit: None };
    let request = RunRequest { source, command, timeout: timeout.into(), intent };
    let status: RunStatus = client.post("/v1/runs", &request).await?;
    let shown = if json { Shown::OnStderr } else { Shown::Streams };
    let end = follow(home, client.clone(), &status, shown).await?;
    Ok((status, end))
}

/// What a word means: a release, a service of the home, or else an image.
async fn source(home: &Path, client: &Client, object: &str) -> Result<RunSource, Failure> {
    if let Some(release) = named::release(object) {
        return Ok(RunSource::Release { service: release.service, number: Some(release.number) });
    }
    if let Ok(service) = object.parse::<ServiceName>() {
        let status: StatusReport = client.get("/v1/status").await?;
        if status.services.iter().any(|known| known.name == service) {
            return Ok(RunSource::Release { service, number: None });
        }
    }
    let store = stores::known_store(home)?;
    let image = named::image(home, &store, object).map_err(|failure| {
        failure.further_hint("`hornero status` names the services that a command can be run for")
    })?;
    let name = plain_server::name_of(&store, &image)?;
    let mut server = plain_server::of_image(&name, image)?;
    server.egress = hornero_spec::defaults::EGRESS;
    Ok(RunSource::Server(Box::new(server)))
}

/// Follows a run to its end, through control processes that end and come. Ctrl-C ends the run.
pub async fn follow(
    home: &Path,
    mut client: Client,
    run: &RunStatus,
    shown: Shown,
) -> Result<RunEnd, Failure> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut told = Told { next: 0, shown, interrupted: false };
    let mut tries = 0;
    loop {
        let before = told.next;
        match told.lines(&client, run, &mut interrupts).await {
            Ok(Some(end)) => return Ok(end),
            Ok(None) => {}
            Err(Stopped::Left(failure)) => return Err(failure),
            Err(Stopped::Client(ClientError::Broken(_) | ClientError::Unreachable { .. })) => {}
            Err(Stopped::Client(error)) => return Err(error.into()),
        }
        tries = if told.next > before { 0 } else { tries + 1 };
        if tries > TRIES {
            let text =
                format!("the control process ends again and again; run `{}` may go on", run.id);
            let hint = format!(
                "`hornero status` says whether it does, `hornero logs {}` what it writes",
                run.id
            );
            return Err(Failure::new(exit::UNREACHABLE, text).hint(hint));
        }
        tokio::time::sleep(TRY_AGAIN).await;
        client = daemon::ensure(home).await?;
    }
}

/// Why a run is not followed any more.
enum Stopped {
    /// Whoever follows it wants no more of it.
    Left(Failure),
    /// Control does not answer as it should.
    Client(ClientError),
}

impl From<ClientError> for Stopped {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// What was told of a run so far.
struct Told {
    next: u64,
    shown: Shown,
    interrupted: bool,
}

impl Told {
    /// Tells what comes; its end, or none where the stream broke off.
    async fn lines(
        &mut self,
        client: &Client,
        run: &RunStatus,
        interrupts: &mut Signal,
    ) -> Result<Option<RunEnd>, Stopped> {
        let path = format!("/v1/runs/{}?from={}", run.id, self.next);
        let mut lines = client.stream::<RunLine>(Method::GET, &path, None::<&Nothing>).await?;
        loop {
            let mut next = pin!(lines.next());
            let line = loop {
                tokio::select! {
                    line = &mut next => break line?,
                    _ = interrupts.recv() => self.interrupt(client, run).await?,
                }
            };
            match line {
                None => return Ok(None),
                Some(RunLine::Finished { end }) => return Ok(Some(end)),
                Some(RunLine::Told { next }) => self.next = next,
                Some(RunLine::Lost { bytes }) => {
                    tell!(
                        "note: {bytes} bytes of what it wrote were gone before they could be shown"
                    );
                }
                Some(RunLine::Output { stream, text }) => {
                    if !self.show(&stream, &text) {
                        // As a pipe does that nobody reads any more.
                        self.shown = Shown::Nothing;
                        cancel(client, run, "its output is not read any more").await?;
                    }
                }
            }
        }
    }

    /// Ctrl-C: ends the run, and at the second time leaves it to control.
    async fn interrupt(&mut self, client: &Client, run: &RunStatus) -> Result<(), Stopped> {
        if self.interrupted {
            let failure =
                Failure::new(130, format!("interrupted; run `{}` is being ended", run.id));
            return Err(Stopped::Left(failure.hint("`hornero status` shows it until it has")));
        }
        self.interrupted = true;
        tell!("ending   run `{}`; Ctrl-C once more leaves it to end by itself", run.id);
        Ok(cancel(client, run, "Ctrl-C").await?)
    }

    /// Shows a line; false where nobody reads it any more.
    fn show(&self, stream: &str, text: &str) -> bool {
        let line = format!("{text}\n");
        let written = match (self.shown, stream) {
            (Shown::Nothing, _) => return true,
            (Shown::Streams, "stdout") => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
            }
            (Shown::Streams | Shown::OnStderr, _) => {
                std::io::stderr().lock().write_all(line.as_bytes())
            }
        };
        !matches!(written, Err(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}

/// Has a run ended; it is over once its last line was told.
pub async fn cancel(client: &Client, run: &RunStatus, why: &str) -> Result<(), ClientError> {
    let request = CancelRunRequest { intent: Intent { why: why.to_owned(), commit: None } };
    let path = format!("/v1/runs/{}/cancel", run.id);
    client.post::<Nothing>(&path, &request).await.map(|_| ())
}

/// `hornero cancel`: one-off work where it is named, else what is under way for a service.
pub async fn cancel_named(
    home: &Path,
    json: bool,
    object: Option<String>,
    why: String,
) -> Result<(), Failure> {
    if let Some(name) = &object {
        let client = operation::client_of(home).await?;
        let status: StatusReport = client.get("/v1/status").await?;
        if let Some(run) = status.runs.into_iter().find(|run| run.id.as_str() == name) {
            cancel(&client, &run, &why).await?;
            let end = follow(home, client.clone(), &run, Shown::Nothing).await?;
            operation::end_idle(&client).await?;
            return match json {
                true => print_json(&report(&run, &end)),
                false => print_text(&format!("run `{}` has ended: it {}\n", run.id, end.cause)),
            };
        }
    }
    let service = object.map(|object| object.parse::<ServiceName>()).transpose();
    let service = service.map_err(|error| Failure::new(exit::USAGE, error))?;
    operation::cancel(home, json, service, why).await
}

/// What a run came to, for scripts.
pub fn report(status: &RunStatus, end: &RunEnd) -> RunReport {
    let release = status.release.as_ref();
    let (signal, problem) = match &end.cause {
        ExitCause::Signal(signal) => (Some(*signal), None),
        ExitCause::Code(_) => (None, None),
        ExitCause::OutOfMemory
        | ExitCause::NotStarted(_)
        | ExitCause::Unknown
        | ExitCause::HostRestarted => (None, Some(end.cause.to_string())),
    };
    RunReport {
        run: status.id.clone(),
        job: status.job.clone(),
        service: release.map(|release| release.service.clone()),
        release: release.map(|release| release.number),
        image: status.image,
        command: status.command.clone(),
        started: status.started,
        duration_ms: end.duration,
        exit: end.exit_code(),
        signal,
        cut_off: end.cut_off,
        problem,
    }
}

/// Tells what a run came to, and ends as it did.
pub fn tell(json: bool, status: &RunStatus, end: &RunEnd) -> Result<(), Failure> {
    let report = report(status, end);
    let code = end.exit_code();
    let id = &status.id;
    let text = match (end.cut_off, &report.problem) {
        (Some(CutOff::Timeout), _) => {
            let span = humantime::format_duration(status.deadline.since(status.started).duration());
            Some(format!("run `{id}` was ended after {span}, the longest it may take"))
        }
        (Some(CutOff::Cancelled), _) => Some(format!("run `{id}` was cancelled")),
        (None, Some(problem)) => Some(format!("run `{id}` {problem}")),
        (None, None) => None,
    };
    if let Some(text) = text {
        return Err(Failure::new(code, text).with_data(&report));
    }
    if json {
        print_json(&report)?;
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}
