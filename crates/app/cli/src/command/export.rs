//! `image export`: an image as a file, a disk or an OCI layout.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use hornero_export::{ExportError, ExportOptions, Format as FileFormat};
use hornero_model::Digest;
use hornero_store::Store;
use serde_json::json;

use crate::{
    command::{
        bake, named,
        storage::size,
        transport::{Bar, Packing, own_name},
    },
    failure::{Failure, exit},
    output::{print_json, print_text},
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

impl Format {
    /// What the file is; none for a directory with a layout.
    fn of_file(self) -> Option<FileFormat> {
        Some(match self {
            Self::Oci => return None,
            Self::Tar => FileFormat::Tar,
            Self::Erofs => FileFormat::Erofs,
            Self::Squashfs => FileFormat::Squashfs,
            Self::Incus => FileFormat::Incus,
            Self::Raw => FileFormat::Raw,
            Self::Qcow2 => FileFormat::Qcow2,
        })
    }
}

/// What the layers of an OCI layout are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Layers {
    /// Many, that every runtime and Hornero itself read
    Tar,
    /// One, a plain EROFS file system, for containerd from 2.3 with its erofs snapshotter
    Erofs,
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
    let store = bake::known_store(home)?;
    let _lease = store.lease_to_read()?;
    let digest = named::image(home, &store, &words.image)?;
    let own = own_name(&store, &digest)?;
    let bar = Bar::new("exporting");
    let (bytes, notes) = match words.format.of_file() {
        None => into_layout(home, &store, &digest, own, words, &bar),
        Some(format) => into_file(&store, &digest, format, &own, words, &bar),
    }?;
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
    print_text(&format!("{} is in `{}` ({})\n", digest.short(), words.out.display(), size(bytes)))?;
    notes.iter().try_for_each(|note| print_text(&format!("  {note}\n")))
}

/// Bytes of the image in the layout, and what there is to say.
fn into_layout(
    home: &Path,
    store: &Store,
    image: &Digest,
    own: String,
    words: &ExportWords,
    bar: &Bar,
) -> Result<(u64, Vec<String>), Failure> {
    let name = words.name.clone().unwrap_or(own);
    let mut notes = vec![format!("its name in the layout is `{name}`")];
    let written = match words.layers {
        Layers::Tar => {
            let options = hornero_oci::ExportOptions {
                compression: words.compression.unwrap_or(Packing::Gzip).into(),
                cache: Some(home.join("cache/oci")),
            };
            let told = |event| bar.transfer(event);
            hornero_oci::export_layout(store, image, &words.out, &name, &options, &told)?
        }
        Layers::Erofs => {
            notes.push("its layer is a file system, which Hornero does not import".into());
            hornero_oci::export_layout_with_erofs(store, image, &words.out, &name, |file| {
                let options = ExportOptions::default();
                hornero_export::export(store, image, FileFormat::Erofs, file, &options, bar)
                    .map(drop)
                    .map_err(Failure::from)
            })?
        }
    };
    Ok((written.bytes, notes))
}

/// Bytes of the file, and what there is to say.
fn into_file(
    store: &Store,
    image: &Digest,
    format: FileFormat,
    own: &str,
    words: &ExportWords,
    bar: &Bar,
) -> Result<(u64, Vec<String>), Failure> {
    if !words.kernel_argument.is_empty() && !matches!(format, FileFormat::Raw | FileFormat::Qcow2) {
        return Err(Failure::new(exit::USAGE, "`--kernel-argument` is for `raw` and `qcow2` only"));
    }
    let options = ExportOptions {
        overwrite: words.force,
        host_name: own.replace('_', "-").chars().take(63).collect(),
        kernel_arguments: words.kernel_argument.clone(),
    };
    let written = hornero_export::export(store, image, format, &words.out, &options, bar)?;
    let added = written.added.into_iter().map(|path| format!("`{path}` was put into it"));
    Ok((written.bytes, added.chain(written.left_out).collect()))
}

/// The word on the command line.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl hornero_export::Progress for Bar {
    fn event(&self, event: hornero_export::Event) {
        match event {
            hornero_export::Event::Started { bytes } => self.begin(bytes),
            hornero_export::Event::Written { bytes } => self.advance(bytes),
        }
    }
}
