//! A `hornero.hcl` in the making: images and services as far as they are known, and how they are written.

use std::fmt::Write as _;

/// A first `hornero.hcl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scaffold {
    /// What it was made from, in a few words.
    pub from: String,
    /// The text of `hornero.hcl`.
    pub text: String,
    /// Files that it needs and that are not there: path and contents.
    pub files: Vec<(String, String)>,
    /// What could not be mapped, or has to be looked at, one sentence each.
    pub notes: Vec<String>,
}

/// The port that a site or program listens on where nothing says another: servers that are no root can have it.
pub(crate) const PORT: u16 = 8080;

/// What becomes the file.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub from: String,
    pub images: Vec<Image>,
    pub services: Vec<Service>,
    pub files: Vec<(String, String)>,
    pub notes: Vec<String>,
}

/// What an image is made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// A suite.
    Debian(String),
    /// Another image of the file.
    Image(String),
    /// An image of the store.
    Stored(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub name: String,
    pub base: Base,
    pub packages: Vec<String>,
    pub copies: Vec<Copy>,
    /// Shell steps that need their order, each a line of one shell.
    pub provision: Vec<String>,
    pub run: Vec<String>,
    pub network: bool,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub env: Vec<(String, String)>,
    pub command: Vec<String>,
    pub scratch: Vec<String>,
    pub test: Option<Check>,
}

/// A `copy` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    pub source: String,
    pub to: String,
    pub owner: Option<String>,
    pub mode: Option<String>,
}

/// What tells that a server is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    Http { port: u16, path: String },
    Tcp { port: u16 },
}

#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub name: String,
    pub image: String,
    pub instances: u32,
    /// Name and number.
    pub ports: Vec<(String, u16)>,
    pub health: Option<Check>,
    /// Port of the host, and name of the port that answers.
    pub routes: Vec<(u16, String)>,
    pub depends_on: Vec<String>,
}

impl Image {
    pub fn new(name: &str, base: Base) -> Self {
        Self {
            name: name.to_owned(),
            base,
            packages: Vec::new(),
            copies: Vec::new(),
            provision: Vec::new(),
            run: Vec::new(),
            network: false,
            user: None,
            workdir: None,
            env: Vec::new(),
            command: Vec::new(),
            scratch: Vec::new(),
            test: None,
        }
    }

    /// A base with packages, on which application images are made.
    pub fn base(suite: &str, packages: &[&str]) -> Self {
        let mut image = Self::new("base", Base::Debian(suite.to_owned()));
        image.packages = packages.iter().map(|name| (*name).to_owned()).collect();
        image
    }

    fn write(&self, out: &mut String) {
        match (&self.base, self.copies.is_empty() && self.command.is_empty()) {
            (Base::Debian(_), true) => {
                out.push_str("# The base is baked once; images on it bake in moments.\n");
            }
            (_, true) => {}
            (_, false) => out.push_str("# What runs: files and command on the base.\n"),
        }
        let _ = writeln!(out, "image {} {{", quoted(&self.name));
        match &self.base {
            Base::Debian(suite) => {
                let why = "# this host's own apt sources; versions are locked in hornero.lock";
                let _ = writeln!(out, "debian = {} {why}", quoted(suite));
            }
            Base::Image(name) => {
                let _ = writeln!(out, "from = image.{name}");
            }
            Base::Stored(name) => {
                let _ = writeln!(out, "from = {}", quoted(name));
            }
        }
        list(out, "packages", &self.packages);
        self.write_copies(out);
        self.write_steps(out);
        self.write_configuration(out);
        out.push_str("}\n");
    }

    fn write_copies(&self, out: &mut String) {
        if !self.copies.is_empty() {
            out.push('\n');
        }
        for copy in &self.copies {
            let _ = write!(out, "copy {} {{", quoted(&copy.source));
            if copy.owner.is_none() && copy.mode.is_none() {
                let _ = writeln!(out, " to = {} }}", quoted(&copy.to));
                continue;
            }
            let _ = writeln!(out, "\nto = {}", quoted(&copy.to));
            text(out, "owner", copy.owner.as_deref());
            text(out, "mode", copy.mode.as_deref());
            out.push_str("}\n");
        }
    }

    fn write_steps(&self, out: &mut String) {
        let network = "network = true # recorded: what it fetches is not locked\n";
        if !self.provision.is_empty() {
            out.push_str(
                "\n# Runs again only when what it reads has changed.\nprovision \"shell\" {\n",
            );
            if self.network {
                out.push_str(network);
            }
            list(out, "inline", &self.provision);
            out.push_str("}\n");
        }
        if !self.run.is_empty() {
            out.push('\n');
            list(out, "run", &self.run);
            if self.network {
                out.push_str(network);
            }
        }
    }

    fn write_configuration(&self, out: &mut String) {
        if !self.command.is_empty() {
            out.push('\n');
        }
        text(out, "user", self.user.as_deref());
        text(out, "workdir", self.workdir.as_deref());
        if !self.env.is_empty() {
            out.push_str("env = {\n");
            for (name, value) in &self.env {
                let _ = writeln!(out, "{} = {}", key(name), quoted(value));
            }
            out.push_str("}\n");
        }
        list(out, "command", &self.command);
        if !self.scratch.is_empty() {
            out.push_str(
                "\n# The root is read-only; these start empty in every server, and go with it.\n",
            );
            list(out, "scratch", &self.scratch);
        }
        if let Some(test) = &self.test {
            let _ = writeln!(
                out,
                "\n# Must pass before a release gets traffic.\ntest \"serves\" {{ {} }}",
                test.written(None)
            );
        }
    }
}

impl Check {
    pub const fn port(&self) -> u16 {
        match self {
            Self::Http { port, .. } | Self::Tcp { port } => *port,
        }
    }

    /// As a key; `name` is the port's in a service, which tests do not know.
    fn written(&self, name: Option<&str>) -> String {
        let port = name.map_or_else(|| self.port().to_string(), quoted);
        match self {
            Self::Http { path, .. } => {
                format!("http = {{ port = {port}, path = {} }}", quoted(path))
            }
            Self::Tcp { .. } => format!("tcp = {{ port = {port} }}"),
        }
    }
}

impl Service {
    fn write(&self, out: &mut String) {
        let _ = writeln!(
            out,
            "# Other services reach it as `{0}.internal`.\nservice {1} {{\nimage = image.{2}\ninstances = {3}",
            self.name,
            quoted(&self.name),
            self.image,
            self.instances
        );
        if !self.depends_on.is_empty() {
            let names = self.depends_on.iter().map(|name| format!("service.{name}"));
            let _ = writeln!(out, "depends_on = [{}]", names.collect::<Vec<_>>().join(", "));
        }
        for (name, number) in &self.ports {
            let _ = writeln!(out, "\nport {} {{ container = {number} }}", quoted(name));
        }
        if let Some(health) = &self.health {
            let named = self.ports.iter().find(|(_, number)| *number == health.port());
            let written = health.written(named.map(|(name, _)| name.as_str()));
            let _ = writeln!(
                out,
                "\n# A server gets requests only while this holds.\nhealth {{\n{written}\ninterval = \"500ms\"\n}}"
            );
        }
        for (listen, port) in &self.routes {
            let _ = writeln!(
                out,
                "\n# The way in from outside.\nroute {{\nlisten = {listen}\nport = {}\n}}",
                quoted(port)
            );
        }
        out.push_str("}\n");
    }
}

impl Draft {
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// The file. Its spaces are not yet those of the canonical form.
    pub fn finish(self) -> Scaffold {
        let mut text = format!(
            "# Written by `hornero init` from {}. `hornero plan` shows what `hornero up` would do.\n",
            self.from
        );
        for note in &self.notes {
            let _ = writeln!(text, "# Look at: {}", note.replace('\n', " "));
        }
        for image in &self.images {
            text.push('\n');
            image.write(&mut text);
        }
        for service in &self.services {
            text.push('\n');
            service.write(&mut text);
        }
        Scaffold { from: self.from, text, files: self.files, notes: self.notes }
    }
}

/// A list of text, one a line where it is long.
fn list(out: &mut String, name: &str, items: &[String]) {
    /// Columns that a line may take.
    const WIDTH: usize = 90;
    if items.is_empty() {
        return;
    }
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    let line = items.join(", ");
    let _ = if line.len() + name.len() < WIDTH {
        writeln!(out, "{name} = [{line}]")
    } else {
        writeln!(out, "{name} = [\n{},\n]", items.join(",\n"))
    };
}

fn text(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = writeln!(out, "{name} = {}", quoted(value));
    }
}

/// A key of an object: in quotes where it is no name.
fn key(name: &str) -> String {
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { name.to_owned() } else { quoted(name) }
}

/// Text in quotes, with nothing in it that HCL would evaluate.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if rest.peek() == Some(&'{') => out.extend([character, character]),
            character if character.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('"');
    out
}

/// A name of an image or service, from whatever somebody called a directory.
pub(crate) fn name(text: &str) -> String {
    /// Names are part of host names, which have 63 letters at most; instances add to them.
    const LETTERS_MAX: usize = 30;
    let mut name = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        match character {
            'a'..='z' | '0'..='9' => name.push(character),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    name.truncate(LETTERS_MAX);
    let name = name.trim_end_matches('-');
    match name.chars().next() {
        Some('a'..='z') => name.to_owned(),
        Some(_) => format!("app-{name}"),
        None => "app".to_owned(),
    }
}

impl Service {
    /// A service of its own image that answers on a port, and has a way in from outside.
    pub fn answering(name: &str, port: u16) -> Self {
        /// The port of the host where nothing says another.
        const LISTEN: u16 = 8000;
        Self {
            name: name.to_owned(),
            image: name.to_owned(),
            instances: 2,
            ports: vec![("http".to_owned(), port)],
            health: Some(Check::Tcp { port }),
            routes: vec![(LISTEN, "http".to_owned())],
            depends_on: Vec::new(),
        }
    }
}
