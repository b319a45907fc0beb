//! Finds shared libraries as the dynamic loader does (ld.so(8)), in a tree that is only looked up.
//!
//! Order: `DT_RPATH` of the object and of those that loaded it, unless it has `DT_RUNPATH`; `LD_LIBRARY_PATH`;
//! `DT_RUNPATH`; the directories of `/etc/ld.so.conf`; the default ones. A file of another machine is passed over.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use crate::{
    elf::ElfFacts,
    entry,
    view::{Found, View},
};

/// Files that one program loads; browsers load some hundreds.
const LOADED_MAX: usize = 4096;
/// Files of library paths that include each other.
const INCLUDE_DEPTH_MAX: usize = 8;

/// A program or library of a tree.
#[derive(Clone)]
pub(crate) struct Object<'v> {
    /// The path of the file itself.
    path: Rc<[u8]>,
    /// The directory it was found by, for `$ORIGIN`.
    origin: Rc<[u8]>,
    elf: &'v ElfFacts,
}

/// What a program or library lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Lack {
    /// The file that needs it.
    pub path: Vec<u8>,
    /// What it needs.
    pub need: Need,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Library(String),
    Version { library: String, version: String },
}

/// What is there instead.
pub(crate) type Instead = String;

/// The loader on one tree.
pub(crate) struct Loader<'v> {
    view: &'v View<'v>,
    /// `LD_LIBRARY_PATH`.
    environment: Vec<Vec<u8>>,
    configured: Vec<Vec<u8>>,
    by_name: RefCell<BTreeMap<(u8, u16, String), Option<Object<'v>>>>,
    plain: RefCell<BTreeMap<Rc<[u8]>, bool>>,
}

impl<'v> Loader<'v> {
    pub fn new(view: &'v View<'v>, environment: &BTreeMap<String, String>) -> Self {
        let environment =
            environment.get("LD_LIBRARY_PATH").map(String::as_str).unwrap_or_default();
        let environment = environment
            .split([':', ';'])
            .filter(|dir| dir.starts_with('/'))
            .map(|dir| dir.as_bytes().to_vec())
            .collect();
        let configured = configured_dirs(view);
        Self {
            view,
            environment,
            configured,
            by_name: RefCell::default(),
            plain: RefCell::default(),
        }
    }

    /// The object of a file.
    pub fn object(&self, path: &[u8], elf: &'v ElfFacts) -> Object<'v> {
        let origin = entry::parent(path).unwrap_or_default();
        Object { path: path.into(), origin: origin.into(), elf }
    }

    /// Whether an object and all it loads lack nothing, found in the same places whoever loads it.
    pub fn is_plain(&self, object: &Object<'v>) -> bool {
        if let Some(known) = self.plain.borrow().get(&object.path) {
            return *known;
        }
        // Libraries may need each other in a circle: the one asked first decides.
        self.plain.borrow_mut().insert(object.path.clone(), true);
        let plain = self.is_plain_itself(object);
        self.plain.borrow_mut().insert(object.path.clone(), plain);
        plain
    }

    fn is_plain_itself(&self, object: &Object<'v>) -> bool {
        let elf = object.elf;
        if elf.rpath.is_some() || elf.runpath.is_some() {
            return false;
        }
        let mut found = Vec::with_capacity(elf.needed.len());
        for name in &elf.needed {
            match self.search_default(name, elf) {
                Some(library) if self.is_plain(&library) => found.push((name, library)),
                _ => return false,
            }
        }
        elf.versions_needed.iter().all(|(file, versions)| {
            let library = found
                .iter()
                .find(|(name, library)| *name == file || library.elf.soname.as_ref() == Some(file));
            // Of one that another library brings only the whole search knows.
            library.is_some_and(|(_, library)| {
                versions.iter().all(|version| defines(library.elf, version))
            })
        })
    }

    /// What a program or library and all it loads lack, with what is there instead.
    pub fn lacks(&self, root: Object<'v>) -> BTreeMap<Lack, Instead> {
        let mut loaded: Vec<(Object<'v>, Option<usize>)> = vec![(root, None)];
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        let mut by_path: BTreeMap<Rc<[u8]>, usize> = BTreeMap::new();
        by_path.insert(loaded[0].0.path.clone(), 0);
        let mut lacks = BTreeMap::new();
        let mut waiting = VecDeque::from([0]);
        while let Some(at) = waiting.pop_front() {
            let elf = loaded[at].0.elf;
            if let Some(name) = &elf.soname {
                by_name.entry(name).or_insert(at);
            }
            for name in &elf.needed {
                if by_name.contains_key(name.as_str()) || loaded.len() > LOADED_MAX {
                    continue;
                }
                let Some(object) = self.search(name, at, &loaded) else {
                    let need = Need::Library(name.clone());
                    let lack = Lack { path: loaded[at].0.path.to_vec(), need };
                    lacks.insert(lack, self.instead_of(name));
                    continue;
                };
                let known = by_path.get(&object.path).copied();
                let number = known.unwrap_or_else(|| {
                    by_path.insert(object.path.clone(), loaded.len());
                    loaded.push((object, Some(at)));
                    waiting.push_back(loaded.len() - 1);
                    loaded.len() - 1
                });
                by_name.insert(name, number);
                if let Some(soname) = &loaded[number].0.elf.soname {
                    by_name.entry(soname).or_insert(number);
                }
            }
        }
        for (object, _) in &loaded {
            for (file, versions) in &object.elf.versions_needed {
                let Some(number) = by_name.get(file.as_str()) else { continue };
                let library = &loaded[*number].0;
                for version in versions.iter().filter(|version| !defines(library.elf, version)) {
                    let need = Need::Version { library: file.clone(), version: version.clone() };
                    let has = newest(&library.elf.versions_defined, version);
                    let instead = match has {
                        Some(has) => format!("`{}` with `{has}`", entry::shown(&library.path)),
                        None => format!("`{}` without it", entry::shown(&library.path)),
                    };
                    lacks.insert(Lack { path: object.path.to_vec(), need }, instead);
                }
            }
        }
        lacks
    }

    fn search(
        &self,
        name: &str,
        by: usize,
        loaded: &[(Object<'v>, Option<usize>)],
    ) -> Option<Object<'v>> {
        let requester = &loaded[by].0;
        let elf = requester.elf;
        if name.contains('/') {
            return name.starts_with('/').then(|| self.open(name.as_bytes(), elf))?;
        }
        if elf.runpath.is_none() {
            let mut at = Some(by);
            while let Some(number) = at {
                let (object, loader) = &loaded[number];
                if object.elf.runpath.is_none()
                    && let Some(found) =
                        self.in_list(object.elf.rpath.as_deref(), object, name, elf)
                {
                    return Some(found);
                }
                at = *loader;
            }
        }
        for dir in &self.environment {
            if let Some(found) = self.open(&entry::join(dir, name.as_bytes()), elf) {
                return Some(found);
            }
        }
        self.in_list(elf.runpath.as_deref(), requester, name, elf)
            .or_else(|| self.search_default(name, elf))
    }

    fn in_list(
        &self,
        list: Option<&str>,
        object: &Object<'v>,
        name: &str,
        wanted: &ElfFacts,
    ) -> Option<Object<'v>> {
        list?.split(':').filter(|dir| !dir.is_empty()).find_map(|dir| {
            let dir = expanded(dir, &object.origin, object.elf);
            self.open(&entry::join(&dir, name.as_bytes()), wanted)
        })
    }

    fn search_default(&self, name: &str, wanted: &ElfFacts) -> Option<Object<'v>> {
        if name.contains('/') {
            return name.starts_with('/').then(|| self.open(name.as_bytes(), wanted))?;
        }
        let key = (wanted.class, wanted.machine, name.to_owned());
        if let Some(known) = self.by_name.borrow().get(&key) {
            return known.clone();
        }
        let environment = self.environment.iter().map(Vec::as_slice);
        let configured = self.configured.iter().map(Vec::as_slice);
        let defaults = default_dirs(wanted);
        let found = environment
            .chain(configured)
            .chain(defaults.iter().map(|dir| dir.as_bytes()))
            .find_map(|dir| self.open(&entry::join(dir, name.as_bytes()), wanted));
        self.by_name.borrow_mut().insert(key, found.clone());
        found
    }

    fn open(&self, path: &[u8], wanted: &ElfFacts) -> Option<Object<'v>> {
        let (end, found) = self.view.file(path)?;
        let elf = found.elf()?;
        if (elf.class, elf.machine) != (wanted.class, wanted.machine) {
            return None;
        }
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let origin = entry::parent(path).unwrap_or_default();
        Some(Object { path: end.into(), origin: origin.into(), elf })
    }

    /// The library of the same name in another version, or of another machine, that lies in a usual place.
    fn instead_of(&self, name: &str) -> Instead {
        let stem = name.split(".so").next().unwrap_or(name);
        let prefix = format!("{stem}.so");
        let configured = self.configured.iter().map(Vec::as_slice);
        let every = ALL_DEFAULT_DIRS.iter().map(|dir| dir.as_bytes());
        for dir in configured.chain(every) {
            let Some((dir, _)) = self.view.resolve(dir) else { continue };
            let files: BTreeMap<Vec<u8>, Found<'_>> = self.view.files_in(&dir);
            if let Some((found, _)) = files
                .iter()
                .find(|(found, file)| found.starts_with(prefix.as_bytes()) && file.elf().is_some())
            {
                let path = entry::shown(&entry::join(&dir, found));
                return match found.as_slice() == name.as_bytes() {
                    true => format!("`{path}` of another machine"),
                    false => format!("`{path}`"),
                };
            }
        }
        "no such library".to_owned()
    }
}

/// A library without any versions satisfies all; the loader only warns then.
fn defines(library: &ElfFacts, version: &str) -> bool {
    library.versions_defined.is_empty()
        || library.versions_defined.iter().any(|defined| defined == version)
}

/// The last version of the same family, such as `GLIBC_2.31` for `GLIBC_2.36`.
fn newest<'l>(defined: &'l [String], wanted: &str) -> Option<&'l str> {
    let family = |version: &str| version.split('_').next().unwrap_or_default().to_owned();
    let near = defined.iter().filter(|version| family(version) == family(wanted));
    near.max_by(|one, two| crate::debian::version::compare(one, two)).map(String::as_str)
}

fn expanded(dir: &str, origin: &[u8], elf: &ElfFacts) -> Vec<u8> {
    let origin = entry::shown(origin);
    let library = match triplet(elf) {
        Some(triplet) => format!("lib/{triplet}"),
        None => "lib".to_owned(),
    };
    let mut text = dir.to_owned();
    for (variable, value) in [("ORIGIN", origin.as_str()), ("LIB", &library)] {
        text = text
            .replace(&format!("${{{variable}}}"), value)
            .replace(&format!("${variable}"), value);
    }
    text.into_bytes()
}

/// Debian's name of the machine (multiarch tuples), where it has one.
fn triplet(elf: &ElfFacts) -> Option<&'static str> {
    Some(match (elf.machine, elf.class) {
        (62, 2) => "x86_64-linux-gnu",
        (62, 1) => "x86_64-linux-gnux32",
        (3, 1) => "i386-linux-gnu",
        (183, 2) => "aarch64-linux-gnu",
        (40, 1) => "arm-linux-gnueabihf",
        (243, 2) => "riscv64-linux-gnu",
        (21, 2) => "powerpc64le-linux-gnu",
        (22, 2) => "s390x-linux-gnu",
        (258, 2) => "loongarch64-linux-gnu",
        _ => return None,
    })
}

/// Where distributions other than Debian have them.
const PLAIN_DIRS: [&str; 4] = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"];
const ALL_DEFAULT_DIRS: [&str; 8] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib/i386-linux-gnu",
    "/usr/lib/riscv64-linux-gnu",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib",
];

fn default_dirs(elf: &ElfFacts) -> Vec<String> {
    let multiarch = triplet(elf)
        .into_iter()
        .flat_map(|triplet| [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")]);
    multiarch.chain(PLAIN_DIRS.map(str::to_owned)).collect()
}

/// The directories that `/etc/ld.so.conf` and what it includes name, in order.
pub(crate) fn configured_dirs(view: &View<'_>) -> Vec<Vec<u8>> {
    let mut dirs = Vec::new();
    if let Some((_, found)) = view.file(b"etc/ld.so.conf") {
        read_library_paths(view, found, 0, &mut dirs);
    }
    dirs
}

fn read_library_paths(view: &View<'_>, file: Found<'_>, depth: usize, dirs: &mut Vec<Vec<u8>>) {
    let Some(text) = file.layer.library_paths(file.number) else { return };
    if depth > INCLUDE_DEPTH_MAX {
        return;
    }
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(pattern) =
            line.strip_prefix("include").filter(|rest| rest.starts_with([' ', '\t']))
        {
            for pattern in pattern.split_whitespace() {
                let pattern = match pattern.strip_prefix('/') {
                    Some(absolute) => absolute.to_owned(),
                    None => format!("etc/{pattern}"),
                };
                let (dir, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
                let Some((dir, _)) = view.resolve(dir.as_bytes()) else { continue };
                for (found, file) in view.files_in(&dir) {
                    if matches_pattern(name.as_bytes(), &found) {
                        read_library_paths(view, file, depth + 1, dirs);
                    }
                }
            }
        } else if line.starts_with('/') {
            let dir = line.split('=').next().unwrap_or_default().trim_end_matches('/');
            dirs.push(dir.as_bytes().to_vec());
        }
    }
}

/// Whether a name fits a pattern with one `*` at most, as all such files have it.
fn matches_pattern(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.iter().position(|byte| *byte == b'*') {
        None => pattern == name,
        Some(at) => {
            let (head, tail) = (&pattern[..at], &pattern[at + 1..]);
            // A leading dot is only matched by a dot (glob(7)).
            let hidden = head.is_empty() && name.first() == Some(&b'.');
            !hidden
                && name.len() >= head.len() + tail.len()
                && name.starts_with(head)
                && name.ends_with(tail)
        }
    }
}
