//! The licences of everything that is linked into the program, with the notices that they ask to be kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// A licence's text is some tens of KiB at most; what is longer is none.
const TEXT_BYTES_MAX: u64 = 1 << 18;
/// Beginnings of names of files with licences and notices.
const NAMES: &[&str] = &["license", "licence", "copying", "copyright", "notice", "unlicense"];

/// One library.
struct Library {
    title: String,
    licence: String,
    origin: String,
    texts: Vec<String>,
}

/// What is linked, by name, with licence and notices; each text once.
pub fn third_party(target: &str) -> Result<String> {
    let mut libraries = linked(target)?;
    libraries.push(standard_library()?);
    libraries.push(vendored()?);
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let mut texts = Vec::new();
    let mut made = String::from(
        "Libraries that are linked into hornero, and their licences. Texts stand at the end, each once.\n\n",
    );
    for library in &libraries {
        writeln!(made, "{}\n  {}\n  {}", library.title, library.licence, library.origin)?;
        let mut used = BTreeSet::new();
        for text in &library.texts {
            let next = numbers.len() + 1;
            let number = *numbers.entry(text).or_insert_with(|| {
                texts.push(text);
                next
            });
            used.insert(number.to_string());
        }
        let used: Vec<String> = used.into_iter().collect();
        writeln!(
            made,
            "  texts: {}\n",
            if used.is_empty() { "-".to_owned() } else { used.join(", ") }
        )?;
    }
    for (number, text) in (1..).zip(texts) {
        writeln!(made, "---- {number} ----\n\n{}\n", text.trim_end())?;
    }
    Ok(made)
}

/// The packages of crates.io that cargo links into the program on `target`.
fn linked(target: &str) -> Result<Vec<Library>> {
    let mut cargo = run::cargo();
    cargo.args(["tree", "--locked", "--package", "hornero-cli", "--edges", "normal,no-proc-macro"]);
    cargo.args(["--target", target, "--prefix", "none", "--format", "{p}"]);
    let tree = run::read(&mut cargo)?;
    let wanted: BTreeSet<(&str, &str)> = tree
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or_default()))
        .collect();
    let mut cargo = run::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let metadata: Value = serde_json::from_str(&run::read(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo lists no packages")?;
    let mut found = Vec::new();
    for package in packages {
        let text = |name: &str| package[name].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        if !wanted.contains(&(name, version)) || package["source"].is_null() {
            continue;
        }
        let directory =
            Path::new(text("manifest_path")).parent().context("a manifest has a directory")?;
        let authors: Vec<&str> =
            package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let by =
            if authors.is_empty() { String::new() } else { format!(", by {}", authors.join(", ")) };
        found.push(Library {
            title: format!("{name} {version}{by}"),
            licence: text("license").to_owned(),
            origin: text("repository").to_owned(),
            texts: texts_in(directory)?,
        });
    }
    found.sort_by(|one, other| one.title.cmp(&other.title));
    Ok(found)
}

/// Rust's own library, whose licences come with the compiler.
fn standard_library() -> Result<Library> {
    let version = run::read(Command::new("rustc").arg("--version"))?;
    let root = run::read(Command::new("rustc").args(["--print", "sysroot"]))?;
    let documents = Path::new(root.trim()).join("share/doc/rust");
    let mut texts = texts_in(&documents)?;
    texts.extend(texts_in(&documents.join("licenses"))?);
    Ok(Library {
        title: format!("the Rust standard library, {}", version.trim()),
        licence: "MIT OR Apache-2.0".to_owned(),
        origin: "https://www.rust-lang.org".to_owned(),
        texts,
    })
}

/// What the dashboard has of others.
fn vendored() -> Result<Library> {
    Ok(Library {
        title: "Preact and htm, in the dashboard".to_owned(),
        licence: "MIT AND Apache-2.0".to_owned(),
        origin: "https://github.com/developit/htm".to_owned(),
        texts: texts_in(Path::new("dashboard/vendor"))?,
    })
}

/// The texts in a package, also those of the C libraries that it brings in a directory of its own.
fn texts_in(directory: &Path) -> Result<Vec<String>> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut directories = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_lowercase();
            let kind = entry.file_type()?;
            if kind.is_dir()
                && depth < 2
                && !matches!(name.as_str(), "tests" | "benches" | "examples")
            {
                directories.push((entry.path(), depth + 1));
            } else if kind.is_file()
                && (NAMES.iter().any(|known| name.starts_with(known))
                    || directory.ends_with("licenses"))
                && !name.ends_with(".rs")
                && !name.ends_with(".html")
                && entry.metadata()?.len() <= TEXT_BYTES_MAX
            {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let texts = files.iter().map(|path| Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned()));
    texts.collect()
}
