//! Unified Incus images: a compressed tar archive with `metadata.yaml` and `rootfs/`.
//!
//! Format: Incus documentation, "Image format". Containers of it have a root they can write to.

use std::io::Write;

use flate2::{Compression, GzBuilder};
use hornero_store::{Entry, EntryKind, Metadata, StoreError, TreePath};

use crate::{
    ExportError, ExportEvent,
    additions::Additions,
    init_config::Place,
    launch, ordered,
    output::Output,
    tar::{self, Archive},
    work::{ExportWork, FormatNotes},
};

/// The usual trade of time for size, as gzip(1) has it.
const LEVEL: Compression = Compression::new(6);

pub(crate) fn export(work: &ExportWork<'_>, output: &Output) -> Result<FormatNotes, ExportError> {
    let init = init(work)?;
    let metadata = metadata(work)?;
    work.progress.event(ExportEvent::Started { bytes: tar::content_bytes(work.tree) });
    let mut file = output.file();
    let mut write = |(), _raw, compressed: Vec<u8>| {
        file.write_all(&compressed).map_err(|error| output.failed(error))
    };
    ordered::run(
        |chunk| compress(chunk, output),
        &mut write,
        |feeder| {
            let mut sink = |chunk: Vec<u8>| feeder.feed((), chunk).map(|()| Vec::new());
            let mut archive = Archive::new(&mut sink);
            archive.entry(
                b"metadata.yaml",
                &file_entry("metadata.yaml", 0o644, &metadata)?,
                &metadata,
            )?;
            archive.tree(work.store, work.tree, b"rootfs/", work.progress)?;
            // What comes last counts: it replaces an init of the image's own.
            if let Some((path, program)) = &init {
                let entry = file_entry(path, 0o755, program)?;
                archive.entry(format!("rootfs/{path}").as_bytes(), &entry, program)?;
            }
            archive.finish()
        },
    )?;
    let added = init.map(|(path, _)| format!("/{path}")).into_iter().collect();
    Ok(FormatNotes { added, left_out: Vec::new() })
}

/// Where the init goes and what it is; none when the image's own one is to start.
fn init(work: &ExportWork<'_>) -> Result<Option<(String, Vec<u8>)>, ExportError> {
    if work.config.command.is_empty() && launch::has_init(work) {
        return Ok(None);
    }
    let config = launch::config(work, Place::Container)?;
    // `/sbin` may be a symlink; the init itself is replaced even if it is one.
    let directory = Additions::default().real(work.tree, "/sbin")?;
    let path = directory.join(b"init").expect("a short name below a short path");
    Ok(Some((String::from_utf8_lossy(path.as_bytes()).into_owned(), launch::program(&config))))
}

/// One member: a file may have many, and each chunk is compressed by itself.
fn compress(chunk: &[u8], output: &Output) -> Result<Vec<u8>, ExportError> {
    // No time, no name; the system is `unknown` whatever it is.
    let mut encoder = GzBuilder::new().operating_system(255).write(Vec::new(), LEVEL);
    encoder.write_all(chunk).and_then(|()| encoder.finish()).map_err(|error| output.failed(error))
}

fn file_entry(path: &str, mode: u32, bytes: &[u8]) -> Result<Entry, ExportError> {
    let path = TreePath::new(path)
        .map_err(|source| StoreError::Layer { name: "additions of the export".into(), source })?;
    let kind =
        EntryKind::File { digest: hornero_model::Digest::of(bytes), size: bytes.len() as u64 };
    Ok(Entry { path, kind, metadata: Metadata::root_owned(mode, 0) })
}

/// `metadata.yaml`; strings are written as JSON, which YAML takes.
fn metadata(work: &ExportWork<'_>) -> Result<Vec<u8>, ExportError> {
    // The clock has no part in it: as old as the image's newest file, and never zero, which Incus refuses.
    let newest = work.tree.entries().iter().map(|entry| entry.metadata.mtime).max();
    let created = newest.unwrap_or(0).max(1);
    let release = match work.store.read_tree_file(work.tree, "/etc/os-release") {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(StoreError::NoPath { .. }) => String::new(),
        Err(error) => return Err(error.into()),
    };
    let field = |name: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or("unknown").trim_matches(['"', '\''])
    };
    let (system, version) = (field("ID"), field("VERSION_CODENAME"));
    let name = &work.options.host_name;
    let architecture = std::env::consts::ARCH;
    let properties = [
        ("architecture", architecture.to_owned()),
        ("description", format!("{name} {}", work.image)),
        ("hornero.image", work.image.to_string()),
        ("name", name.clone()),
        ("os", system.to_owned()),
        ("release", version.to_owned()),
    ];
    let mut text =
        format!("architecture: {}\ncreation_date: {created}\nproperties:\n", quoted(architecture));
    for (key, value) in properties {
        text.push_str(&format!("  {key}: {}\n", quoted(&value)));
    }
    text.push_str("templates: {}\n");
    Ok(text.into_bytes())
}

/// A YAML string in double quotes; control characters, which no such text needs, are left out.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_quoted() {
        assert_eq!(super::quoted("a\"b\\c\nd: 'x'"), "\"a\\\"b\\\\cd: 'x'\"");
    }
}
