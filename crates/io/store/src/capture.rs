//! Making a layer from a directory: an overlay's upper directory, or a plain one.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    Entry, EntryKind, Ingest, Layer, MODE_MASK, Metadata, Result, StoreError, Stored, Tree,
    TreePath,
    attribute::{self, OverlayNotes},
    layer::{ENTRY_COUNT_MAX, MTIME_MAX},
    parallel,
};

/// What becomes of device files; instances get theirs from the sandbox, so images seldom need any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DevicePolicy {
    /// They are an error.
    #[default]
    Refuse,
    /// They are left out.
    Skip,
    /// They become entries.
    Keep,
}

/// How a directory becomes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Later modification times become this one: seconds since 1970.
    pub max_mtime: u64,
    /// What becomes of device files.
    pub devices: DevicePolicy,
}

impl Ingest<'_> {
    /// The layer that an overlay's upper directory stands for, over `lower`; takes in its contents.
    ///
    /// Whiteouts, opaque and renamed directories and metadata-only copies become what they mean.
    /// What equals `lower` is left out, as are sockets, and owner and mode of the directory itself.
    pub fn capture_upper(
        &self,
        dir: &Path,
        lower: Option<&Tree>,
        options: &CaptureOptions,
    ) -> Result<Layer> {
        Capture::new(self, options, true, lower).run(dir)
    }

    /// The layer of all that is in a plain directory; takes in its contents.
    ///
    /// Sockets are left out, as are owner and mode of the directory itself.
    pub fn capture_directory(&self, dir: &Path, options: &CaptureOptions) -> Result<Layer> {
        Capture::new(self, options, false, None).run(dir)
    }
}

struct Capture<'a> {
    ingest: &'a Ingest<'a>,
    options: &'a CaptureOptions,
    /// Whether the directory is the upper one of an overlay.
    overlay: bool,
    lower: Option<&'a Tree>,
    entries: Vec<Entry>,
    /// Files whose content is still to be taken in, as indexes of `entries`.
    files: Vec<(usize, PathBuf)>,
    pending: Vec<Directory>,
}

/// A directory still to be listed.
struct Directory {
    disk: PathBuf,
    path: TreePath,
    /// The lower directory it is merged with.
    origin: Option<TreePath>,
    /// It was renamed, or lies in one that was: what it shows of `origin` has to be written out.
    moved: bool,
}

impl<'a> Capture<'a> {
    fn new(
        ingest: &'a Ingest<'a>,
        options: &'a CaptureOptions,
        overlay: bool,
        lower: Option<&'a Tree>,
    ) -> Self {
        Self {
            ingest,
            options,
            overlay,
            lower,
            entries: Vec::new(),
            files: Vec::new(),
            pending: Vec::new(),
        }
    }

    fn run(mut self, dir: &Path) -> Result<Layer> {
        self.pending.push(Directory {
            disk: dir.to_owned(),
            path: TreePath::root(),
            origin: self.lower.map(|_| TreePath::root()),
            moved: false,
        });
        while let Some(directory) = self.pending.pop() {
            self.directory(&directory)?;
        }
        self.take_in_contents()?;
        if let Some(lower) = self.lower {
            self.entries.retain(|entry| !adds_nothing(entry, lower));
        }
        Layer::from_entries(self.entries).map_err(|source| StoreError::Layer {
            name: dir.to_string_lossy().into_owned(),
            source,
        })
    }

    fn directory(&mut self, directory: &Directory) -> Result<()> {
        let failed = |error| StoreError::io("list", &directory.disk, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory.disk).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().into_vec());
        }
        names.sort_unstable();
        for name in &names {
            self.child(directory, name)?;
            if self.entries.len() > ENTRY_COUNT_MAX {
                return Err(refuse(&directory.disk, "it has more than two million files"));
            }
        }
        if let (true, Some(origin), Some(lower)) = (directory.moved, &directory.origin, self.lower)
        {
            let hidden =
                |name: &[u8]| names.binary_search_by(|known| known.as_slice().cmp(name)).is_ok();
            for child in lower.children(origin).filter(|child| !hidden(child.path.name())) {
                self.write_out(lower, child, directory)?;
            }
        }
        Ok(())
    }

    /// Copies a lower entry, and all below it, to where the renamed directory shows it.
    fn write_out(&mut self, lower: &Tree, top: &Entry, directory: &Directory) -> Result<()> {
        let target = join(&directory.path, top.path.name(), &directory.disk)?;
        for entry in std::iter::once(top).chain(lower.below(&top.path)) {
            let rest = &entry.path.as_bytes()[top.path.as_bytes().len()..];
            let path = TreePath::new([target.as_bytes(), rest].concat())
                .map_err(|error| refuse(&directory.disk, error))?;
            self.entries.push(Entry { path, ..entry.clone() });
        }
        Ok(())
    }

    fn child(&mut self, directory: &Directory, name: &[u8]) -> Result<()> {
        let disk = directory.disk.join(std::ffi::OsStr::from_bytes(name));
        let path = join(&directory.path, name, &disk)?;
        let stat =
            fs::symlink_metadata(&disk).map_err(|error| StoreError::io("stat", &disk, error))?;
        let file_type = stat.file_type();
        if file_type.is_socket() {
            return Ok(());
        }
        let is_null_device = file_type.is_char_device() && stat.rdev() == 0;
        let attributes = attribute::read(&disk)?;
        let notes = if self.overlay { attributes.overlay } else { OverlayNotes::default() };
        if self.overlay && (is_null_device || notes.whiteout) {
            // In a renamed directory nothing lower shows through, so there is nothing to hide.
            if !directory.moved {
                self.entries.push(Entry {
                    path,
                    kind: EntryKind::Whiteout,
                    metadata: Metadata::default(),
                });
            }
            return Ok(());
        }
        let metadata = Metadata {
            mode: stat.mode() & MODE_MASK,
            uid: stat.uid(),
            gid: stat.gid(),
            mtime: clamp(stat.mtime(), self.options.max_mtime),
            xattrs: attributes.kept,
        };
        let kind = if file_type.is_dir() {
            self.enter(directory, &disk, &path, name, &notes)
        } else if file_type.is_symlink() {
            let target =
                fs::read_link(&disk).map_err(|error| StoreError::io("read", &disk, error))?;
            EntryKind::Symlink { target: target.into_os_string().into_vec().into() }
        } else if file_type.is_fifo() {
            EntryKind::Fifo
        } else if file_type.is_file() && notes.metacopy {
            self.copied_up(directory, &disk, name, &notes)?
        } else if file_type.is_file() {
            self.files.push((self.entries.len(), disk));
            // Filled in when all contents are taken in, in parallel.
            Stored { digest: hornero_model::Digest::from_bytes([0; 32]), size: 0 }.into()
        } else {
            match device(self.options.devices, file_type.is_char_device(), stat.rdev()) {
                Ok(Some(kind)) => kind,
                Ok(None) => return Ok(()),
                Err(reason) => return Err(refuse(&disk, reason)),
            }
        };
        self.entries.push(Entry { path, kind, metadata });
        Ok(())
    }

    /// Notes a directory to be listed later, and gives its kind.
    fn enter(
        &mut self,
        parent: &Directory,
        disk: &Path,
        path: &TreePath,
        name: &[u8],
        notes: &OverlayNotes,
    ) -> EntryKind {
        let renamed = notes.redirect.is_some();
        let origin = if notes.opaque { None } else { self.origin(parent, name, notes) };
        let origin = origin.filter(|origin| {
            self.lower
                .and_then(|lower| lower.get(origin))
                .is_some_and(|entry| entry.kind.is_directory())
        });
        let moved = parent.moved || renamed;
        self.pending.push(Directory { disk: disk.to_owned(), path: path.clone(), origin, moved });
        EntryKind::Directory { opaque: !parent.moved && (notes.opaque || renamed) }
    }

    /// The path in the lower tree that a file or directory of the upper one continues.
    fn origin(&self, parent: &Directory, name: &[u8], notes: &OverlayNotes) -> Option<TreePath> {
        match &notes.redirect {
            Some(target) if target.starts_with(b"/") => TreePath::from_loose(target).ok(),
            Some(target) => parent.origin.as_ref()?.join(target).ok(),
            None => parent.origin.as_ref()?.join(name).ok(),
        }
    }

    /// The content of a file of which overlayfs copied up the metadata only.
    fn copied_up(
        &self,
        parent: &Directory,
        disk: &Path,
        name: &[u8],
        notes: &OverlayNotes,
    ) -> Result<EntryKind> {
        let origin = self.origin(parent, name, notes);
        match origin.and_then(|origin| self.lower?.get(&origin)).map(|entry| &entry.kind) {
            Some(kind @ EntryKind::File { .. }) => Ok(kind.clone()),
            _ => Err(refuse(
                disk,
                "only its metadata was copied up and the lower tree has no such file",
            )),
        }
    }

    fn take_in_contents(&mut self) -> Result<()> {
        let results = Mutex::new(Vec::with_capacity(self.files.len()));
        parallel::each(&self.files, 8, |_, (index, disk)| {
            let stored = self.ingest.put_file(disk, open(disk)?)?;
            results.lock().unwrap_or_else(PoisonError::into_inner).push((*index, stored));
            Ok::<(), StoreError>(())
        })?;
        for (index, stored) in results.into_inner().unwrap_or_else(PoisonError::into_inner) {
            self.entries[index].kind = stored.into();
        }
        Ok(())
    }
}

/// Whether the lower tree shows the same without this entry.
fn adds_nothing(entry: &Entry, lower: &Tree) -> bool {
    let below = lower.get(&entry.path);
    match &entry.kind {
        EntryKind::Directory { opaque: true } => false,
        EntryKind::Whiteout => below.is_none(),
        _ => below == Some(entry),
    }
}

/// The entry of a device file, or that it is left out, or why it is refused.
pub(crate) fn device(
    policy: DevicePolicy,
    is_char: bool,
    number: u64,
) -> Result<Option<EntryKind>, &'static str> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    match policy {
        DevicePolicy::Refuse => Err("it is a device, and images get theirs from the sandbox"),
        DevicePolicy::Skip => Ok(None),
        DevicePolicy::Keep if is_char => Ok(Some(EntryKind::CharDevice { major, minor })),
        DevicePolicy::Keep => Ok(Some(EntryKind::BlockDevice { major, minor })),
    }
}

/// Times before 1970 become 1970, later ones than `max` become `max`.
pub(crate) fn clamp(mtime: i64, max: u64) -> u64 {
    u64::try_from(mtime).unwrap_or(0).min(max).min(MTIME_MAX)
}

fn open(path: &Path) -> Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::NONBLOCK.bits();
    OpenOptions::new()
        .read(true)
        .custom_flags(flags as i32)
        .open(path)
        .map_err(|error| StoreError::io("open", path, error))
}

fn join(parent: &TreePath, name: &[u8], disk: &Path) -> Result<TreePath> {
    parent.join(name).map_err(|error| refuse(disk, error))
}

fn refuse(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Capture { path: path.to_owned(), reason: reason.to_string() }
}
