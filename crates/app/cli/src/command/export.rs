//! `image export`: an image as a file, a disk or an OCI layout.

use std::path::Path;

use clap::ValueEnum;
use hornero_export::{ExportError, ExportOptions, Format as FileFormat};
use hornero_model::Digest;
use hornero_store::Store;

use crate::{
    arguments::{ExportFormat, ExportLayers, ExportWords, Packing},
    bar::Bar,
    command::{named, stores, transport::own_name},
    failure::{Failure, exit},
    output::{print_json, print_text, size},
    reports::ExportReport,
};

/// What the file is; none for a directory with a layout.
const fn file_format(format: ExportFormat) -> Option<FileFormat> {
    Some(match format {
        ExportFormat::Oci => return None,
        ExportFormat::Tar => FileFormat::Tar,
        ExportFormat::Erofs => FileFormat::Erofs,
        ExportFormat::Squashfs => FileFormat::Squashfs,
        ExportFormat::Incus => FileFormat::Incus,
        ExportFormat::Raw => FileFormat::Raw,
        ExportFormat::Qcow2 => FileFormat::Qcow2,
    })
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
    if words.name.is_some() && words.format != ExportFormat::Oci {
        return Err(Failure::new(exit::USAGE, "`--name` is for `--format oci` only"));
    }
    if words.layers == ExportLayers::Erofs && words.format != ExportFormat::Oci {
        let failure = Failure::new(exit::USAGE, "`--layers erofs` is for `--format oci` only");
        return Err(failure.hint("for the file system by itself give `--format erofs`"));
    }
    if words.layers == ExportLayers::Erofs && words.compression.is_some() {
        let failure = Failure::new(exit::USAGE, "`--compression` is for `--layers tar` only");
        return Err(failure.hint("leave it out: an EROFS layer is mounted as it is"));
    }
    let store = stores::known_store(home)?;
    let _lease = store.lease_to_read()?;
    let digest = named::image(home, &store, &words.image)?;
    let own = own_name(&store, &digest)?;
    let bar = Bar::new("exporting");
    let (bytes, notes) = match file_format(words.format) {
        None => into_layout(home, &store, &digest, own, words, &bar),
        Some(format) => into_file(&store, &digest, format, &own, words, &bar),
    }?;
    bar.end();
    if json_wanted {
        return print_json(&ExportReport {
            image: digest,
            format: word(words.format),
            out: &words.out,
            bytes,
            notes: &notes,
            layers: (words.format == ExportFormat::Oci).then(|| word(words.layers)),
        });
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
        ExportLayers::Tar => {
            let options = hornero_oci::PackOptions {
                compression: words.compression.unwrap_or(Packing::Gzip).into(),
                cache: Some(home.join("cache/oci")),
            };
            let told = |event| bar.transfer(event);
            hornero_oci::export_layout(store, image, &words.out, &name, &options, &told)?
        }
        ExportLayers::Erofs => {
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

impl hornero_export::ExportProgress for Bar {
    fn event(&self, event: hornero_export::ExportEvent) {
        match event {
            hornero_export::ExportEvent::Started { bytes } => self.begin(bytes),
            hornero_export::ExportEvent::Written { bytes } => self.advance(bytes),
        }
    }
}
