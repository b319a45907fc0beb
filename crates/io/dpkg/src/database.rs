//! dpkg's database for packages that were unpacked without dpkg: status, triggers and the small files around them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use hornero_rebase::debian::control;
use hornero_store::Layer;

use crate::{
    deb::{PackageFacts, merged_usr},
    existing::Existing,
};

/// A package that is new in a database.
#[derive(Debug, Clone, Copy)]
pub struct NewPackage<'n> {
    /// What is known of it.
    pub facts: &'n PackageFacts,
    /// Its layer as it came out of its file.
    pub layer: &'n Layer,
    /// Whether its configuration files wait beside their place.
    pub held: bool,
}

/// How far the new packages of a database are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Their files are there, and their scripts have yet to run.
    Unpacked,
    /// They need nothing more.
    Installed,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Unpacked => "install ok unpacked",
            Self::Installed => "install ok installed",
        }
    }
}

/// The files of a database, by path below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// Path and contents.
    pub files: BTreeMap<String, String>,
    /// Packages that were there before and have triggers to be run.
    pub pending: Vec<String>,
}

/// Whether dpkg has anything to do for new packages: scripts or triggers to run.
pub fn needs_configuring(existing: &Existing, new: &[NewPackage<'_>]) -> bool {
    let scripts = ["preinst", "postinst", "config"];
    new.iter().any(|one| scripts.iter().any(|script| one.facts.has(script)))
        || !Interests::read(existing).activated(existing, new).pending.is_empty()
}

/// The database of `existing` packages and `new` ones.
pub fn database(existing: &Existing, new: &[NewPackage<'_>], state: State) -> Database {
    let mut interests = Interests::read(existing);
    let activated = interests.activated(existing, new);
    let mut stanzas: BTreeMap<String, String> = BTreeMap::new();
    for stanza in control::paragraphs(&existing.status) {
        let name = package_name(stanza);
        let stanza = match activated.pending.get(&name) {
            Some(triggers) => with_pending(stanza, triggers),
            None => stanza.to_owned(),
        };
        stanzas.insert(name, stanza);
    }
    for (number, one) in new.iter().enumerate() {
        interests.add(one.facts);
        let awaited = activated.awaited.get(&number);
        stanzas.insert(one.facts.name.clone(), new_stanza(one, state, awaited));
    }
    let mut files: BTreeMap<String, String> = interests.files();
    let mut status = String::new();
    for stanza in stanzas.values() {
        status.push_str(stanza.trim_end());
        status.push_str("\n\n");
    }
    files.insert("var/lib/dpkg/status".to_owned(), status);
    if existing.status.is_empty() {
        for empty in ["available", "diversions"] {
            files.insert(format!("var/lib/dpkg/{empty}"), String::new());
        }
        // Without it dpkg believes that it is the first one here that knows triggers, and runs all of them.
        files.insert("var/lib/dpkg/triggers/Unincorp".to_owned(), String::new());
        files.insert("var/lib/dpkg/info/format".to_owned(), "1\n".to_owned());
    }
    Database { files, pending: activated.pending.into_keys().collect() }
}

/// The packages of a status that are installed, triggers to be run or not.
fn installed(status: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    for stanza in control::paragraphs(status) {
        let paragraph = control::parse_paragraph(stanza).unwrap_or_default();
        let state = paragraph.get("Status").and_then(|status| status.rsplit(' ').next());
        if matches!(state, Some("installed" | "triggers-pending" | "triggers-awaited")) {
            names.extend(paragraph.get("Package"));
        }
    }
    names
}

/// Whether a status has packages that dpkg is not done with.
pub fn is_unfinished(status: &str) -> bool {
    let states = status.lines().filter_map(|line| line.strip_prefix("Status: "));
    states.filter_map(|state| state.rsplit(' ').next()).any(|state| {
        matches!(state, "unpacked" | "half-configured" | "triggers-pending" | "triggers-awaited")
    })
}

fn package_name(stanza: &str) -> String {
    let paragraph = control::parse_paragraph(stanza).unwrap_or_default();
    paragraph.get("Package").unwrap_or_default().to_owned()
}

fn new_stanza(one: &NewPackage<'_>, state: State, awaited: Option<&BTreeSet<String>>) -> String {
    const OWN: [&str; 5] =
        ["Package", "Status", "Conffiles", "Triggers-Pending", "Triggers-Awaited"];
    let facts = one.facts;
    let mut text = format!("Package: {}\nStatus: {}\n", facts.name, state.word());
    let mut skipping = false;
    for line in facts.control.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with([' ', '\t']) {
            let name = line.split(':').next().unwrap_or_default();
            skipping = OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
        }
        if !skipping {
            text.push_str(line.trim_end());
            text.push('\n');
        }
    }
    if !facts.conffiles.is_empty() {
        text.push_str("Conffiles:\n");
        for (path, md5) in &facts.conffiles {
            // dpkg's word for one that was never in its place.
            let _ = writeln!(text, " {path} {}", if one.held { "newconffile" } else { md5 });
        }
    }
    if let (Some(awaited), State::Unpacked) = (awaited, state) {
        let names: Vec<&str> = awaited.iter().map(String::as_str).collect();
        let _ = writeln!(text, "Triggers-Awaited: {}", names.join(" "));
    }
    text
}

/// An installed package's stanza with triggers to be run, beside those that it has already.
fn with_pending(stanza: &str, triggers: &BTreeSet<String>) -> String {
    let paragraph = control::parse_paragraph(stanza).unwrap_or_default();
    let mut triggers: BTreeSet<&str> = triggers.iter().map(String::as_str).collect();
    triggers.extend(paragraph.get("Triggers-Pending").unwrap_or_default().split_whitespace());
    let mut text = String::new();
    for line in stanza.lines().filter(|line| !line.starts_with("Triggers-Pending:")) {
        match line.strip_prefix("Status:") {
            Some(state) if !state.ends_with("triggers-awaited") => {
                text.push_str("Status: install ok triggers-pending\n");
            }
            Some(_) | None => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    let triggers: Vec<&str> = triggers.into_iter().collect();
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
                "interest-noawait" => format!("{}{NO_AWAIT}", facts.info_name),
                _ => continue,
            };
            if trigger.starts_with('/') {
                self.by_path.insert((trigger.to_owned(), owner));
            } else {
                self.by_name.entry(trigger.to_owned()).or_default().insert(owner);
            }
        }
    }

    /// Which installed packages have triggers to run once the new ones are unpacked, and who waits for them. One that
    /// is yet to be configured has none: configuring it does all they would.
    fn activated(&self, existing: &Existing, new: &[NewPackage<'_>]) -> Activated {
        let mut activated = Activated::default();
        if self.by_path.is_empty() && self.by_name.is_empty() {
            return activated;
        }
        let installed = installed(&existing.status);
        let mut note = |number: usize, owner: &str, trigger: &str, waits: bool| {
            let package = owner.split(['/', ':']).next().unwrap_or_default();
            if !installed.contains(package) {
                return;
            }
            let pending = activated.pending.entry(package.to_owned()).or_default();
            pending.insert(trigger.to_owned());
            if waits && !owner.ends_with(NO_AWAIT) {
                activated.awaited.entry(number).or_default().insert(package.to_owned());
            }
        };
        for (number, one) in new.iter().enumerate() {
            for (directive, trigger) in directives(&one.facts.triggers) {
                if !directive.starts_with("activate") {
                    continue;
                }
                let waits = directive != "activate-noawait";
                for owner in self.by_name.get(trigger).into_iter().flatten() {
                    note(number, owner, trigger, waits);
                }
                for (_, owner) in self.by_path.iter().filter(|(path, _)| path == trigger) {
                    note(number, owner, trigger, waits);
                }
            }
            if self.by_path.is_empty() {
                continue;
            }
            let paths = one.layer.entries().iter().map(|entry| entry.path.as_bytes());
            // Triggers may be on either name of a path.
            for path in paths.flat_map(merged_usr::names) {
                for (trigger, owner) in &self.by_path {
                    let below = path.strip_prefix(trigger.as_str());
                    if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                        note(number, owner, trigger, true);
                    }
                }
            }
        }
        activated
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

/// What new packages set off.
#[derive(Debug, Default)]
struct Activated {
    /// Triggers to be run, by the installed package that is interested.
    pending: BTreeMap<String, BTreeSet<String>>,
    /// The packages that a new one, by its number, waits for before it counts as installed.
    awaited: BTreeMap<usize, BTreeSet<String>>,
}

/// What dpkg adds to the name of a package that nobody waits for.
const NO_AWAIT: &str = "/noawait";

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
mod tests;
