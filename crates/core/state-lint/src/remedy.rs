//! What to declare so that nothing is lost, as text to be pasted.

use hornero_model::VolumeName;

use crate::{
    facts::StateFacts,
    finding::StateRemedy,
    paths::{is_fleeting, name, overlap},
};

const GIB: u64 = 1 << 30;
/// How many times what is there a volume should have room for.
const ROOM: u64 = 4;

/// What to declare for a path that has `bytes` now.
pub(crate) fn remedy(facts: &StateFacts, path: &str, bytes: u64) -> StateRemedy {
    let service = &facts.service;
    let volume = volume_name(service.as_str(), path);
    let size = (bytes.saturating_mul(ROOM) / GIB + 1).next_power_of_two();
    let mut also = Vec::new();
    let mut mounted = path.to_owned();
    if is_fleeting(path) {
        mounted = format!("/var/lib/{service}");
        also.push(format!("have the program write to `{mounted}` instead of `{path}`"));
    }
    for scratch in facts.scratch.iter().filter(|scratch| overlap(scratch, &mounted)) {
        also.push(format!("take `{scratch}` out of `scratch` of image `{}`", facts.image));
    }
    if facts.instances > 1 {
        also.push(format!(
            "a volume has one writer: instead of {} instances have one, or keep the data in a service of its own",
            facts.instances
        ));
    }
    StateRemedy {
        volume: format!("volume \"{volume}\" {{\n  size = \"{size}GiB\"\n}}"),
        service: format!(
            "  kind = \"stateful\"\n  mount {} {{ volume = volume.{volume} }}",
            quoted(&mounted)
        ),
        also,
        not_state: format!("  not_state = [{}]", quoted(path)),
    }
}

/// A path as the file has it: a server may have made a directory of any name.
fn quoted(path: &str) -> String {
    let mut text = String::from("\"");
    for letter in path.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            letter if letter.is_control() => {
                text.extend(format!("\\u{:04X}", u32::from(letter)).chars())
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
    // What begins an expression is doubled.
    text.replace("${", "$${").replace("%{", "%%{")
}

/// A name for the volume: that of the service with the last part of the path, as far as a name may have its letters.
fn volume_name(service: &str, path: &str) -> String {
    let last = name(path).to_ascii_lowercase();
    let is_allowed = |letter: &char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let last: String = last.chars().filter(is_allowed).collect();
    let joined = match last == service || last.is_empty() {
        true => format!("{service}-data"),
        false => format!("{service}-{last}"),
    };
    match VolumeName::new(joined.as_str()) {
        Ok(_) => joined,
        Err(_) => "data".to_owned(),
    }
}
