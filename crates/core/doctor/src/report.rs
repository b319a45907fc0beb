//! What the checks found, and in which order people and scripts are told.

use hornero_model::HostState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    check::{CHECKS, HostCheck, Need},
    facts::HostFacts,
    finding::HostFinding,
};

/// What `hornero doctor --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoctorReport {
    /// The version of the command that looked.
    pub version: String,
    /// Whether servers can run here: nothing is missing.
    pub servers_run: bool,
    /// The same in one line.
    pub summary: String,
    /// Every check, worst first, and in the order of the table otherwise.
    pub checks: Vec<HostFinding>,
}

/// Runs every check; `version` is the command's.
pub fn examine(facts: &HostFacts, version: &str) -> DoctorReport {
    let mut checks: Vec<HostFinding> = CHECKS.iter().map(|check| check.run(facts)).collect();
    // Stable, so that checks of one area stay together.
    checks.sort_by_key(|finding| std::cmp::Reverse(finding.state));
    let count = |state| checks.iter().filter(|finding| finding.state == state).count();
    let (missing, degraded) = (count(HostState::Missing), count(HostState::Degraded));
    let summary = match (missing, degraded) {
        (0, 0) => "servers can run here: nothing is missing".to_owned(),
        (0, 1) => "servers can run here: 1 thing is degraded".to_owned(),
        (0, many) => format!("servers can run here: {many} things are degraded"),
        (1, _) => "servers can't run here: 1 thing is missing".to_owned(),
        (many, _) => format!("servers can't run here: {many} things are missing"),
    };
    DoctorReport { version: version.to_owned(), servers_run: missing == 0, summary, checks }
}

/// The first thing that is missing for what `need` names, in the order of the table.
pub fn first_missing(facts: &HostFacts, need: Need) -> Option<HostFinding> {
    let needed = CHECKS.iter().filter(|check| check.need <= need);
    needed.map(|check| check.run(facts)).find(|finding| finding.state == HostState::Missing)
}

/// What is degraded and worth a line before servers are rolled out.
pub fn told_before(facts: &HostFacts, need: Need) -> Vec<HostFinding> {
    let told = |check: &&HostCheck| check.told && check.need <= need;
    let findings = CHECKS.iter().filter(told).map(|check| check.run(facts));
    findings.filter(|finding| finding.state == HostState::Degraded).collect()
}

impl DoctorReport {
    /// The report for people: worst first, aligned, a line each for what it costs and what to run.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.summary);
        let width = |cell: fn(&HostFinding) -> &str| {
            self.checks.iter().map(|finding| cell(finding).len()).max().unwrap_or(0)
        };
        let areas = width(|finding| finding.area.word());
        let ids = width(|finding| &finding.id);
        for state in [HostState::Missing, HostState::Degraded, HostState::Pass] {
            let findings = self.checks.iter().filter(|finding| finding.state == state);
            for (index, finding) in findings.enumerate() {
                if index == 0 {
                    text.push_str(&format!("\n{}\n", word(state)));
                }
                let head = format!("  {:areas$}  {:ids$}  ", finding.area.word(), finding.id);
                let blank = " ".repeat(head.len());
                text.push_str(&format!("{head}{}\n", on_one_line(&finding.observed)));
                if let Some(cost) = &finding.cost {
                    text.push_str(&format!("{blank}cost: {}\n", on_one_line(cost)));
                }
                for line in finding.hint.iter().flat_map(|hint| hint.lines()) {
                    text.push_str(&format!("{blank}hint: {line}\n"));
                }
            }
        }
        text
    }
}

/// Names of links and directories come from outside: none passes for a line of its own.
fn on_one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// The word for a state that people and scripts read.
pub(crate) const fn word(state: HostState) -> &'static str {
    match state {
        HostState::Pass => "pass",
        HostState::Degraded => "degraded",
        HostState::Missing => "missing",
    }
}
