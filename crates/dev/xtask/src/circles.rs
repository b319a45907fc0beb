//! Circles between the modules of a crate: whoever reads one of them has to know them all.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, bail};

use crate::modules::{self, Arrows, Modules};

/// Crates whose modules still have circles. One that has none any more leaves the list, and never comes back.
const NOT_YET: &[&str] = &["crates/app/driver", "crates/core/rollout"];

/// No crate but those that are not there yet has a circle.
pub fn check() -> Result<()> {
    let mut faults = Vec::new();
    for directory in modules::crates()? {
        let arrows = Modules::read(&Path::new(&directory).join("src"))?.arrows();
        faults.extend(wrong(&directory, &circles(&arrows), NOT_YET));
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("\n")) }
}

fn wrong(directory: &str, circles: &[BTreeSet<String>], not_yet: &[&str]) -> Vec<String> {
    match (not_yet.contains(&directory), circles) {
        (true, []) => {
            vec![format!(
                "{directory}: no circle is left; take it out of crates/dev/xtask/src/circles.rs"
            )]
        }
        (true, _) => Vec::new(),
        (false, circles) => {
            let told = circles.iter().map(|circle| {
                let names: Vec<&str> = circle.iter().map(String::as_str).collect();
                format!("{directory}: these modules name each other: {}", names.join(", "))
            });
            told.collect()
        }
    }
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
        assert_eq!(wrong("x", &circles(&with), &[]), expected);
        assert_eq!(wrong("x", &circles(&with), &["x"]), [""; 0]);
    }

    #[test]
    fn a_crate_that_is_free_leaves_the_list() {
        let without = arrows(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])]);
        assert_eq!(wrong("x", &circles(&without), &[]), [""; 0]);
        let expected = ["x: no circle is left; take it out of crates/dev/xtask/src/circles.rs"];
        assert_eq!(wrong("x", &circles(&without), &["x"]), expected);
    }
}
