//! The vocabulary that editors get is that of the parser.

use std::collections::BTreeSet;

use super::{BlockWords, TOP};
use crate::{AtPath, ErrorCode, Sources, Variables, parse};

/// Longer than any name may be for a suggestion, so that the reader lists all it takes.
const UNKNOWN: &str = "a_key_that_no_block_has_and_that_is_like_none_of_the_names_that_are_there_as_long_as_it_is_told";

struct Nothing;

impl Sources for Nothing {
    fn read(&self, _: &str, _: usize) -> Result<Vec<u8>, String> {
        Err("there is nothing".to_owned())
    }

    fn look(&self, _: &str) -> AtPath {
        AtPath::Missing
    }
}

/// What the reader of a block says it takes; `path` leads there from the top, each with a label.
fn taken(path: &[(&BlockWords, &str)]) -> BTreeSet<String> {
    let mut text = String::new();
    for (block, label) in path {
        let label = block.label.map_or(String::new(), |_| format!(" \"{label}\""));
        text.push_str(&format!("{}{label} {{\n", block.name));
    }
    text.push_str(&format!("{UNKNOWN} = null\n"));
    text.push_str(&"}\n".repeat(path.len()));
    let errors = parse("hornero.hcl", text.as_bytes(), &Variables::new(), &Nothing)
        .expect_err("it has an unknown key");
    let unknown = errors.errors().iter().find(|error| error.code == ErrorCode::UnknownKey);
    let unknown = unknown.unwrap_or_else(|| panic!("{text}: {errors:?}"));
    let hint = unknown.hint.as_deref().unwrap_or_default();
    let names = hint.strip_prefix("it has ").unwrap_or_else(|| panic!("{text}: {hint}"));
    names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect()
}

fn check(path: &mut Vec<(&'static BlockWords, &'static str)>) {
    let block = path.last().expect("the caller gives one").0;
    let labels: &[&str] = if block.name == "provision" { &["shell", "ansible"] } else { &["name"] };
    let mut names = BTreeSet::new();
    for label in labels {
        path.last_mut().expect("it is there").1 = label;
        names.extend(taken(path));
    }
    let here =
        block.keys.iter().map(|key| key.name).chain(block.blocks.iter().map(|block| block.name));
    let here: BTreeSet<String> = here.map(str::to_owned).collect();
    assert_eq!(names, here, "of `{}`", block.name);
    for inner in block.blocks {
        path.push((inner, "name"));
        check(path);
        path.pop();
    }
}

#[test]
fn it_has_what_the_readers_take() {
    for block in TOP {
        check(&mut vec![(block, "name")]);
    }
    assert_eq!(TOP.map(|block| block.name).len(), crate::parse::KINDS.len());
}

#[test]
fn the_guide_tells_every_key() {
    let guide = include_str!("../../../../../docs/guides/hornero-hcl.md");
    fn told(guide: &str, block: &BlockWords) {
        for key in block.keys {
            let forms = [format!("`{}`", key.name), format!("`{} =", key.name)];
            assert!(
                forms.iter().any(|form| guide.contains(form)),
                "`{}` of `{}`",
                key.name,
                block.name
            );
        }
        block.blocks.iter().for_each(|inner| told(guide, inner));
    }
    TOP.iter().for_each(|block| told(guide, block));
}
