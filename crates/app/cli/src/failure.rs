//! How a command fails: an exit code of the contract, a message, and a hint apart from it.

use std::{
    fmt::Display,
    io::{ErrorKind, Write as _, stdout},
    process::ExitCode,
};

use hornero_api::ClientError;
use hornero_home::HomeError;
use hornero_ledger::{KeyError, LedgerError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::{harmless::harmless, hints, process_log::LogFormat};

/// Exit codes of the command line's contract.
pub mod exit {
    /// It failed.
    pub const FAILED: u8 = 1;
    /// Bad usage or bad `hornero.hcl`.
    pub const USAGE: u8 = 2;
    /// Refused by a guard.
    pub const REFUSED: u8 = 3;
    /// What was there before is there again.
    pub const ROLLED_BACK: u8 = 4;
    /// No such object.
    pub const NO_SUCH_OBJECT: u8 = 5;
    /// The control process can't be reached.
    pub const UNREACHABLE: u8 = 6;
    /// A plan has changes, where that was asked for.
    pub const CHANGES: u8 = 10;
}

/// What scripts get of a failure, as `error`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorReport<'a> {
    /// What failed and why.
    pub message: &'a str,
    /// What to do about it.
    pub hint: Option<&'a str>,
    /// The exit code.
    pub exit: u8,
    /// A stable word, where the failure has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
}

/// A failure without anything beside it.
#[derive(Debug, Serialize)]
pub struct BareFailure<'a> {
    /// What failed.
    pub error: ErrorReport<'a>,
}

/// A command's failure.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    word: Option<String>,
    data: Option<serde_json::Value>,
    reported: bool,
}

impl Failure {
    /// A failure with `code`, told as `message`.
    pub fn new(code: u8, message: impl Display) -> Self {
        let message = message.to_string();
        Self { code, message, hint: None, word: None, data: None, reported: false }
    }

    /// A plain failure (exit 1) that prints the whole chain of `error`.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut message = error.to_string();
        let mut denied = denies_permission(error);
        let mut source = error.source();
        while let Some(inner) = source {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            denied |= denies_permission(inner);
            source = inner.source();
        }
        if let Some(refusal) = home_refusal(error) {
            let failure =
                Self::new(exit::REFUSED, message).word(refusal.code().unwrap_or_default());
            return failure.hint(refusal.remedy().unwrap_or_default());
        }
        let failure = Self::new(exit::FAILED, message);
        if let Some(code) = broken_home(error) {
            return failure.word(code).hint(format!(
                "`{code}` in docs/errors/home.md says what to do; `hornero home check` looks at everything"
            ));
        }
        if denied && !rustix::process::geteuid().is_root() {
            return failure.hint("a home belongs to root; try again with sudo");
        }
        failure
    }

    /// The exit code of something that was already told.
    pub fn reported(code: u8) -> Self {
        Self { reported: true, ..Self::new(code, "") }
    }

    /// What failed and why.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit code that it ends with.
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// The same failure with another exit code.
    pub const fn exit_with(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same failure with what to do about it.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The same failure with a stable code word, for scripts.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.word = Some(word.into());
        self
    }

    /// The same failure with one thing more to do about it.
    pub fn further_hint(self, hint: impl Display) -> Self {
        match self.hint.clone() {
            Some(first) => self.hint(format!("{first}\n{hint}")),
            None => self.hint(hint),
        }
    }

    /// The same failure with the data that the command gives all the same: scripts read both as one JSON object.
    pub fn with_data(mut self, data: impl Serialize) -> Self {
        match serde_json::to_value(data) {
            Ok(data) => self.data = Some(data),
            // Such as a path that is not UTF-8.
            Err(error) => {
                let text = format!("\nwhat else there is to say can't be said as JSON: {error}");
                self.message.push_str(&text);
            }
        }
        self
    }

    /// Says it in the log of control or edge where that is for programs; people get it as from every command.
    pub fn logged(self, format: LogFormat) -> Self {
        if format == LogFormat::Human {
            return self;
        }
        let hint = self.hint.as_deref();
        tracing::error!(hint, "{}", self.message);
        Self { reported: true, ..self }
    }

    /// Tells it and gives the exit code.
    pub fn report(self, json: bool) -> ExitCode {
        if !self.reported {
            // The text may hold what a server or a build step wrote.
            tell!("error: {}", set_in(&harmless(&self.message)));
            let hint = self.hint.as_deref().map(hints::for_named_home);
            if let Some(hint) = &hint {
                tell!("hint: {}", set_in(&harmless(hint)));
            }
            if json {
                let error = ErrorReport {
                    message: &self.message,
                    hint: hint.as_deref(),
                    exit: self.code,
                    code: self.word.as_deref(),
                };
                let mut value = self.data.unwrap_or_else(|| json!({}));
                value["error"] = json!(error);
                // Nobody is left to tell that stdout can't be written.
                let _ = writeln!(stdout(), "{value}");
            }
        }
        ExitCode::from(self.code)
    }
}

/// Text whose further lines are set in: what a name from outside holds can't pass for a line of its own.
fn set_in(text: &str) -> String {
    let mut lines = text.split('\n');
    let mut out = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let indent = if line.starts_with(' ') { "" } else { "  " };
        out.push_str(&format!("\n{indent}{line}"));
    }
    out
}

/// The word for a ledger or key that is broken, somewhere in an error's chain.
fn broken_home(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        let ledger = error.downcast_ref::<LedgerError>().and_then(LedgerError::code);
        ledger.or_else(|| error.downcast_ref::<KeyError>().and_then(KeyError::code))
    })
}

/// The refusal of a home, or of a file of one, somewhere in an error's chain.
fn home_refusal<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e HomeError> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| {
            let io = error.downcast_ref::<std::io::Error>();
            let inner = io.and_then(std::io::Error::get_ref).and_then(|inner| inner.downcast_ref());
            error.downcast_ref().or(inner)
        })
        .filter(|refusal: &&HomeError| refusal.code().is_some())
}

fn denies_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Unreachable { source, .. }
                if source.kind() == ErrorKind::PermissionDenied =>
            {
                Self::new(exit::UNREACHABLE, format!("{error}: {source}")).hint("run this as root")
            }
            ClientError::Unreachable { .. } => Self::new(exit::UNREACHABLE, &error)
                .hint("`hornero up DIR` starts it; `--home` or HORNERO_HOME says whose"),
            ClientError::Refused(problem, status) => {
                let code = match status.as_u16() {
                    404 => exit::NO_SUCH_OBJECT,
                    409 => exit::REFUSED,
                    _ => exit::FAILED,
                };
                let failure = Self::new(code, &problem.message).word(&problem.code);
                match &problem.hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
            ClientError::Away { source, .. } => {
                Self::new(exit::UNREACHABLE, format!("{error}: {source}")).word("api_away").hint(
                    "`--api` or HORNERO_API says where it is, `--api-ca` by which certificates it is trusted",
                )
            }
            ClientError::OtherProtocol { version, .. } => {
                Self::new(exit::UNREACHABLE, &error).word("other_protocol").hint(format!(
                    "`hornero upgrade` of the newer of both moves control and edge to it; or use the command of {version}"
                ))
            }
            ClientError::Broken(_) => Self::new(exit::UNREACHABLE, &error).hint(
                "what was asked goes on in the control process; `hornero status` tells how it went",
            ),
        }
    }
}

impl From<hornero_store::StoreError> for Failure {
    fn from(error: hornero_store::StoreError) -> Self {
        let failure = Self::of(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<hornero_control::format::FormatError> for Failure {
    fn from(error: hornero_control::format::FormatError) -> Self {
        let mut failure = Self::of(&error);
        if let Some(code) = error.code() {
            failure = failure.word(code);
        }
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<hornero_secret::SecretError> for Failure {
    fn from(error: hornero_secret::SecretError) -> Self {
        let failure = match &error {
            hornero_secret::SecretError::Unknown { .. } => Self::new(exit::NO_SUCH_OBJECT, &error),
            hornero_secret::SecretError::KeyMissing { .. }
            | hornero_secret::SecretError::KeyExposed { .. }
            | hornero_secret::SecretError::KeyInvalid { .. } => {
                Self::new(exit::REFUSED, &error).word("secrets_key")
            }
            hornero_secret::SecretError::Size { .. } => Self::new(exit::USAGE, &error),
            hornero_secret::SecretError::Gone { .. }
            | hornero_secret::SecretError::Sealed { .. }
            | hornero_secret::SecretError::Io { .. } => Self::of(&error),
        };
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::of(&error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(&error)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        path::{Path, PathBuf},
    };

    use super::*;

    #[test]
    fn no_line_of_a_message_passes_for_one_of_ours() {
        assert_eq!(set_in("a `x\nhint: y`\n  - b\n"), "a `x\n  hint: y`\n  - b\n  ");
    }

    fn is_code(text: &str) -> bool {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    }

    /// Words that sources give as codes: behind `.word("` and the like, and the first after a status or a severity.
    fn codes_given(source: &str, found: &mut BTreeSet<String>) {
        for before in [".word(\"", "fail_blocking(\"", "code: \"", "StatusCode::", "Severity::"] {
            for rest in source.split(before).skip(1) {
                let rest = match before {
                    // The call's next words, on this line or the one below.
                    "StatusCode::" | "Severity::" => match rest.split_once('"') {
                        Some((between, rest))
                            if between.len() < 60
                                && ![";", "=>", "}"].iter().any(|end| between.contains(end)) =>
                        {
                            rest
                        }
                        _ => continue,
                    },
                    _ => rest,
                };
                let code = rest.split('"').next().unwrap_or_default();
                found.extend(is_code(code).then(|| code.to_owned()));
            }
        }
    }

    /// Words in the bodies of methods of this name that give a text.
    fn codes_of_methods(name: &str, source: &str, found: &mut BTreeSet<String>) {
        for rest in source.split(&format!("fn {name}(")).skip(1) {
            let Some((signature, rest)) = rest.split_once('{') else { continue };
            if signature.contains("&'static str") {
                let body = rest.split("\n    }\n").next().unwrap_or_default();
                let words = body.split('"').skip(1).step_by(2);
                found.extend(words.filter(|word| is_code(word)).map(str::to_owned));
            }
        }
    }

    /// What `take` makes of each source below these directories.
    fn of_sources(directories: Vec<PathBuf>, take: &mut dyn FnMut(&Path, &str)) {
        let mut pending = directories;
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                pending.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                take(&path, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_code_has_its_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let mut pages = String::new();
        for page in std::fs::read_dir(root.join("docs/errors")).unwrap() {
            pages.push_str(&std::fs::read_to_string(page.unwrap().path()).unwrap());
        }
        let mut found = BTreeSet::new();
        let commands = ["cli", "control", "care"].map(|part| root.join("crates/app").join(part));
        of_sources(commands.map(|part| part.join("src")).to_vec(), &mut |_, source| {
            codes_given(source, &mut found);
        });
        let families = ["core", "io", "app"].map(|part| root.join("crates").join(part));
        of_sources(families.to_vec(), &mut |path, source| {
            codes_of_methods("code", source, &mut found);
            if path.ends_with("verify/src/report.rs") {
                codes_of_methods("word", source, &mut found);
            }
        });
        let some =
            ["image_gone", "witness_absent", "stale_file", "key_lost", "newer_home", "deleted"];
        assert!(some.iter().all(|code| found.contains(*code)), "{found:?}");
        let lacking: Vec<&String> =
            found.iter().filter(|code| !pages.contains(&format!("`{code}`"))).collect();
        assert!(lacking.is_empty(), "docs/errors has no {lacking:?}");
    }
}
