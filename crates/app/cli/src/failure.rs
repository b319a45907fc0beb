//! How a command fails: an exit code of the contract, a message, and a hint apart from it.

use std::{fmt::Display, io::ErrorKind, process::ExitCode};

use hornero_api::ClientError;
use serde_json::json;

/// Exit codes of the command line's contract.
pub mod exit {
    /// It failed.
    pub const FAILED: u8 = 1;
    /// Bad usage or bad `hornero.hcl`.
    pub const USAGE: u8 = 2;
    /// No such object.
    pub const NO_SUCH_OBJECT: u8 = 5;
    /// The control process can't be reached.
    pub const UNREACHABLE: u8 = 6;
}

/// A command's failure.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
    reported: bool,
}

impl Failure {
    /// A failure with `code`, told as `message`.
    pub fn new(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string(), hint: None, reported: false }
    }

    /// A plain failure (exit 1) that prints the whole chain of `error`.
    pub fn of(error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            source = inner.source();
        }
        Self::new(exit::FAILED, message)
    }

    /// The exit code of something that was already told.
    pub fn reported(code: u8) -> Self {
        Self { code, message: String::new(), hint: None, reported: true }
    }

    /// The same failure with what to do about it.
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// Tells it and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if !self.reported {
            eprintln!("error: {}", self.message);
            if let Some(hint) = &self.hint {
                eprintln!("hint: {hint}");
            }
            if json {
                println!(
                    "{}",
                    json!({ "error": { "message": self.message, "hint": self.hint, "exit": self.code } })
                );
            }
        }
        ExitCode::from(self.code)
    }
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
                    409 => 3,
                    _ => exit::FAILED,
                };
                let failure = Self::new(code, &problem.message);
                match &problem.hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
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

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(&error)
    }
}
