//! dpkg's status as stanzas: what a layer changes in it, and the same change on another base.

use std::{collections::BTreeMap, sync::Arc};

use hornero_model::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::debian::control;

/// Stanzas of a status; a full archive has 70,000.
const STANZAS_MAX: usize = 500_000;

/// Where dpkg keeps it.
pub const STATUS_PATH: &str = "var/lib/dpkg/status";

/// Every stanza by name and architecture, in dpkg's order.
pub type Stanzas = BTreeMap<String, Arc<str>>;

/// What the status of a layer changes against the status below it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatusChange {
    /// The content of the status below; None where there is none.
    pub against: Option<Digest>,
    /// New and changed stanzas.
    #[serde(serialize_with = "write_stanzas", deserialize_with = "read_stanzas")]
    pub set: Stanzas,
    /// Stanzas that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
}

fn write_stanzas<S: Serializer>(stanzas: &Stanzas, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(stanzas.iter().map(|(key, stanza)| (key, &**stanza)))
}

fn read_stanzas<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Stanzas, D::Error> {
    let plain = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(plain.into_iter().map(|(key, stanza)| (key, stanza.into())).collect())
}

/// A stanza that can't be carried over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StanzaConflict {
    /// The package's name.
    pub package: String,
    /// Its version in the image.
    pub image: String,
    /// Its version in the new base; None where it is gone.
    pub base: Option<String>,
    /// Whether the old base had it.
    pub was_there: bool,
}

/// The stanzas of a status file.
pub fn parse(text: &str) -> Stanzas {
    control::paragraphs(text)
        .take(STANZAS_MAX)
        .filter_map(|stanza| {
            let stanza = stanza.trim_end();
            let name = field(stanza, "Package")?;
            let architecture = field(stanza, "Architecture").unwrap_or_default();
            // A blank sorts below every byte of a name, so that the order is dpkg's.
            Some((format!("{name} {architecture}"), stanza.into()))
        })
        .collect()
}

/// The text of a status file.
pub fn render(stanzas: &Stanzas) -> String {
    let mut text = String::with_capacity(stanzas.values().map(|stanza| stanza.len() + 2).sum());
    for stanza in stanzas.values() {
        text.push_str(stanza);
        text.push_str("\n\n");
    }
    text
}

/// A field that stands on one line.
pub fn field<'s>(stanza: &'s str, name: &str) -> Option<&'s str> {
    stanza.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Whether a package of this stanza is there: unpacked at least.
pub fn is_present(stanza: &str) -> bool {
    let state = field(stanza, "Status").and_then(|status| status.rsplit(' ').next());
    !matches!(state, None | Some("not-installed" | "config-files"))
}

impl StatusChange {
    /// What `text` changes against `below`.
    pub fn between(against: Option<Digest>, below: &Stanzas, text: &str) -> Self {
        let now = parse(text);
        let removed = below.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        let set = now.into_iter().filter(|(key, stanza)| below.get(key) != Some(stanza)).collect();
        Self { against, set, removed }
    }

    /// The stanzas with this change.
    pub fn apply(&self, below: &Stanzas) -> Stanzas {
        let mut stanzas = below.clone();
        for key in &self.removed {
            stanzas.remove(key);
        }
        for (key, stanza) in &self.set {
            stanzas.insert(key.clone(), stanza.clone());
        }
        stanzas
    }

    /// The stanzas of `new` with the change that this made to `old`.
    ///
    /// A stanza that both sides changed keeps the new base's text; the image gives only its state. Where that is not
    /// enough the image's stanza stays, and the conflict is told.
    pub fn carry_over(
        &self,
        old: &Stanzas,
        new: &Stanzas,
        conflicts: &mut Vec<StanzaConflict>,
    ) -> Stanzas {
        let mut stanzas = new.clone();
        for key in &self.removed {
            stanzas.remove(key);
        }
        for (key, stanza) in &self.set {
            let (was, is) = (old.get(key), new.get(key));
            if was == is || is == Some(stanza) {
                stanzas.insert(key.clone(), stanza.clone());
                continue;
            }
            let only_state = was.is_some_and(|was| same_package(was, stanza));
            let version = |stanza: &str| field(stanza, "Version").unwrap_or_default().to_owned();
            match is {
                Some(is) if only_state => {
                    stanzas.insert(key.clone(), with_state_of(is, stanza).into());
                    continue;
                }
                // The image only touched it; the base does without it now.
                None if only_state => continue,
                Some(is) if was.is_none() && version(is) == version(stanza) => {}
                _ => conflicts.push(StanzaConflict {
                    package: key.split(' ').next().unwrap_or_default().to_owned(),
                    image: version(stanza),
                    base: is.map(|is| version(is)),
                    was_there: was.is_some(),
                }),
            }
            stanzas.insert(key.clone(), stanza.clone());
        }
        stanzas
    }
}

/// The fields in which dpkg keeps what it did with a package.
const STATE: [&str; 5] =
    ["Status", "Triggers-Pending", "Triggers-Awaited", "Conffiles", "Config-Version"];

/// Whether two stanzas are of one package file, whatever order their fields are in.
fn same_package(one: &str, two: &str) -> bool {
    let fields = |stanza: &str| {
        let mut fields: Vec<String> = Vec::new();
        let mut is_state = false;
        for line in stanza.lines() {
            let folded = line.starts_with([' ', '\t']);
            if !folded {
                let name = line.split(':').next().unwrap_or_default();
                is_state = STATE.iter().any(|own| own.eq_ignore_ascii_case(name));
            }
            match fields.last_mut() {
                _ if is_state => {}
                Some(field) if folded => field.push_str(line),
                _ => fields.push(line.to_owned()),
            }
        }
        fields.sort_unstable();
        fields
    };
    fields(one) == fields(two)
}

/// A stanza with the state and pending triggers of another.
fn with_state_of(stanza: &str, state: &str) -> String {
    let mut out = String::with_capacity(stanza.len());
    for line in stanza.lines() {
        if line.starts_with("Triggers-Pending:") || line.starts_with("Triggers-Awaited:") {
            continue;
        }
        if line.starts_with("Status:") {
            for line in state.lines().filter(|line| line.starts_with("Status:")) {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    for line in state.lines().filter(|line| line.starts_with("Triggers-")) {
        out.push_str(line);
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(packages: &[(&str, &str, &str)]) -> String {
        packages
            .iter()
            .map(|(name, version, state)| {
                format!(
                    "Package: {name}\nStatus: install ok {state}\nArchitecture: all\nVersion: {version}\n\n"
                )
            })
            .collect()
    }

    fn moved(old: &str, image: &str, new: &str) -> (String, Vec<StanzaConflict>) {
        let (old, new) = (parse(old), parse(new));
        let change = StatusChange::between(None, &old, image);
        assert_eq!(render(&change.apply(&old)), image);
        let mut conflicts = Vec::new();
        let stanzas = change.carry_over(&old, &new, &mut conflicts);
        (render(&stanzas), conflicts)
    }

    #[test]
    fn own_packages_stay_and_the_bases_change() {
        let old = status(&[("base", "1", "installed"), ("gone", "1", "installed")]);
        let image = status(&[
            ("base", "1", "installed"),
            ("gone", "1", "installed"),
            ("own", "3", "installed"),
        ]);
        let new = status(&[("base", "2", "installed"), ("fresh", "1", "installed")]);
        let (text, conflicts) = moved(&old, &image, &new);
        let expected = status(&[
            ("base", "2", "installed"),
            ("fresh", "1", "installed"),
            ("own", "3", "installed"),
        ]);
        assert_eq!((text, conflicts), (expected, Vec::new()));
    }

    #[test]
    fn a_state_is_carried_over_to_the_new_text() {
        let old = status(&[("libc-bin", "1", "installed")]);
        let image = status(&[("libc-bin", "1", "triggers-pending"), ("own", "1", "unpacked")])
            .replacen("Version: 1\n", "Version: 1\nTriggers-Pending: ldconfig\n", 1);
        let new = status(&[("libc-bin", "2", "installed")]);
        let (text, conflicts) = moved(&old, &image, &new);
        assert!(conflicts.is_empty());
        assert!(text.contains("triggers-pending\nArchitecture: all\nVersion: 2\nTriggers-Pending"));
    }

    #[test]
    fn two_changes_of_one_package_are_a_conflict() {
        let old = status(&[("x", "1", "installed")]);
        let image = status(&[("x", "2", "installed"), ("y", "1", "installed")]);
        let new = status(&[("x", "3", "installed"), ("y", "2", "installed")]);
        let (text, conflicts) = moved(&old, &image, &new);
        assert_eq!(text, image);
        let names: Vec<_> = conflicts
            .iter()
            .map(|one| (one.package.as_str(), one.base.as_deref(), one.was_there))
            .collect();
        assert_eq!(names, [("x", Some("3"), true), ("y", Some("2"), false)]);
    }

    #[test]
    fn stanzas_are_in_dpkgs_order() {
        let text = status(&[("a", "1", "installed"), ("a+b", "1", "installed")]);
        assert_eq!(render(&parse(&text)), text);
    }
}
