//! What is found, worst first, and as much of each kind as says something new.

use std::path::Path;

use hornero_home::HomeError;
use schemars::JsonSchema;
use serde::Serialize;

/// Findings of one kind; more say nothing new.
const FINDINGS_MAX: usize = 20;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// It works, and will not for ever.
    Warning,
    /// Something does not work.
    Error,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HomeProblem {
    /// How bad it is.
    pub severity: Severity,
    /// The word that scripts and `docs/errors/home.md` know it by.
    pub code: &'static str,
    /// What is wrong, and with what.
    pub text: String,
    /// What to run, or to do.
    pub run: Option<String>,
}

/// All that was found so far.
pub(super) struct HomeFindings<'a> {
    pub(super) home: &'a Path,
    pub(super) found: Vec<HomeProblem>,
}

impl<'a> HomeFindings<'a> {
    /// Nothing yet.
    pub(super) fn of(home: &'a Path) -> Self {
        Self { home, found: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        severity: Severity,
        code: &'static str,
        text: String,
        run: impl Into<String>,
    ) {
        let same = self.found.iter().filter(|problem| problem.code == code).count();
        if same < FINDINGS_MAX {
            let run = Some(run.into()).filter(|run| !run.is_empty());
            self.found.push(HomeProblem { severity, code, text, run });
        }
    }

    pub(super) fn refused(&mut self, error: &HomeError) {
        if let Some(code) = error.code() {
            self.add(Severity::Error, code, error.to_string(), error.remedy().unwrap_or_default());
        }
    }

    pub(super) fn command(&self, words: &str) -> String {
        format!("hornero --home '{}' {words}", self.home.display())
    }
}
