//! Circles between the modules of a crate: whoever reads one of them has to know them all.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, bail};

use crate::modules::{self, Arrows, Modules};

/// No crate has a circle.
pub fn check() -> Result<()> {
    let mut faults = Vec::new();
    for directory in modules::crates()? {
        let arrows = Modules::read(&Path::new(&directory).join("src"))?.arrows();
        faults.extend(wrong(&directory, &circles(&arrows)));
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn wrong(directory: &str, circles: &[BTreeSet<String>]) -> Vec<String> {
    let told = circles.iter().map(|circle| {
        let names: Vec<&str> = circle.iter().map(String::as_str).collect();
        format!("{directory}: these modules name each other: {}", names.join(", "))
    });
    told.collect()
}

/// Every set of modules from each of which a way leads to each other one.
fn circles(arrows: &Arrows) -> Vec<BTreeSet<String>> {
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for name in arrows.keys() {
        if found.iter().any(|circle| circle.contains(name)) {
            continue;
        }
        let reached = reached_from(name, arrows);
        let back = |other: &&String| reached_from(other, arrows).contains(name);
        let circle: BTreeSet<String> = reached.iter().filter(back).cloned().collect();
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    found
}

fn reached_from(name: &str, arrows: &Arrows) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        for to in arrows.get(name).into_iter().flatten() {
            if reached.insert(to.clone()) {
                next.push(to);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(rows: &[(&str, &[&str])]) -> Arrows {
        let row = |(from, to): &(&str, &[&str])| {
            ((*from).to_owned(), to.iter().map(|to| (*to).to_owned()).collect())
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn circles_are_found_and_named() {
        let with =
            arrows(&[("a", &["b", "d"]), ("b", &["c"]), ("c", &["a"]), ("d", &["e"]), ("e", &[])]);
        let expected = ["x: these modules name each other: a, b, c"];
        assert_eq!(wrong("x", &circles(&with)), expected);
        let without = arrows(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
        assert_eq!(wrong("x", &circles(&without)), [""; 0]);
    }
}
