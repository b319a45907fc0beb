//! `break-glass`: a command in a server, followed to its end; and what was recorded of such.

use std::{
    io::{IsTerminal as _, Write as _, stdout},
    path::Path,
    time::Duration,
};

use hornero_api::{
    Client, ClientError,
    message::{GlassLine, GlassRequest, GlassScreen, GlassStatus, Intent},
};
use hornero_model::{ExitCause, GlassEnd, GlassEndReason, GlassId, InstanceId, Millis, Timestamp};
use hyper::Method;

use crate::{
    arguments::{GlassArguments, GlassCommand},
    command::{
        absent::{asked_or_read, client},
        operation::client_of,
    },
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, age, print_json, print_text, write_stderr},
    reports::{GlassReport, ReplayReport, ReplayedMoment},
    session_terminal::{EndSignals, SessionTerminal, drawn},
};

/// What a terminal runs where no command is named.
const SHELL: &str = "/bin/sh";

/// `hornero break-glass`.
pub async fn run(home: &Path, json: bool, words: GlassArguments) -> Result<(), Failure> {
    match words.command {
        Some(GlassCommand::Ls) => list(home, json).await,
        Some(GlassCommand::Replay { session, raw }) => replay(home, json, &session, raw),
        None => {
            let (Some(instance), Some(time)) = (words.instance, words.time) else {
                return Err(Failure::new(exit::USAGE, "which server, and for how long?"));
            };
            let why = words.reason.unwrap_or_default();
            if why.trim().is_empty() {
                return Err(Failure::new(exit::USAGE, "breaking the glass needs a reason"));
            }
            let request = request(instance, time, why, words.out_of_traffic, words.words)?;
            follow(&client_of(home).await?, json, &request).await
        }
    }
}

fn request(
    instance: InstanceId,
    time: Duration,
    why: String,
    leaves: bool,
    command: Vec<String>,
) -> Result<GlassRequest, Failure> {
    let (command, terminal) = match command.is_empty() {
        false => (command, None),
        true => {
            let size = SessionTerminal::size().ok_or_else(|| {
                Failure::new(exit::USAGE, "a session without a command needs a terminal")
                    .hint("name a command behind `--`")
            })?;
            let name = std::env::var("TERM").ok().filter(|name| !name.is_empty());
            let name = name.unwrap_or_else(|| "vt100".to_owned());
            let screen = GlassScreen { name, columns: size.0, rows: size.1 };
            (vec![SHELL.to_owned()], Some(screen))
        }
    };
    let time = Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let intent = Intent { why, commit: None };
    Ok(GlassRequest { instance, command, time, leaves, terminal, intent })
}

/// Begins a session and shows what it writes, to its end.
async fn follow(client: &Client, json: bool, request: &GlassRequest) -> Result<(), Failure> {
    let mut lines = client.stream::<GlassLine>(Method::POST, "/v1/glass", Some(request)).await?;
    let mut shown = Shown::of(json, request.terminal.is_some());
    let mut signals = match request.terminal {
        Some(_) => Some(EndSignals::heard()?),
        None => None,
    };
    let mut begun = None;
    let mut terminal = None;
    loop {
        let next = tokio::select! {
            next = lines.next() => next,
            code = ended_by(signals.as_mut()) => {
                drop(terminal);
                let text = "a signal ended this command, and the session with it";
                return Err(Failure::new(code, text));
            }
        };
        let line = match next {
            Ok(Some(line)) => line,
            Ok(None) | Err(ClientError::Broken(_)) => break,
            Err(error) => return Err(error.into()),
        };
        match line {
            GlassLine::Begun { session } => {
                tell!(
                    "session {} in {} until {}; it is recorded, and the server is replaced afterwards (one with a volume by its next release)",
                    session.session,
                    session.instance,
                    session.until
                );
                if request.terminal.is_some() {
                    terminal = Some(SessionTerminal::begin(client, &session.session)?);
                }
                begun = Some(session);
            }
            GlassLine::Wrote { text } => shown.show(&text)?,
            GlassLine::Finished { end, detail } => {
                drop(terminal);
                return tell(json, begun.as_deref(), &end, detail);
            }
        }
    }
    drop(terminal);
    let text = "the control process ended, and the session with it";
    Err(Failure::new(exit::UNREACHABLE, text).word("session_lost"))
}

/// Waits for a signal that ends this command; for ever where none is to be heard.
async fn ended_by(signals: Option<&mut EndSignals>) -> u8 {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Where what is written goes to.
enum Shown {
    /// To a program, as text.
    Data,
    /// To somebody's terminal, made harmless.
    Harmless,
    /// To somebody's terminal as that of the session: what draws is let through.
    Terminal(drawn::Drawn),
    /// Beside the data.
    OnStderr,
}

impl Shown {
    fn of(json: bool, has_terminal: bool) -> Self {
        match (json, has_terminal) {
            (_, true) => Self::Terminal(drawn::Drawn::default()),
            (true, false) => Self::OnStderr,
            (false, false) if stdout().is_terminal() => Self::Harmless,
            (false, false) => Self::Data,
        }
    }

    fn show(&mut self, text: &str) -> Result<(), Failure> {
        match self {
            Self::OnStderr => {
                write_stderr(&harmless(text));
                Ok(())
            }
            Self::Data => written(text),
            Self::Harmless => written(&harmless(text)),
            Self::Terminal(drawn) => written(&drawn.take(text)),
        }
    }
}

fn written(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())?;
    Ok(())
}

fn tell(
    json: bool,
    begun: Option<&GlassStatus>,
    end: &GlassEnd,
    detail: Option<String>,
) -> Result<(), Failure> {
    let code = end.exit_code();
    let report = GlassReport {
        session: end.id.clone(),
        instance: end.instance.clone(),
        service: end.service.clone(),
        command: begun.map(|begun| begun.command.clone()).unwrap_or_default(),
        reason: end.reason,
        exit: code,
        recording: end.recording,
        problem: detail.clone(),
    };
    let detail = detail.map_or_else(String::new, |detail| format!(": {}", harmless(&detail)));
    let failure = |text: String| Err(Failure::new(code, text).with_data(&report));
    match end.reason {
        GlassEndReason::NotEntered => {
            let text = format!("nothing was executed in `{}`{detail}", end.instance);
            return Err(Failure::new(code, text).word("not_entered").with_data(&report));
        }
        GlassEndReason::Time => return failure(format!("the time of `{}` is up", end.id)),
        GlassEndReason::NotRecorded => {
            let text = format!("`{}` was ended: it can't be recorded any further{detail}", end.id);
            return failure(text);
        }
        GlassEndReason::Left | GlassEndReason::Lost => {
            return failure(format!("`{}` was ended{detail}", end.id));
        }
        GlassEndReason::Ended => {}
    }
    if json {
        print_json(&report)?;
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}

async fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let control = client(home);
    let read = || hornero_control::glass_offline(home);
    let all: Vec<GlassStatus> = asked_or_read(home, control.get("/v1/glass"), read).await?;
    if json {
        return print_json(&all);
    }
    if all.is_empty() {
        return print_text("nobody broke the glass of a server\n");
    }
    let now = Timestamp::now();
    let mut table = Table::with_head(&["SESSION", "SERVER", "SINCE", "STATE", "WHO", "WHY"]);
    for of in &all {
        let state = match &of.end {
            None => ("open".to_owned(), Tone::Passing),
            Some(end) => (end_word(end), Tone::Quiet),
        };
        table.row(vec![
            (of.session.to_string(), Tone::Plain),
            (of.instance.to_string(), Tone::Plain),
            (age(of.since, now), Tone::Plain),
            state,
            (harmless(&of.who).into_owned(), Tone::Quiet),
            (harmless(&of.why).into_owned(), Tone::Plain),
        ]);
    }
    table.print()
}

fn end_word(end: &GlassEnd) -> String {
    match (end.reason, &end.cause) {
        (GlassEndReason::Ended, Some(ExitCause::Code(code))) => format!("exit {code}"),
        (reason, _) => reason.as_str().replace('_', " "),
    }
}

/// Shows a recording. What a server wrote is made harmless: it is read by somebody who has a terminal.
fn replay(home: &Path, json: bool, id: &GlassId, raw: bool) -> Result<(), Failure> {
    let found = hornero_control::recording_offline(home, id);
    let Some(record) = found.map_err(|error| Failure::of(&*error))? else {
        let text = format!("no session `{id}`");
        return Err(Failure::new(exit::NO_SUCH_OBJECT, text).word("no_such_session"));
    };
    let record = record.map_err(|fault| Failure::of(&fault).word("recording_changed"))?;
    let moments = record.moments.iter();
    if json {
        let moments = moments
            .map(|of| ReplayedMoment { at: of.at, code: of.code.clone(), data: of.data.clone() })
            .collect();
        let title = record.head.title;
        return print_json(&ReplayReport {
            session: id.clone(),
            title,
            last: record.last,
            moments,
        });
    }
    let output: String = moments.filter(|of| of.code == "o").map(|of| of.data.as_str()).collect();
    match raw {
        true => written(&output),
        false => print_text(&harmless(&output.replace("\r\n", "\n"))),
    }
}
