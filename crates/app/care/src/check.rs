//! Everything that can be wrong with a home, each finding with a name, how bad it is, and what to run.
//!
//! Nothing is changed. One part that is broken hides no other: each is looked at by itself.

mod files;
mod finding;
mod host;
mod ledger;
mod store;

use std::path::Path;

pub use finding::{HomeProblem, Severity};

use finding::HomeFindings;

/// How a home is checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// Read every content of the store, too.
    pub full: bool,
}

/// Looks at everything in a home whose way is trusted (see [`hornero_home::resolve`]); the worst come first.
pub fn check(home: &Path, options: CheckOptions) -> Vec<HomeProblem> {
    let mut findings = HomeFindings::of(home);
    if !home.is_dir() {
        let text = format!("there is no home at `{}`", home.display());
        findings.add(
            Severity::Error,
            "home_missing",
            text,
            "`--home` or HORNERO_HOME says which home",
        );
        return findings.found;
    }
    findings.owners(home, 0);
    findings.key_and_ledger();
    findings.store(options.full);
    findings.format();
    findings.records();
    findings.edge_table();
    findings.network();
    findings.control();
    findings.leftovers();
    findings.space();
    findings.restored();
    findings.found.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    findings.found
}
