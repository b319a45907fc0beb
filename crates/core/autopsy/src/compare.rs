//! What tells a failed server from those beside it and before it.

use std::collections::BTreeSet;

use hornero_model::{GroupFigures, InstanceId, ReleaseNumber};
use serde::{Deserialize, Serialize};

/// Lines that are told of as the failed server's alone.
const ONLY_HERE_MAX: usize = 10;

/// What is known of other servers of its service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedServers {
    /// How many servers of the service failed in a row, as repair counts them.
    pub failures: u32,
    /// The others.
    pub others: Vec<OtherServer>,
    /// Lines of the failed server whose like none of these wrote, oldest first; nothing where there was no sibling.
    pub only_here: Vec<String>,
}

/// Another server of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherServer {
    /// Which.
    pub instance: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// What it is to the failed one.
    pub relation: ServerRelation,
    /// What its control group counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<GroupFigures>,
}

/// What another server is to a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerRelation {
    /// Of the same release, and healthy.
    Sibling,
    /// Of a release before.
    Before,
}

/// Lines of `own` whose like is not among `others`: numbers, ids and addresses make no difference.
pub fn only_here<'a>(
    own: impl Iterator<Item = &'a str>,
    others: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let known: BTreeSet<String> = others.map(shape).collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut told = BTreeSet::new();
    let mut lines: Vec<String> = Vec::new();
    for line in own.filter(|line| !line.trim().is_empty()) {
        let shape = shape(line);
        if !known.contains(&shape) && told.insert(shape) {
            lines.push(line.to_owned());
        }
    }
    lines.split_off(lines.len().saturating_sub(ONLY_HERE_MAX))
}

/// A line with what differs from one time to the next taken out.
fn shape(line: &str) -> String {
    let mut shape = String::with_capacity(line.len());
    for word in line.split_whitespace() {
        let varies = word.bytes().any(|byte| byte.is_ascii_digit());
        shape.push_str(if varies { "0" } else { word });
        shape.push(' ');
    }
    shape
}

/// What differs, in sentences.
pub fn differences(own: &GroupFigures, compared: &ComparedServers) -> Vec<String> {
    let mut told = Vec::new();
    for (relation, who) in [
        (ServerRelation::Sibling, "healthy siblings"),
        (ServerRelation::Before, "servers of the release before"),
    ] {
        let of = |other: &&OtherServer| other.relation == relation;
        let peaks = compared.others.iter().filter(of);
        let peaks = peaks.filter_map(|other| other.figures.as_ref()?.memory_peak_bytes);
        let Some((most, peak)) = peaks.max().zip(own.memory_peak_bytes) else { continue };
        told.push(format!("memory at most {}; {who} {}", mebibytes(peak), mebibytes(most)));
    }
    if compared.failures > 1 {
        told.push(format!("{} servers of its service failed in a row", compared.failures));
    }
    told
}

/// Bytes as people read them.
pub fn mebibytes(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss)] // Shown with one digit.
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    format!("{mebibytes:.1} MiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_sibling_wrote_is_told() {
        let own =
            ["request 17 took 3ms", "", "queue is full", "queue is full", "request 18 took 9ms"];
        let others = ["request 4 took 1ms", "started"];
        let told = only_here(own.into_iter(), others.into_iter());
        assert_eq!(told, ["queue is full"]);
        assert_eq!(
            only_here(own.into_iter(), std::iter::empty()),
            [""; 0],
            "nobody to compare with"
        );
        let many: Vec<String> = (b'a'..=b'y').map(|one| char::from(one).to_string()).collect();
        let told = only_here(many.iter().map(String::as_str), others.into_iter());
        assert_eq!((told.len(), told.last().map(String::as_str)), (ONLY_HERE_MAX, Some("y")));
    }

    #[test]
    fn figures_are_told_beside_those_of_others() {
        let figures =
            |peak| GroupFigures { memory_peak_bytes: Some(peak), ..GroupFigures::default() };
        let other = |relation, peak| OtherServer {
            instance: InstanceId::new("site-1-a").unwrap(),
            release: ReleaseNumber(1),
            relation,
            figures: Some(figures(peak)),
        };
        let compared = ComparedServers {
            failures: 3,
            others: vec![
                other(ServerRelation::Sibling, 2 << 20),
                other(ServerRelation::Sibling, 3 << 20),
            ],
            only_here: Vec::new(),
        };
        let told = differences(&figures(64 << 20), &compared);
        assert_eq!(
            told,
            [
                "memory at most 64.0 MiB; healthy siblings 3.0 MiB",
                "3 servers of its service failed in a row"
            ]
        );
    }
}
