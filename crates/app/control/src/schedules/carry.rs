//! Carries out what a time of a schedule comes to: one command of this program after the other, each within its time.

use std::{
    io,
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use hornero_model::{ScheduleEnd, ScheduleResult, Timestamp};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    child::ends_within,
    program::OWN_PROGRAM,
    schedules::{
        log::{self, TurnLog},
        place,
        register::{ScheduleKey, Schedules},
        work::Work,
    },
    underway::Going,
};

/// What may be done for one time: a patch of large images over a slow line takes some hours, and what is longer than a
/// night hangs.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// How long a command is waited for at a time, between two looks at its log and whether it is to end.
const LOOK: Duration = Duration::from_millis(200);
/// How long a command has to end once it is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// Why a command did not do what it was to do.
struct Undone {
    why: String,
    exit: Option<u8>,
}

/// Does what is to be done, and says how that ended.
pub fn carry_out(
    schedules: &Schedules,
    key: &ScheduleKey,
    (work, planned): (Work, Timestamp),
    going: &Going<ScheduleKey>,
) -> ScheduleEnd {
    let (directory, name) = key;
    let end = |undone: Option<Undone>| match undone {
        None => {
            let (result, detail) = (ScheduleResult::Done, String::new());
            ScheduleEnd { planned, result, detail, exit: None }
        }
        Some(Undone { why, exit }) => {
            ScheduleEnd { planned, result: ScheduleResult::Failed, detail: why, exit }
        }
    };
    let failed = |why: String| end(Some(Undone { why, exit: None }));
    if let Some(refused) = work.reads.as_ref().and_then(place::refused) {
        return failed(format!("refused: {refused}"));
    }
    let path = log::path(schedules.home(), directory, name);
    let mut log = match TurnLog::begin(path.clone()) {
        Ok(log) => log,
        Err(error) => return failed(format!("`{}` can't be written: {error}", path.display())),
    };
    log.say(&format!("schedule `{name}` of `{directory}`, planned for {planned}"));
    let deadline = Instant::now() + LONGEST;
    let mut undone: Option<Undone> = None;
    for words in &work.commands {
        let Err(failure) = run(schedules, key, words, &mut log, (deadline, going)) else {
            continue;
        };
        log.say(&format!("failed: {}", failure.why));
        undone = Some(match undone {
            None => failure,
            Some(first) => Undone { why: format!("{}; {}", first.why, failure.why), ..first },
        });
        if work.stops || going.is_to_end() || Instant::now() >= deadline {
            break;
        }
    }
    end(undone)
}

/// Runs one command to its end.
fn run(
    schedules: &Schedules,
    key: &ScheduleKey,
    words: &[String],
    log: &mut TurnLog,
    bounds: (Instant, &Going<ScheduleKey>),
) -> Result<(), Undone> {
    let what = format!("`hornero {}`", words.iter().take(2).cloned().collect::<Vec<_>>().join(" "));
    log.say(&format!("$ hornero {}", words.join(" ")));
    let failed = |why: String| Undone { why: format!("{what} {why}"), exit: None };
    let mut child = start(schedules, key, words, log)
        .map_err(|error| failed(format!("did not start: {error}")))?;
    let ended = wait(&mut child, log, bounds);
    schedules.children.forget(child.id());
    let (status, why) = ended.map_err(|error| failed(format!("can't be waited for: {error}")))?;
    match (why, status.success()) {
        (Some(why), _) => Err(failed(why.to_owned())),
        (None, true) => Ok(()),
        (None, false) => {
            let said = log.last_words().map_or_else(String::new, |line| format!(": {line}"));
            let exit = status.code().and_then(|code| u8::try_from(code).ok());
            Err(Undone { exit, ..failed(format!("{}{said}", exited(status))) })
        }
    }
}

fn exited(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with {code}"),
        None => format!("was ended by {status}"),
    }
}

fn start(
    schedules: &Schedules,
    key: &ScheduleKey,
    words: &[String],
    log: &TurnLog,
) -> io::Result<Child> {
    let mut command = Command::new(OWN_PROGRAM);
    command.arg0("hornero").arg("--home").arg(schedules.home()).args(words);
    command.stdin(Stdio::null()).stdout(log.file()?).stderr(log.file()?);
    // What it reads is named by its path; a directory that is gone keeps no recycling from it.
    command.current_dir("/").process_group(0);
    // A fault that is tried on control is not meant for it.
    command.env_remove("HORNERO_CRASH_AT_APPEND");
    // Variables that somebody had when control was started would be gone with the next one.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"HORNERO_VAR_") {
            command.env_remove(name);
        }
    }
    schedules.children.start(&mut command, key.clone())
}

/// Waits until a command has ended; why it was ended, where it was.
fn wait(
    child: &mut Child,
    log: &mut TurnLog,
    (deadline, going): (Instant, &Going<ScheduleKey>),
) -> io::Result<(ExitStatus, Option<&'static str>)> {
    while !ends_within(child, LOOK)? {
        log.bound();
        let why = match (going.is_to_end(), Instant::now() >= deadline) {
            (true, _) => Some("was ended: its schedule is no longer declared"),
            (false, true) => Some("was ended: it took longer than it may"),
            (false, false) => None,
        };
        if why.is_some() {
            return stop(child).map(|status| (status, why));
        }
    }
    Ok((child.wait()?, None))
}

/// Asks a command and all that it started to end, and ends them where they don't.
fn stop(child: &mut Child) -> io::Result<ExitStatus> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let signal = |signal| {
        // What is gone needs none.
        let _ = group.map(|group| kill_process_group(group, signal));
    };
    signal(Signal::TERM);
    if ends_within(child, GRACE)? {
        return child.wait();
    }
    signal(Signal::KILL);
    child.wait()
}
