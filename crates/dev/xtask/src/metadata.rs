//! What `cargo metadata` says of the packages that this host builds.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run;

/// Every package in the dependency graph, ours among them.
pub struct Metadata {
    /// By package id.
    pub packages: BTreeMap<String, Package>,
}

/// One package.
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its SPDX expression.
    pub licence: Option<String>,
    /// Where it comes from; none for ours.
    pub source: Option<String>,
    /// Ids of what it needs to be built and to run.
    pub needs: BTreeSet<String>,
    /// Ids of what only its tests need.
    pub test_needs: BTreeSet<String>,
}

impl Package {
    /// Whether it is one of ours.
    pub fn is_ours(&self) -> bool {
        self.source.is_none()
    }
}

/// Asks cargo, without touching the lock file.
pub fn load() -> Result<Metadata> {
    let version = run::read(std::process::Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("`rustc -vV` names no host")?;
    let mut cargo = run::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", host]);
    parse(&run::read(&mut cargo)?).context("what `cargo metadata` says can't be read")
}

fn parse(text: &str) -> Result<Metadata> {
    let value: Value = serde_json::from_str(text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut packages = BTreeMap::new();
    for package in list(&value["packages"]) {
        let id = text(&package["id"]).context("a package has no id")?;
        let made = Package {
            name: text(&package["name"]).context("a package has no name")?,
            version: text(&package["version"]).unwrap_or_default(),
            licence: text(&package["license"]),
            source: text(&package["source"]),
            needs: BTreeSet::new(),
            test_needs: BTreeSet::new(),
        };
        packages.insert(id, made);
    }
    for node in list(&value["resolve"]["nodes"]) {
        let Some(package) = node["id"].as_str().and_then(|id| packages.get_mut(id)) else {
            continue;
        };
        for dependency in list(&node["deps"]) {
            let id = text(&dependency["pkg"]).context("a dependency has no id")?;
            for kind in list(&dependency["dep_kinds"]) {
                match kind["kind"].as_str() {
                    Some("dev") => package.test_needs.insert(id.clone()),
                    _ => package.needs.insert(id.clone()),
                };
            }
        }
    }
    Ok(Metadata { packages })
}

impl Metadata {
    /// The name of a package by its id.
    pub fn name<'a>(&'a self, id: &'a str) -> &'a str {
        self.packages.get(id).map_or(id, |package| package.name.as_str())
    }

    /// The packages that are ours, by name.
    pub fn ours(&self) -> BTreeMap<&str, &Package> {
        let ours = self.packages.values().filter(|package| package.is_ours());
        ours.map(|package| (package.name.as_str(), package)).collect()
    }

    /// Everything that `package` needs to be built and to run, directly or not, with the way to it by names.
    pub fn closure(&self, package: &Package) -> BTreeMap<String, Vec<String>> {
        let mut found = BTreeMap::new();
        let mut open: Vec<(&str, Vec<String>)> =
            package.needs.iter().map(|id| (id.as_str(), vec![package.name.clone()])).collect();
        while let Some((id, mut way)) = open.pop() {
            let Some(next) = self.packages.get(id) else { continue };
            way.push(next.name.clone());
            if found.contains_key(&next.name) {
                continue;
            }
            open.extend(next.needs.iter().map(|id| (id.as_str(), way.clone())));
            found.insert(next.name.clone(), way);
        }
        found
    }
}

/// A graph for tests: `(name, licence, needs, test needs)`; names beginning with `hornero` or `xtask` are ours.
#[cfg(test)]
pub fn graph(rows: &[(&str, &str, &[&str], &[&str])]) -> Metadata {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let packages = rows.iter().map(|(name, licence, needs, test_needs)| {
        let ours = name.starts_with("hornero") || *name == "xtask";
        let package = Package {
            name: name.split('#').next().unwrap_or_default().to_owned(),
            version: "1.0.0".to_owned(),
            licence: (!licence.is_empty()).then(|| (*licence).to_owned()),
            source: (!ours).then(|| crate::dependencies::CRATES_IO.to_owned()),
            needs: own(needs),
            test_needs: own(test_needs),
        };
        ((*name).to_owned(), package)
    });
    Metadata { packages: packages.collect() }
}
