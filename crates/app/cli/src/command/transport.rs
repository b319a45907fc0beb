//! `image export, import, push, pull`: images in and out.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use clap::ValueEnum;
use hornero_bake::BakeRecord;
use hornero_export::ExportError;
use hornero_model::{Digest, ImageName};
use hornero_oci::{Access, Compression, Event, ImportOptions, OciError, Reference, RegistrySource};
use hornero_store::Store;
use serde_json::json;

use crate::{
    command::{bake, named, names, sign, storage::size},
    failure::{Failure, exit},
    output::{harmless, print_json, print_text},
};

/// What an image can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An OCI layout directory, for Docker, Podman and skopeo
    Oci,
    /// A tar archive of the root
    Tar,
    /// A plain EROFS file system
    Erofs,
    /// A squashfs file system
    Squashfs,
    /// An Incus image
    Incus,
    /// A bootable disk
    Raw,
    /// A bootable disk as qcow2
    Qcow2,
}

/// What the layers of an OCI layout are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layers {
    /// Many, that every runtime and Hornero itself read
    Tar,
    /// One, a plain EROFS file system, for containerd from 2.3 with its erofs snapshotter
    Erofs,
}

/// How layers are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Packing {
    /// Not at all
    None,
    /// Read by every program
    Gzip,
    /// Smaller and faster; Docker from 23
    Zstd,
}

impl From<Packing> for Compression {
    fn from(packing: Packing) -> Self {
        match packing {
            Packing::None => Self::None,
            Packing::Gzip => Self::Gzip,
            Packing::Zstd => Self::Zstd,
        }
    }
}

/// How an export is written.
#[derive(Debug, clap::Args)]
pub struct ExportWords {
    /// Name, release, digest, or the beginning of a digest
    pub image: String,
    /// What to write
    #[arg(long, value_enum)]
    pub format: Format,
    /// The file, or for `oci` the directory
    pub out: PathBuf,
    /// The name in an OCI layout's index; the image's own by default
    #[arg(long)]
    pub name: Option<String>,
    /// What the layers of an OCI layout are
    #[arg(long, value_enum, default_value = "tar")]
    pub layers: Layers,
    /// How tar layers of an OCI layout are compressed; gzip by default
    #[arg(long, value_enum)]
    pub compression: Option<Packing>,
    /// Replace a file that is there already
    #[arg(long)]
    pub force: bool,
    /// A word more on a disk's kernel command line
    #[arg(long, value_name = "WORD")]
    pub kernel_argument: Vec<String>,
}

/// What is taken in.
#[derive(Debug, clap::Args)]
pub struct ImportWords {
    /// An OCI layout, an archive of `docker save`, a tar archive or directory of a root, or a registry reference
    pub from: String,
    /// Its name here; made of the source's by default
    #[arg(long)]
    pub name: Option<ImageName>,
    /// Which image of a layout or archive that has several, by its name there
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Reach a registry without encryption
    #[arg(long)]
    pub plain_http: bool,
}

impl From<OciError> for Failure {
    fn from(error: OciError) -> Self {
        if let OciError::Missing(_) = error {
            return Self::new(exit::NO_SUCH_OBJECT, &error);
        }
        let failure = Self::of(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        let failure = Self::of(&error);
        match error.hint() {
            _ if matches!(error, ExportError::Exists(_)) => {
                failure.hint("choose another name, or replace it with `--force`")
            }
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// `hornero image export`.
pub fn export(home: &Path, json_wanted: bool, words: &ExportWords) -> Result<(), Failure> {
    if words.name.is_some() && words.format != Format::Oci {
        return Err(Failure::new(exit::USAGE, "`--name` is for `--format oci` only"));
    }
    if words.layers == Layers::Erofs && words.format != Format::Oci {
        let failure = Failure::new(exit::USAGE, "`--layers erofs` is for `--format oci` only");
        return Err(failure.hint("for the file system by itself give `--format erofs`"));
    }
    if words.layers == Layers::Erofs && words.compression.is_some() {
        let failure = Failure::new(exit::USAGE, "`--compression` is for `--layers tar` only");
        return Err(failure.hint("leave it out: an EROFS layer is mounted as it is"));
    }
    let store = bake::store(home)?;
    let _lease = store.lease()?;
    let digest = named::image(home, &store, &words.image)?;
    let own = own_name(&store, &digest)?;
    let bar = Bar::new("exporting");
    let shown = words.out.display();
    let (bytes, notes) = if words.format == Format::Oci {
        let name = words.name.clone().unwrap_or(own);
        let mut notes = vec![format!("its name in the layout is `{name}`")];
        let out = match words.layers {
            Layers::Tar => {
                let options = hornero_oci::ExportOptions {
                    compression: words.compression.unwrap_or(Packing::Gzip).into(),
                    cache: Some(home.join("cache/oci")),
                };
                let told = |event| bar.transfer(event);
                hornero_oci::export_layout(&store, &digest, &words.out, &name, &options, &told)?
            }
            Layers::Erofs => {
                notes.push(
                    "its one layer is an EROFS file system, which Hornero does not import".into(),
                );
                let (format, options) = (hornero_export::Format::Erofs, Default::default());
                hornero_oci::export_layout_with_erofs(&store, &digest, &words.out, &name, |file| {
                    let made =
                        hornero_export::export(&store, &digest, format, file, &options, &bar);
                    made.map(drop).map_err(Failure::from)
                })?
            }
        };
        (out.bytes, notes)
    } else {
        let format = match words.format {
            Format::Tar => hornero_export::Format::Tar,
            Format::Erofs => hornero_export::Format::Erofs,
            Format::Squashfs => hornero_export::Format::Squashfs,
            Format::Incus => hornero_export::Format::Incus,
            Format::Raw => hornero_export::Format::Raw,
            Format::Qcow2 | Format::Oci => hornero_export::Format::Qcow2,
        };
        let options = hornero_export::ExportOptions {
            overwrite: words.force,
            host_name: own.replace('_', "-").chars().take(63).collect(),
            kernel_arguments: words.kernel_argument.clone(),
        };
        let out = hornero_export::export(&store, &digest, format, &words.out, &options, &bar)?;
        let added = out.added.into_iter().map(|path| format!("`{path}` was put into it"));
        (out.bytes, added.chain(out.left_out).collect())
    };
    bar.end();
    if json_wanted {
        let mut told = json!({
            "image": digest, "format": word(words.format), "out": words.out, "bytes": bytes, "notes": notes,
        });
        if words.format == Format::Oci {
            told["layers"] = json!(word(words.layers));
        }
        return print_json(&told);
    }
    print_text(&format!("{} is in `{shown}` ({})\n", digest.short(), size(bytes)))?;
    notes.iter().try_for_each(|note| print_text(&format!("  {note}\n")))
}

/// The word on the command line.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// `hornero image import`: whatever somebody else made becomes an image, vouched for by who imports it.
pub fn import(home: &Path, json_wanted: bool, words: &ImportWords) -> Result<(), Failure> {
    let from = &words.from;
    // Before anything is read, which may take long.
    let name = match (&words.name, &words.image) {
        (Some(name), _) => name.clone(),
        (None, Some(image)) => name_of_source(image)?,
        (None, None) => name_of_source(from)?,
    };
    let store = Arc::new(bake::store(home)?);
    let _lease = store.lease()?;
    let bar = Bar::new("importing");
    let told = |event| bar.transfer(event);
    let options = ImportOptions { name: words.image.clone(), ..ImportOptions::default() };
    let access = access(words.plain_http);
    let found = hornero_oci::import(&store, from, &access, &options, &told)?;
    bar.end();
    sign::imported(home, &store, name.as_str(), &found.image, from)?;
    lead(&store, &name, &found.image)?;
    if json_wanted {
        return print_json(&json!({
            "image": found.image, "name": name, "layers": found.layers, "foreign": found.foreign,
        }));
    }
    print_text(&format!(
        "{name} is {}; make images on it with `from = \"{name}\"`\n",
        found.image.short()
    ))
}

/// `hornero image push`.
pub fn push(
    home: &Path,
    json_wanted: bool,
    image: &str,
    reference: &Reference,
    packing: Packing,
    plain_http: bool,
) -> Result<(), Failure> {
    let store = bake::store(home)?;
    let _lease = store.lease()?;
    let digest = named::image(home, &store, image)?;
    let options = hornero_oci::ExportOptions {
        compression: packing.into(),
        cache: Some(home.join("cache/oci")),
    };
    let bar = Bar::new("pushing");
    let told = |event| bar.transfer(event);
    let access = access(plain_http);
    let pushed = hornero_oci::push(&store, &digest, reference, &access, &options, None, &told)?;
    bar.end();
    if json_wanted {
        return print_json(&json!({
            "image": digest, "reference": reference.to_string(), "manifest": pushed.manifest,
            "bytes_moved": pushed.bytes_moved, "bytes_total": pushed.bytes_total,
            "blobs_moved": pushed.blobs_moved, "blobs_present": pushed.blobs_present,
        }));
    }
    print_text(&format!(
        "{} is at {reference}; {} of {} moved\n",
        digest.short(),
        size(pushed.bytes_moved),
        size(pushed.bytes_total)
    ))
}

/// `hornero image pull`: an image that Hornero pushed; nothing is signed here, its own statements have to satisfy the
/// policy.
pub fn pull(
    home: &Path,
    json_wanted: bool,
    reference: &Reference,
    name: Option<ImageName>,
    plain_http: bool,
) -> Result<(), Failure> {
    let name = match name {
        Some(name) => name,
        // What the operator typed, and not what the other side calls it.
        None => name_of_source(reference.repository())?,
    };
    let store = Arc::new(bake::store(home)?);
    let _lease = store.lease()?;
    let bar = Bar::new("pulling");
    let told = |event| bar.transfer(event);
    let pulled = hornero_oci::pull(&store, reference, &access(plain_http), &told)?;
    bar.end();
    sign::disown(home, &store, &pulled.image)?;
    lead(&store, &name, &pulled.image)?;
    if json_wanted {
        return print_json(&json!({
            "image": pulled.image, "name": name, "manifest": pulled.manifest, "bytes_moved": pulled.bytes_moved,
            "contents_moved": pulled.contents_moved, "contents_present": pulled.contents_present,
            "layers_moved": pulled.layers_moved, "foreign": pulled.foreign,
        }));
    }
    print_text(&format!(
        "{name} is {}; {} moved, {} contents came and {} were here\n",
        pulled.image.short(),
        size(pulled.bytes_moved),
        pulled.contents_moved,
        pulled.contents_present
    ))?;
    if pulled.foreign {
        eprintln!(
            "note     nobody signed it: `hornero image import {reference}` vouches for it, if you do"
        );
    }
    Ok(())
}

/// Lets a name lead to an image; says where it led before.
fn lead(store: &Store, name: &ImageName, image: &Digest) -> Result<(), Failure> {
    let key = format!("image/{name}");
    if let Some(before) = names::leads(store, &key)?.filter(|before| before != image) {
        eprintln!("note     `{name}` led to {before} until now");
    }
    Ok(store.set_ref(&key, image)?)
}

/// A registry as a source of good bytes, asked when something is wanted of it.
pub fn heal_source(reference: &str, plain_http: bool) -> Result<RegistrySource, Failure> {
    let reference: Reference =
        reference.parse().map_err(|error| Failure::new(exit::USAGE, format!("{error}")))?;
    Ok(RegistrySource::new(&reference, &access(plain_http)))
}

fn access(plain_http: bool) -> Access {
    Access { plain_http, ..Access::from_environment() }
}

/// The name that an image was baked under, else its short digest.
fn own_name(store: &Store, image: &Digest) -> Result<String, Failure> {
    let record = BakeRecord::of(store, image).map_err(Failure::from)?;
    Ok(record.map_or_else(|| image.short(), |record| record.name.to_string()))
}

/// A name for what came from a path or a reference: its last part without endings, tag and digest.
fn name_of_source(from: &str) -> Result<ImageName, Failure> {
    let last = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let stem: String = last
        .split(['.', ':', '@'])
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect();
    stem.trim_matches('-').parse().map_err(|_| {
        Failure::new(exit::USAGE, format!("no name can be made of `{from}`"))
            .hint("give one with `--name NAME`")
    })
}

/// Between two lines about a long transfer.
const REMIND: Duration = Duration::from_secs(5);
/// Between two repaints on a terminal.
const REPAINT: Duration = Duration::from_millis(80);

/// How far something is: a line that changes on a terminal, a line now and then elsewhere.
struct Bar {
    word: &'static str,
    terminal: bool,
    state: Mutex<(u64, u64, Instant, bool)>,
}

impl Bar {
    fn new(word: &'static str) -> Self {
        let terminal = stderr().is_terminal();
        Self { word, terminal, state: Mutex::new((0, 0, Instant::now(), false)) }
    }

    fn begin(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0, state.1) = (0, bytes);
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += bytes;
        let pause = if self.terminal { REPAINT } else { REMIND };
        if state.2.elapsed() < pause {
            return;
        }
        state.2 = Instant::now();
        state.3 = true;
        let text = format!("{:<9} {} of {}", self.word, size(state.0), size(state.1));
        // Progress that can't be shown is no reason to fail.
        let _ = match self.terminal {
            true => write!(stderr(), "\r\u{1b}[K{text}"),
            false => writeln!(stderr(), "{text}"),
        };
    }

    fn say(&self, text: &str) {
        let start = if self.terminal { "\r\u{1b}[K" } else { "" };
        let _ = writeln!(stderr(), "{start}{}", harmless(text));
    }

    fn end(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.terminal && state.3 {
            let _ = write!(stderr(), "\r\u{1b}[K");
        }
    }

    fn transfer(&self, event: Event) {
        match event {
            Event::PackStarted { bytes, .. } | Event::TransferStarted { bytes } => {
                self.begin(bytes)
            }
            Event::Packed { bytes } | Event::Transferred { bytes } => self.advance(bytes),
            Event::Retrying { what, reason } => {
                self.say(&format!("again    {what}: {reason}"));
            }
            _ => {}
        }
    }
}

impl hornero_export::Progress for Bar {
    fn event(&self, event: hornero_export::Event) {
        match event {
            hornero_export::Event::Started { bytes } => self.begin(bytes),
            hornero_export::Event::Written { bytes } => self.advance(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_paths_and_references() {
        for (from, name) in [
            ("/srv/legacy.tar.gz", "legacy"),
            ("registry.example/team/web-app:1.2", "web-app"),
            ("./Root_FS/", "root-fs"),
            ("site:17", "site"),
        ] {
            assert_eq!(name_of_source(from).unwrap().as_str(), name);
        }
        assert!(name_of_source("...").is_err());
    }
}
