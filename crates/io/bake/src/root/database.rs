//! dpkg's database for packages that were unpacked without dpkg: status, triggers and the small files around them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{archive::control, deb::PackageFacts};

/// dpkg's state for a package whose scripts have yet to run.
const UNPACKED: &str = "install ok unpacked";
/// dpkg's state for a package that needs nothing more.
const INSTALLED: &str = "install ok installed";

/// What the packages that are there already bring along.
#[derive(Debug, Clone, Default)]
pub(crate) struct Existing {
    /// dpkg's `status`.
    pub status: String,
    /// dpkg's `triggers/File`: which package is interested in which path.
    pub file_triggers: String,
    /// dpkg's other files in `triggers`, by the trigger's name: which packages are interested.
    pub named_triggers: BTreeMap<String, String>,
}

/// The files of a database, by path below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Database {
    /// Path and contents.
    pub files: BTreeMap<String, String>,
    /// Whether dpkg has anything to do.
    pub needs_configuring: bool,
}

/// The database of `existing` packages and `new` ones; `paths` are the new packages' paths, absolute.
pub(crate) fn database<'p>(
    existing: &Existing,
    new: &[&PackageFacts],
    paths: impl Iterator<Item = &'p str>,
) -> Database {
    let mut interests = Interests::read(existing);
    let awaited = interests.activated(new, paths);
    let has_scripts = new
        .iter()
        .any(|facts| facts.has("preinst") || facts.has("postinst") || facts.has("config"));
    let needs_configuring = has_scripts || !awaited.is_empty();
    let state = if needs_configuring { UNPACKED } else { INSTALLED };
    let mut stanzas: BTreeMap<String, String> = BTreeMap::new();
    for stanza in control::paragraphs(&existing.status) {
        let name = package_name(stanza);
        let stanza = match awaited.get(&name) {
            Some(triggers) => with_pending(stanza, triggers),
            None => stanza.to_owned(),
        };
        stanzas.insert(name, stanza);
    }
    for facts in new {
        interests.add(facts);
        stanzas.insert(facts.name.clone(), new_stanza(facts, state));
    }
    let mut files: BTreeMap<String, String> = interests.files();
    let mut status = String::new();
    for stanza in stanzas.values() {
        status.push_str(stanza.trim_end());
        status.push_str("\n\n");
    }
    files.insert("var/lib/dpkg/status".to_owned(), status);
    if existing.status.is_empty() {
        for empty in ["available", "diversions", "statoverride"] {
            files.insert(format!("var/lib/dpkg/{empty}"), String::new());
        }
        // Without it dpkg believes that it is the first one here that knows triggers, and runs all of them.
        files.insert("var/lib/dpkg/triggers/Unincorp".to_owned(), String::new());
        files.insert("var/lib/dpkg/info/format".to_owned(), "1\n".to_owned());
    }
    Database { files, needs_configuring }
}

fn package_name(stanza: &str) -> String {
    let paragraph = control::parse_paragraph(stanza).unwrap_or_default();
    paragraph.get("Package").unwrap_or_default().to_owned()
}

fn new_stanza(facts: &PackageFacts, state: &str) -> String {
    let mut text = format!("Package: {}\nStatus: {state}\n", facts.name);
    let mut skipping = false;
    for line in facts.control.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default();
            skipping = ["Package", "Status", "Conffiles", "Triggers-Pending", "Triggers-Awaited"]
                .iter()
                .any(|own| name.eq_ignore_ascii_case(own));
        }
        if !skipping {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    if !facts.conffiles.is_empty() {
        text.push_str("Conffiles:\n");
        for (path, md5) in &facts.conffiles {
            let _ = writeln!(text, " {path} {md5}");
        }
    }
    text
}

/// An installed package's stanza with triggers to be run.
fn with_pending(stanza: &str, triggers: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for line in stanza.lines() {
        if line.starts_with("Status:") {
            let _ = writeln!(text, "Status: install ok triggers-pending");
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    let triggers: Vec<&str> = triggers.iter().map(String::as_str).collect();
    let _ = writeln!(text, "Triggers-Pending: {}", triggers.join(" "));
    text
}

/// Who is interested in which trigger (deb-triggers(5)).
#[derive(Debug, Default)]
struct Interests {
    /// Path and package, with `/noawait` as dpkg writes it.
    by_path: BTreeSet<(String, String)>,
    by_name: BTreeMap<String, BTreeSet<String>>,
}

impl Interests {
    fn read(existing: &Existing) -> Self {
        let mut interests = Self::default();
        for line in existing.file_triggers.lines() {
            if let Some((path, package)) = line.split_once(' ') {
                interests.by_path.insert((path.to_owned(), package.to_owned()));
            }
        }
        for (name, packages) in &existing.named_triggers {
            let packages = packages.lines().map(str::to_owned).collect();
            interests.by_name.insert(name.clone(), packages);
        }
        interests
    }

    fn add(&mut self, facts: &PackageFacts) {
        for (directive, trigger) in directives(&facts.triggers) {
            let owner = match directive {
                "interest" | "interest-await" => facts.info_name.clone(),
                "interest-noawait" => format!("{}/noawait", facts.info_name),
                _ => continue,
            };
            if trigger.starts_with('/') {
                self.by_path.insert((trigger.to_owned(), owner));
            } else {
                self.by_name.entry(trigger.to_owned()).or_default().insert(owner);
            }
        }
    }

    /// Which installed packages have triggers to run once the new ones are unpacked.
    fn activated<'p>(
        &self,
        new: &[&PackageFacts],
        paths: impl Iterator<Item = &'p str>,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut pending: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut note = |package: &str, trigger: &str| {
            let package = package.split(['/', ':']).next().unwrap_or_default();
            pending.entry(package.to_owned()).or_default().insert(trigger.to_owned());
        };
        for facts in new {
            for (directive, trigger) in directives(&facts.triggers) {
                if directive.starts_with("activate") {
                    for package in self.by_name.get(trigger).into_iter().flatten() {
                        note(package, trigger);
                    }
                    for (_, package) in self.by_path.iter().filter(|(path, _)| path == trigger) {
                        note(package, trigger);
                    }
                }
            }
        }
        if !self.by_path.is_empty() {
            for path in paths {
                for (trigger, package) in &self.by_path {
                    let below = path.strip_prefix(trigger.as_str());
                    if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                        note(package, trigger);
                    }
                }
            }
        }
        pending
    }

    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut text = String::new();
        for (path, package) in &self.by_path {
            let _ = writeln!(text, "{path} {package}");
        }
        files.insert("var/lib/dpkg/triggers/File".to_owned(), text);
        for (name, packages) in &self.by_name {
            let lines: String = packages.iter().map(|package| format!("{package}\n")).collect();
            files.insert(format!("var/lib/dpkg/triggers/{name}"), lines);
        }
        files
    }
}

/// The directives of a `triggers` file; a name that could not be a file name is skipped, as dpkg refuses it.
fn directives(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (directive, trigger) = (words.next()?, words.next()?);
        let plain = trigger.starts_with('/')
            || (!trigger.contains('/') && !trigger.starts_with('.') && trigger.len() < 200);
        plain.then_some((directive, trigger))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str, triggers: &str, scripts: &[&str]) -> PackageFacts {
        PackageFacts {
            name: name.to_owned(),
            control: format!("Package: {name}\nVersion: 1\nDescription: x\n y\n"),
            conffiles: vec![("/etc/x".to_owned(), "0".repeat(32))],
            triggers: triggers.to_owned(),
            scripts: scripts.iter().map(|script| (*script).to_owned()).collect(),
            info_name: name.to_owned(),
        }
    }

    #[test]
    fn a_package_without_scripts_is_installed_at_once() {
        let one = facts("one", "", &[]);
        let made = database(&Existing::default(), &[&one], ["/x"].into_iter());
        assert!(!made.needs_configuring);
        let status = &made.files["var/lib/dpkg/status"];
        assert!(status.contains("Status: install ok installed\nVersion: 1\n"), "{status}");
        assert!(status.contains("Conffiles:\n /etc/x 0000"), "{status}");
    }

    #[test]
    fn new_files_wake_the_triggers_of_installed_packages() {
        let existing = Existing {
            status: "Package: libc-bin\nStatus: install ok installed\nVersion: 1\n\n".to_owned(),
            file_triggers: "/usr/share/man man-db/noawait\n/etc/x y\n".to_owned(),
            named_triggers: [("ldconfig".to_owned(), "libc-bin/noawait\n".to_owned())].into(),
        };
        let new = facts("lib", "activate-noawait ldconfig\ninterest /opt\n", &[]);
        let made = database(&existing, &[&new], ["/usr/share/mango", "/usr/lib/x"].into_iter());
        assert!(made.needs_configuring);
        let status = &made.files["var/lib/dpkg/status"];
        assert!(
            status.contains(
                "Status: install ok triggers-pending\nVersion: 1\nTriggers-Pending: ldconfig\n"
            ),
            "{status}"
        );
        assert!(status.contains("Package: lib\nStatus: install ok unpacked\n"), "{status}");
        assert!(made.files["var/lib/dpkg/triggers/File"].contains("/opt lib\n"));
    }
}
