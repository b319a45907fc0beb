//! The modules of a crate, and which of them names things of which other one.
//!
//! Read from tokens: `use` trees, and paths that begin with `crate`, `self`, `super`, a module below, or a name that was
//! imported. What a module hands on is looked for where it is defined. Names in macros count; tests and modules within a
//! file do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use proc_macro2::Delimiter;

use crate::{
    run,
    tokens::{self, Token},
};

/// How many imports a name is followed through: more are a loop of imports.
const HOPS_MAX: usize = 12;

/// A path as it is written, segment by segment.
type Segments = Vec<String>;
/// A module by its names from the root of its crate on.
type Name = Vec<String>;

/// What is read of a module's file.
#[derive(Debug, Default)]
struct Module {
    /// Modules below it with files of their own.
    children: BTreeSet<String>,
    /// Where each name that it imports comes from.
    imports: BTreeMap<String, Segments>,
    /// Every path in it.
    paths: Vec<Segments>,
}

/// The modules of a crate.
#[derive(Debug, Default)]
pub struct Modules(BTreeMap<Name, Module>);

/// For each module, the modules that it names things of.
pub type Arrows = BTreeMap<String, BTreeSet<String>>;

impl Modules {
    /// Reads the crate whose root is `lib.rs` or `main.rs` in `directory`.
    pub fn read(directory: &Path) -> Result<Self> {
        let mut modules = Self::default();
        for root in ["lib", "main"] {
            let file = directory.join(root).with_extension("rs");
            if file.is_file() {
                modules.read_file(&file, directory, vec![root.to_owned()])?;
            }
        }
        Ok(modules)
    }

    fn read_file(&mut self, file: &Path, below: &Path, name: Name) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("`{}`", file.display()))?;
        let (module, declared) = parse(&text).with_context(|| format!("`{}`", file.display()))?;
        self.0.insert(name.clone(), module);
        for (child, path) in declared {
            let directory = below.join(&child);
            let named = path.map(|path| file.with_file_name("").join(path));
            let files = [directory.with_extension("rs"), directory.join("mod.rs")];
            let mut files = named.iter().chain(&files);
            let Some(file) = files.find(|file| file.is_file()) else { continue };
            if let Some(parent) = self.0.get_mut(&name) {
                parent.children.insert(child.clone());
            }
            let name = [name.as_slice(), &[child]].concat();
            self.read_file(file, &directory, name)?;
        }
        Ok(())
    }

    /// Which module names things of which other one.
    pub fn arrows(&self) -> Arrows {
        let arrows = self.0.iter().map(|(name, module)| {
            let reached = module.paths.iter().filter_map(|path| self.home_of(name, path, HOPS_MAX));
            let others = reached.filter(|reached| reached != name).map(|name| shown(&name));
            (shown(name), others.collect())
        });
        arrows.collect()
    }

    /// The module in which a thing is defined; none where that is another crate's, or nothing that is known here.
    fn home_of(&self, from: &Name, path: &[String], hops: usize) -> Option<Name> {
        let hops = hops.checked_sub(1)?;
        let module = self.0.get(from)?;
        let (first, rest) = path.split_first()?;
        let (mut home, mut rest) = match first.as_str() {
            "crate" => (from[..1].to_vec(), rest),
            "self" => (from.clone(), rest),
            "super" => {
                let ups = path.iter().take_while(|segment| *segment == "super").count();
                (from[..from.len().saturating_sub(ups).max(1)].to_vec(), &path[ups..])
            }
            child if module.children.contains(child) => (from.clone(), path),
            imported => {
                let target = module.imports.get(imported).filter(|target| **target != *path)?;
                return self.home_of(from, &[target.as_slice(), rest].concat(), hops);
            }
        };
        while let Some((next, after)) = rest.split_first() {
            let module = self.0.get(&home)?;
            if module.children.contains(next) {
                home.push(next.clone());
                rest = after;
            } else if let Some(target) = module.imports.get(next) {
                let target = [target.as_slice(), after].concat();
                return self.home_of(&home, &target, hops);
            } else {
                break;
            }
        }
        Some(home)
    }
}

/// The directory of each crate that git knows.
pub fn crates() -> Result<Vec<String>> {
    let listed = run::read(Command::new("git").args(["ls-files", "--", "*/Cargo.toml"]))?;
    Ok(listed
        .lines()
        .filter_map(|file| file.strip_suffix("/Cargo.toml"))
        .map(str::to_owned)
        .collect())
}

fn shown(name: &Name) -> String {
    name.join("::")
}

/// A module that another one declares, with the path of its file where that is said.
type Declared = (String, Option<String>);

/// A module's text, and the modules that it declares.
fn parse(text: &str) -> Result<(Module, Vec<Declared>)> {
    let tokens = tokens::read(text)?;
    let mut reader = Reader { tokens: &tokens, at: 0 };
    let (mut module, mut declared) = (Module::default(), Vec::new());
    while let Some(token) = reader.peek(0) {
        match token {
            Token::Word(word) if word == "mod" => reader.module(&mut declared),
            Token::Word(word) if word == "use" => {
                reader.at += 1;
                reader.tree(&[], &mut module);
            }
            Token::Word(_) => {
                let path = reader.path();
                if path.len() > 1 {
                    module.paths.push(path);
                }
            }
            Token::Sign(_) | Token::Open(_) | Token::Close(_) | Token::Literal(_) => {
                reader.at += 1;
            }
        }
    }
    Ok((module, declared))
}

/// Goes through tokens.
struct Reader<'t> {
    tokens: &'t [Token],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn word(&self, ahead: usize) -> Option<&String> {
        match self.peek(ahead) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn is_at_colons(&self, ahead: usize) -> bool {
        let colon = Some(&Token::Sign(':'));
        self.peek(ahead) == colon && self.peek(ahead + 1) == colon
    }

    /// `mod name;` declares one; the content of `mod name { … }` is passed over.
    fn module(&mut self, declared: &mut Vec<Declared>) {
        let name = self.word(1).cloned();
        let path = self.path_attribute();
        self.at += 2;
        match (name, self.peek(0)) {
            (Some(name), Some(Token::Sign(';'))) => declared.push((name, path)),
            (Some(_), Some(Token::Open(Delimiter::Brace))) => self.pass_group(),
            (Some(_) | None, _) => {}
        }
    }

    /// The path of `#[path = "…"]` before the `mod` that is read.
    fn path_attribute(&self) -> Option<String> {
        let before = &self.tokens[..self.at];
        let before = before.strip_suffix(&[Token::Word("pub".to_owned())]).unwrap_or(before);
        match before {
            [.., Token::Word(path), Token::Sign('='), Token::Literal(text), Token::Close(_)]
                if path == "path" =>
            {
                Some(text.trim_matches('"').to_owned())
            }
            _ => None,
        }
    }

    fn pass_group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Open(_) => depth += 1,
                Token::Close(_) => depth = depth.saturating_sub(1),
                Token::Sign(_) | Token::Word(_) | Token::Literal(_) => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// The path that begins here.
    fn path(&mut self) -> Segments {
        let mut path = Segments::new();
        while let Some(word) = self.word(0) {
            path.push(word.clone());
            self.at += 1;
            if !self.is_at_colons(0) || self.word(2).is_none() {
                break;
            }
            self.at += 2;
        }
        path
    }

    /// The tree of a `use`, below `prefix`.
    fn tree(&mut self, prefix: &[String], module: &mut Module) {
        let mut path = prefix.to_vec();
        loop {
            if self.is_at_colons(0) {
                self.at += 2;
            }
            match self.peek(0) {
                Some(Token::Open(Delimiter::Brace)) => return self.branches(&path, module),
                Some(Token::Sign('*')) => {
                    self.at += 1;
                    module.paths.push(path);
                    return;
                }
                Some(Token::Word(word)) => {
                    if word != "self" || path.is_empty() {
                        path.push(word.clone());
                    }
                    self.at += 1;
                    if !self.is_at_colons(0) {
                        break;
                    }
                }
                _ => return,
            }
        }
        let mut name = path.last().cloned();
        if self.word(0).is_some_and(|word| word == "as") {
            name = self.word(1).cloned();
            self.at += 2;
        }
        if let Some(name) = name {
            module.imports.insert(name, path.clone());
        }
        module.paths.push(path);
    }

    fn branches(&mut self, prefix: &[String], module: &mut Module) {
        self.at += 1;
        while let Some(token) = self.peek(0) {
            match token {
                Token::Close(Delimiter::Brace) => {
                    self.at += 1;
                    return;
                }
                Token::Word(_) => self.tree(prefix, module),
                _ => self.at += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: &[(&str, &str)]) {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = directory.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        let source = Some(directory.path().join("src")).filter(|source| source.is_dir());
        let source = source.unwrap_or_else(|| directory.path().to_owned());
        let arrows = Modules::read(&source).unwrap().arrows();
        let found: Vec<(&str, &str)> = arrows
            .iter()
            .flat_map(|(from, to)| to.iter().map(|to| (from.as_str(), to.as_str())))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_lead_to_where_a_thing_is_defined() {
        check(
            &[
                ("lib.rs", "mod a;\nmod b;\nmod c;\npub use b::Thing;\n"),
                ("a.rs", "use crate::{Thing, c::{self, d}};\nfn f() { c::g(); d::h() }\n"),
                ("b.rs", "pub struct Thing;\n"),
                ("c/mod.rs", "pub mod d;\npub fn g() {}\n"),
                (
                    "c/d.rs",
                    "pub fn h() { let _ = std::mem::size_of::<super::super::b::Thing>(); }\n",
                ),
            ],
            &[
                ("lib", "lib::b"),
                ("lib::a", "lib::b"),
                ("lib::a", "lib::c"),
                ("lib::a", "lib::c::d"),
                ("lib::c::d", "lib::b"),
            ],
        );
    }

    #[test]
    fn tests_strings_and_comments_are_no_arrows() {
        let a = "// crate::b::c\nconst A: &str = \"crate::b::c\";\nmacro_rules! m { () => { $crate::x() } }\n\
                 #[cfg(test)]\nuse crate::b::d;\n#[cfg(test)]\nmod tests { use crate::b; fn f() {} }\n\
                 mod inner { use super::super::b; }\n";
        check(
            &[("main.rs", "mod a;\nmod b;\n"), ("a.rs", a), ("b.rs", "")],
            &[("main::a", "main")],
        );
    }

    #[test]
    fn modules_lie_where_their_path_says() {
        check(
            &[
                ("src/lib.rs", "mod a;\n#[path = \"../other/b.rs\"]\nmod b;\n"),
                ("src/a.rs", "use crate::b::B;\n"),
                ("other/b.rs", "pub struct B;\n"),
            ],
            &[("lib::a", "lib::b")],
        );
    }

    #[test]
    fn names_in_macros_count() {
        let a = "fn f() { println!(\"{}\", crate::b::c()) }\n";
        check(
            &[("lib.rs", "mod a;\nmod b;\n"), ("a.rs", a), ("b.rs", "")],
            &[("lib::a", "lib::b")],
        );
    }
}
