//! What a service holds that would be lost when its server is replaced, decided from what is declared, what its image has, and
//! what its servers were seen to have written.
//!
//! Nothing here reads a file: [`StateFacts`] are handed in, and [`lint`] answers.

mod declared;
mod facts;
mod finding;
mod known;
mod paths;
mod remedy;
mod written;

pub use facts::{DataDirectory, StateFacts, StateLook, installed};
pub use finding::{StateFinding, StateFindingKind, StatePlace, StateRemedy, WrittenState};

/// What would be lost with a server of the service, by path. `looks` are what its servers were seen to have written, each at two
/// moments; none where nothing of it runs.
pub fn lint(facts: &StateFacts, looks: &[StateLook]) -> Vec<StateFinding> {
    let mut findings = declared::findings(facts);
    for group in written::groups(facts, looks) {
        // What lies beside the place of another finding is one of its own, and so is a second place in it.
        let all_in =
            |path: &str| group.state.largest.iter().all(|file| paths::is_in(&file.path, path));
        let same = findings.iter_mut().find(|finding| {
            finding.written.is_none()
                && paths::overlap(&finding.path, &group.directory)
                && all_in(&finding.path)
        });
        match same {
            Some(finding) => finding.written = Some(group.state),
            None => findings.push(written::finding(facts, group)),
        }
    }
    findings.sort_by(|a, b| a.path.cmp(&b.path));
    findings
}

#[cfg(test)]
mod tests;
