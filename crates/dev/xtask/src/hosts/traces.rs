//! What a program can leave on a machine: files, mounts, interfaces, rules, control groups, processes, users.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

/// Sections of the report of `traces.sh`, and the lines of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    lines: BTreeSet<(String, String)>,
}

impl Traces {
    /// The script whose output [`Self::parse`] reads.
    pub const SCRIPT: &str = include_str!("traces.sh");

    /// Reads the script's output.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = BTreeSet::new();
        let mut section = None;
        for line in text.lines() {
            match line.strip_prefix("== ") {
                Some(name) => section = Some(name.to_owned()),
                None => {
                    if let Some(section) = &section {
                        lines.insert((section.clone(), line.to_owned()));
                    }
                }
            }
        }
        ensure!(section.as_deref() == Some("end"), "the traces are not complete:\n{text}");
        Ok(Self { lines })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// What is here and was not in `before`, and what was and is not, one a line.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let new = self
            .lines
            .difference(&before.lines)
            .map(|(section, line)| format!("+ {section}: {line}"));
        let gone = before
            .lines
            .difference(&self.lines)
            .map(|(section, line)| format!("- {section}: {line}"));
        new.chain(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_what_went_is_named_with_its_kind() {
        let before = Traces::parse("== mounts\n/ ext4\n== rules\n== end\n").unwrap();
        let after = Traces::parse("== mounts\n/ ext4\n== rules\ntable x\n== end\n").unwrap();
        assert_eq!(after.differences(&before), ["+ rules: table x"]);
        assert_eq!(before.differences(&after), ["- rules: table x"]);
        assert_eq!(before.differences(&before), Vec::<String>::new());
        assert_eq!(before.len(), 1);
        assert!(Traces::parse("== mounts\n/ ext4\n").is_err(), "cut short");
    }
}
