//! An API elsewhere that the command asks instead of the control process of a home.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use hornero_api::{Client, RemoteApi};

use crate::{
    arguments::{
        ApiWords, AuditCommand, Command, GlassArguments, GlassCommand, JobCommand, PreviewCommand,
        ScheduleCommand, TokenCommand, VolumeCommand,
    },
    failure::{Failure, exit},
};

/// The variable that holds a token.
const TOKEN_VARIABLE: &str = "HORNERO_TOKEN";
/// Bytes of a file with a token.
const TOKEN_BYTES: u64 = 4096;

/// How the command reaches an API that is not its home's.
#[derive(Debug, Clone)]
enum Elsewhere {
    Remote(Arc<RemoteApi>),
    Socket(PathBuf),
}

static ELSEWHERE: OnceLock<Elsewhere> = OnceLock::new();

/// Has the command ask an API elsewhere, where one is named; refused where it needs the host for what it does.
pub fn take(words: &ApiWords, command: &Command) -> Result<(), Failure> {
    let Some(url) = &words.api else {
        // The others may be set in the environment for good.
        if words.token_file.is_some() {
            let text = "`--token-file` goes with `--api`";
            return Err(Failure::new(exit::USAGE, text));
        }
        return Ok(());
    };
    if is_of_host(command) {
        let text = "this command works on the host itself: it can't be asked of an API elsewhere";
        return Err(Failure::new(exit::USAGE, text)
            .word("needs_host")
            .hint("run it on the host, without `--api` and HORNERO_API"));
    }
    let elsewhere = match url.strip_prefix("unix:") {
        Some(path) => Elsewhere::Socket(PathBuf::from(path.trim_start_matches("//"))),
        None => {
            let (ca, identity) = (words.api_ca.as_deref(), words.api_certificate.as_deref());
            let remote = RemoteApi::new(url, token(words)?, ca, identity);
            Elsewhere::Remote(Arc::new(
                remote.map_err(|error| Failure::new(exit::USAGE, &error).word("api_unusable"))?,
            ))
        }
    };
    // Once in a process.
    let _ = ELSEWHERE.set(elsewhere);
    Ok(())
}

fn token(words: &ApiWords) -> Result<Option<String>, Failure> {
    let Some(path) = &words.token_file else {
        return Ok(std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty()));
    };
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(TOKEN_BYTES).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::new(exit::USAGE, format!("`{}` can't be read: {error}", path.display()))
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// A client of the API elsewhere; none where the command asks its home.
pub fn client() -> Option<Client> {
    ELSEWHERE.get().map(|elsewhere| match elsewhere {
        Elsewhere::Remote(remote) => Client::remote(Arc::clone(remote)),
        Elsewhere::Socket(path) => Client::new(path),
    })
}

/// Whether the command asks an API elsewhere.
pub fn is_elsewhere() -> bool {
    ELSEWHERE.get().is_some()
}

/// A client of what the command asks: the API elsewhere, or the control process of its home.
pub fn client_or(socket: impl FnOnce() -> PathBuf) -> Client {
    client().unwrap_or_else(|| Client::new(socket()))
}

/// Whether a home has a ledger, as far as the command may look.
pub fn has_ledger(home: &Path) -> bool {
    !is_elsewhere() && home.join("ledger.db").exists()
}

/// Whether a command reads or changes what is on the host, beside asking control.
const fn is_of_host(command: &Command) -> bool {
    match command {
        Command::Status
        | Command::History { .. }
        | Command::Rollback { .. }
        | Command::Recycle { .. }
        | Command::Rehearse { .. }
        | Command::Job(JobCommand::Ls | JobCommand::Run { .. })
        | Command::Schedule(ScheduleCommand::Ls)
        | Command::Guard(_)
        | Command::Cancel { .. }
        | Command::Resume { .. }
        | Command::Rollout(_)
        | Command::Receipt { .. }
        | Command::Logs(_)
        | Command::Audit { command: None, .. }
        | Command::Audit {
            command: Some(AuditCommand::Verify { against: None, witness: None }),
            ..
        }
        | Command::Verify { tree: None, .. }
        | Command::Preview(PreviewCommand::Ls | PreviewCommand::Rm { .. })
        | Command::Alerts(_)
        | Command::Top(_)
        | Command::Quarantine(_)
        | Command::BreakGlass(GlassArguments { command: None | Some(GlassCommand::Ls), .. })
        | Command::Token(TokenCommand::New { .. })
        | Command::Completions { .. }
        | Command::Openapi => false,
        Command::Volume(command) => matches!(command, VolumeCommand::Adopt { .. }),
        _ => true,
    }
}
