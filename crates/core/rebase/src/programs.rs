//! Programs, libraries and scripts: what ran and loaded on the old base has to run and load on the new one.

use std::{
    cell::OnceCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use hornero_model::Digest;

use crate::{
    entry::{self, Kind},
    layer::Layer,
    loader::{Lack, Loader, Need},
    refusal::{RebaseRefusal, RefusalKind},
    view::{At, Found, Tree, View},
};

/// Where programs are looked for when nothing else is said; that of the build and of images without their own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a base's own programs look for by name.
#[derive(Debug)]
pub(crate) struct Wanted(BTreeSet<Vec<u8>>);

impl Wanted {
    pub fn of(base: &Tree) -> Self {
        let mut names = BTreeSet::new();
        let mut add = |path: &str| {
            names.insert(entry::name(path.as_bytes()).to_vec());
        };
        for (_, at) in base.nodes() {
            let At::Entry(found) = at else { continue };
            if let Some(elf) = found.elf() {
                elf.needed.iter().for_each(|name| add(name));
                elf.interpreter.iter().for_each(|path| add(path));
            }
        }
        for script in scripts(base.nodes().map(|(_, at)| at)) {
            let (interpreter, program) = script.1;
            add(interpreter);
            program.into_iter().for_each(&mut add);
        }
        Self(names)
    }

    /// Whether a layer could change what the base's own programs find.
    pub fn is_affected_by(&self, layer: &Layer, base: &Tree) -> bool {
        let hides = |entry: &entry::Entry| match entry.kind {
            Kind::Directory { opaque: false } => false,
            Kind::Directory { opaque: true } | Kind::Whiteout => true,
            _ => {
                matches!(base.get(&entry.path), Some(At::Implied))
                    || matches!(base.get(&entry.path),
                    Some(At::Entry(found)) if found.entry().is_directory())
            }
        };
        !layer.facts().library_paths.is_empty()
            || layer.entries().iter().any(|entry| {
                !matches!(entry.kind, Kind::Directory { opaque: false })
                    && (self.0.contains(entry::name(&entry.path)) || hides(entry))
            })
    }
}

/// Interpreter and looked-for program of every script among what a tree has.
fn scripts<'v>(
    nodes: impl Iterator<Item = At<'v>>,
) -> Vec<(Found<'v>, (&'v str, Option<&'v str>))> {
    let mut by_layer: BTreeMap<Digest, BTreeMap<u32, (&'v str, Option<&'v str>)>> = BTreeMap::new();
    let mut all = Vec::new();
    for at in nodes {
        let At::Entry(found) = at else { continue };
        let known = by_layer.entry(found.layer.digest).or_insert_with(|| {
            let script = |script: &'v crate::facts::Script| {
                (script.interpreter.as_str(), script.program.as_deref())
            };
            found.layer.scripts().map(|(number, one)| (number, script(one))).collect()
        });
        if let Some(script) = known.get(&found.number) {
            all.push((found, *script));
        }
    }
    all
}

/// What a program or script lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Loaded(Lack),
    Interpreter { path: Vec<u8>, interpreter: String },
}

/// Both trees of an image, looked at with its environment.
pub(crate) struct Programs<'v> {
    pub old: Side<'v>,
    pub new: Side<'v>,
}

pub(crate) struct Side<'v> {
    pub view: &'v View<'v>,
    loader: OnceCell<Loader<'v>>,
    environment: &'v BTreeMap<String, String>,
    /// Where paths of programs end.
    known: std::cell::RefCell<BTreeMap<String, Option<Rc<[u8]>>>>,
}

impl<'v> Side<'v> {
    fn new(view: &'v View<'v>, environment: &'v BTreeMap<String, String>) -> Self {
        Self { view, loader: OnceCell::new(), environment, known: std::cell::RefCell::default() }
    }

    fn loader(&self) -> &Loader<'v> {
        self.loader.get_or_init(|| Loader::new(self.view, self.environment))
    }

    /// Where the program at a path ends, symlinks followed; None where nothing is there that can be run.
    pub fn end(&self, path: &str) -> Option<Rc<[u8]>> {
        if let Some(known) = self.known.borrow().get(path) {
            return known.clone();
        }
        let file = self.view.file(path.as_bytes());
        let program = file.filter(|(_, found)| found.entry().mode & 0o111 != 0);
        let end: Option<Rc<[u8]>> = program.map(|(end, _)| end.into());
        self.known.borrow_mut().insert(path.to_owned(), end.clone());
        end
    }

    /// The path at which `env` and the start of a command find a program, and where it ends.
    pub fn program(&self, name: &str) -> Option<(String, Rc<[u8]>)> {
        if name.contains('/') {
            return Some((name.to_owned(), self.end(name)?));
        }
        let path = self.environment.get("PATH").map_or(PATH, String::as_str);
        path.split(':').filter(|dir| dir.starts_with('/')).find_map(|dir| {
            let path = format!("{dir}/{name}");
            let end = self.end(&path)?;
            Some((path, end))
        })
    }

    /// What the file at `path` lacks, with what is there instead.
    fn missing(&self, path: &[u8], found: Found<'v>, script: Script<'_>) -> Lacks {
        let mut missing = BTreeMap::new();
        if let Some(elf) = found.elf() {
            let loader = self.loader();
            let object = loader.object(path, elf);
            if !loader.is_plain(&object) {
                let lacks = loader.lacks(object);
                missing.extend(lacks.into_iter().map(|(lack, has)| (Missing::Loaded(lack), has)));
            }
            if let Some(interpreter) = &elf.interpreter
                && self.end(interpreter).is_none()
            {
                self.lacks_interpreter(path, interpreter, &mut missing);
            }
        }
        if let Some((interpreter, program)) = script {
            if self.end(interpreter).is_none() {
                self.lacks_interpreter(path, interpreter, &mut missing);
            }
            if let Some(program) = program
                && self.program(program).is_none()
            {
                self.lacks_interpreter(path, program, &mut missing);
            }
        }
        missing
    }

    fn lacks_interpreter(&self, path: &[u8], interpreter: &str, missing: &mut Lacks) {
        let instead = self.instead_of(interpreter);
        let interpreter = interpreter.to_owned();
        missing.insert(Missing::Interpreter { path: path.to_vec(), interpreter }, instead);
    }

    /// A program of the same name in another usual place.
    pub fn instead_of(&self, interpreter: &str) -> String {
        let name = interpreter.rsplit('/').next().unwrap_or(interpreter);
        let dirs = PATH.split(':').chain(["/usr/local/games", "/opt/bin", "/lib64", "/lib"]);
        for dir in dirs {
            let path = format!("{dir}/{name}");
            if self.end(&path).is_some() {
                return format!("`{path}`");
            }
        }
        format!("no `{name}`")
    }
}

/// Interpreter of a script, and the program that `env` looks for.
pub(crate) type Script<'s> = Option<(&'s str, Option<&'s str>)>;
type Lacks = BTreeMap<Missing, String>;

impl<'v> Programs<'v> {
    pub fn new(
        old: &'v View<'v>,
        new: &'v View<'v>,
        environment: &'v BTreeMap<String, String>,
    ) -> Self {
        Self { old: Side::new(old, environment), new: Side::new(new, environment) }
    }

    /// What the files of an image's own layers lack now and did not before.
    pub fn of_image(&self) -> Vec<RebaseRefusal> {
        let mut fresh = Lacks::new();
        let mut refusals = Vec::new();
        for layer in self.new.view.own() {
            let scripts: BTreeMap<u32, (&str, Option<&str>)> = layer
                .scripts()
                .map(|(at, one)| (at, (one.interpreter.as_str(), one.program.as_deref())))
                .collect();
            let numbers: BTreeSet<u32> =
                layer.elves().map(|(at, _)| at).chain(scripts.keys().copied()).collect();
            for number in numbers {
                let path = &layer.entry(number).path;
                if let Some(found) = self.top(layer, number) {
                    let script = scripts.get(&number).copied();
                    self.compare(path, found, script, &mut fresh);
                    refusals.extend(self.interpreters_changed(path, script, script));
                }
            }
            let unread = layer.unread().filter(|number| self.top(layer, *number).is_some());
            refusals.extend(unread.map(|number| {
                let path = &layer.entry(number).path;
                let need = "libraries that could not be read from its headers";
                let (kind, found) = (RefusalKind::ProgramUnread, "perhaps not all of them");
                RebaseRefusal::of_file(kind, path, Some(layer.digest), need, found)
            }));
        }
        refusals.extend(self.refusals(fresh));
        refusals
    }

    /// A file of one of the image's own layers, where it is the topmost at its path.
    fn top(&self, layer: &Layer, number: u32) -> Option<Found<'v>> {
        match self.new.view.get(&layer.entry(number).path) {
            Some(At::Entry(found))
                if found.own && found.number == number && std::ptr::eq(found.layer, layer) =>
            {
                Some(found)
            }
            _ => None,
        }
    }

    /// What runs a script now, where that is another program than the one that ran it before; `was` and `is` are the
    /// script's words on both sides.
    pub fn interpreters_changed(
        &self,
        path: &[u8],
        was: Script<'_>,
        is: Script<'_>,
    ) -> Vec<RebaseRefusal> {
        let (Some(was), Some(is)) = (was, is) else { return Vec::new() };
        let mut refusals = Vec::new();
        let mut compare = |name: &str, was: Option<Rc<[u8]>>, is: Option<Rc<[u8]>>| {
            let (Some(was), Some(is)) = (was, is) else { return };
            if !is_same_place(&was, &is) {
                let need = format!("the interpreter `{name}` to be `{}`", entry::shown(&was));
                let found = format!("`{}`", entry::shown(&is));
                let (kind, layer) = (RefusalKind::ProgramChanged, self.own_layer(path));
                refusals.push(RebaseRefusal::of_file(kind, path, layer, need, found));
            }
        };
        compare(was.0, self.old.end(was.0), self.new.end(is.0));
        if let (Some(was), Some(is)) = (was.1, is.1) {
            let end = |side: &Side<'_>, name: &str| side.program(name).map(|(_, end)| end);
            compare(was, end(&self.old, was), end(&self.new, is));
        }
        refusals
    }

    /// The image's own layer that has a path.
    pub fn own_layer(&self, path: &[u8]) -> Option<Digest> {
        match self.new.view.get(path) {
            Some(At::Entry(found)) if found.own => Some(found.layer.digest),
            _ => None,
        }
    }

    /// What the new base's own files lack now, in the image, and those of the old base did not.
    pub fn of_base(&self) -> Vec<RebaseRefusal> {
        let mut fresh = Lacks::new();
        let nodes = || self.new.view.base().nodes().map(|(_, at)| at);
        let scripts: BTreeMap<(Digest, u32), (&str, Option<&str>)> = scripts(nodes())
            .into_iter()
            .map(|(found, script)| ((found.layer.digest, found.number), script))
            .collect();
        for at in nodes() {
            let At::Entry(found) = at else { continue };
            let script = scripts.get(&(found.layer.digest, found.number)).copied();
            if found.elf().is_none() && script.is_none() {
                continue;
            }
            let path = &found.entry().path;
            let shows = matches!(self.new.view.get(path), Some(At::Entry(seen)) if !seen.own);
            if shows {
                self.compare(path, found, script, &mut fresh);
            }
        }
        self.refusals(fresh)
    }

    /// Adds what a file lacks in the new tree and did not lack before; only where it lacks something the old tree is
    /// asked. A library may be found by one program and not by another, so each file is compared with itself.
    fn compare(&self, path: &[u8], found: Found<'v>, script: Script<'_>, fresh: &mut Lacks) {
        let mut lacks = self.new.missing(path, found, script);
        if lacks.is_empty() {
            return;
        }
        // A new file of the new base has to find all it needs.
        if let Some(At::Entry(before)) = self.old.view.get(path) {
            let old = self.old.missing(path, before, script);
            lacks.retain(|missing, _| !old.contains_key(missing));
        }
        fresh.extend(lacks);
    }

    fn refusals(&self, fresh: Lacks) -> Vec<RebaseRefusal> {
        fresh
            .into_iter()
            .map(|(missing, instead)| {
                let (path, kind, need) = match &missing {
                    Missing::Interpreter { path, interpreter } => {
                        let need = format!("the interpreter `{interpreter}`");
                        (path, RefusalKind::InterpreterMissing, need)
                    }
                    Missing::Loaded(lack) => match &lack.need {
                        Need::Library(name) => (
                            &lack.path,
                            RefusalKind::LibraryMissing,
                            format!("the library `{name}`"),
                        ),
                        Need::Version { library, version } => {
                            let need = format!("`{version}` of the library `{library}`");
                            (&lack.path, RefusalKind::LibraryVersion, need)
                        }
                    },
                };
                RebaseRefusal::of_file(kind, path, self.own_layer(path), need, instead)
            })
            .collect()
    }
}

/// Whether two paths are one program's, wherever `/bin`, `/sbin` and `/usr/sbin` are merged into `/usr/bin`.
pub(crate) fn is_same_place(one: &[u8], other: &[u8]) -> bool {
    fn merged(path: &[u8]) -> (bool, &[u8]) {
        let path = path.strip_prefix(b"usr/").unwrap_or(path);
        match path.strip_prefix(b"sbin/").or_else(|| path.strip_prefix(b"bin/")) {
            Some(rest) => (true, rest),
            None => (false, path),
        }
    }
    merged(one) == merged(other)
}
