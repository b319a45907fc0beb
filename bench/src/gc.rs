//! Collecting garbage among a million objects, beside nothing but the unlink(2) calls it comes down to.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use hornero_model::{Digest, ImageConfig};
use hornero_store::{
    CollectOptions, Entry, ImageManifest, Layer, Metadata, Protection, Root, Store, Stored,
    TreePath,
};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};

use crate::{
    process,
    setting::Setting,
    table::{Better, HORNERO, Table},
};

/// Files of one layer, as many as a small distribution has.
const LAYER_FILES: usize = 10_000;
/// Images that have the same layer and differ in configuration.
const IMAGES_OF_LAYER: usize = 10;
const DELETE: &str = "half of the objects deleted";
const EXCESS: &str = "the same, beyond the cost of unlink";
const DRY: &str = "a dry run of that: everything but deleting";
const NOTHING: &str = "nothing to delete";
const DU: &str = "disk use of every image";

pub fn measure(setting: &Setting) -> Result<Table> {
    let mut table = Table::new("Collecting garbage");
    let directory = setting.scratch.join("gc");
    for run in 0..setting.runs {
        fs::create_dir_all(&directory)?;
        let filled = Filled::new(&directory, setting.objects)?;
        let plain = copy(&filled.store, &directory.join("plain"))?;
        let doomed = filled.doomed(&plain)?;
        rustix::fs::sync();
        // Turn and turn about: whoever comes second finds the journal of the first.
        let (unlinked, collected) = match run % 2 {
            0 => (unlink(&doomed)?, filled.collect(&mut table)?),
            _ => {
                let collected = filled.collect(&mut table)?;
                (unlink(&doomed)?, collected)
            }
        };
        table.add(DELETE, "ms", Better::Less, HORNERO, collected);
        table.add(DELETE, "ms", Better::Less, "unlink alone", unlinked);
        table.add(EXCESS, "ms", Better::Less, HORNERO, collected - unlinked);
        process::remove_directory(&directory)?;
    }
    table.remark(format!(
        "{} objects in images of {LAYER_FILES} files, {IMAGES_OF_LAYER} images to a layer; half of the layers are kept. \
         Unlink alone: files of the same names and bytes in the same directories, the same half, by the same number of \
         threads, their names known beforehand and in the order of inodes. Collecting reads layers and directories, marks, tells sizes, deletes \
         images, layers, objects and metadata, and rewrites the record of hashes.",
        setting.objects
    ));
    Ok(table)
}

/// A store with images, half of which are to be kept.
struct Filled {
    store: Store,
    roots: Vec<Root>,
    all: Vec<Root>,
    doomed: Vec<Stored>,
}

impl Filled {
    fn new(directory: &Path, objects: usize) -> Result<Self> {
        let store = Store::open(directory.join("store"))?;
        let (mut all, mut roots, mut doomed) = (Vec::new(), Vec::new(), Vec::new());
        eprintln!("bench: making a store of {objects} objects");
        for (index, first) in (0..objects).step_by(LAYER_FILES).enumerate() {
            let files = first..objects.min(first + LAYER_FILES);
            let (layer, contents) = put_layer(&store, files)?;
            if index % 2 == 0 {
                doomed.extend(contents);
            }
            for of_layer in 0..IMAGES_OF_LAYER {
                let config = ImageConfig { user: of_layer.to_string(), ..ImageConfig::default() };
                let image = store.put_image(&ImageManifest::new(vec![layer], config))?;
                let reason = "it is measured".to_owned();
                let root = Root { image, reason, protection: Protection::Always };
                if index % 2 == 1 {
                    roots.push(root.clone());
                }
                all.push(root);
            }
        }
        Ok(Self { store, roots, all, doomed })
    }

    /// The paths of what is to be deleted, by directory, in a copy of the objects.
    fn doomed(&self, copy: &Path) -> Result<Vec<Shard>> {
        let doomed: std::collections::HashSet<String> =
            self.doomed.iter().map(|stored| stored.digest.hex()).collect();
        let mut shards = Vec::new();
        for shard in 0..=255_u8 {
            let path = copy.join(format!("{shard:02x}"));
            let mut names = Vec::new();
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                let name = entry.file_name().into_string().ok().context("names are digits")?;
                if doomed.contains(&format!("{shard:02x}{name}")) {
                    names.push((entry.ino(), name));
                }
            }
            // The order that suits ext4 best.
            names.sort_unstable();
            let names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
            shards.push(Shard { path, names });
        }
        ensure!(shards.iter().map(|shard| shard.names.len()).sum::<usize>() == doomed.len());
        Ok(shards)
    }

    /// Milliseconds of deleting; what else is measured goes into the table.
    fn collect(&self, table: &mut Table) -> Result<f64> {
        let (ms, used) = process::timed(|| Ok(self.store.disk_use()?))?;
        ensure!(used.images.len() == self.all.len());
        table.add(DU, "ms", Better::Less, HORNERO, ms);
        let options = CollectOptions::default();
        let dry = CollectOptions { dry_run: true, ..options.clone() };
        let collect = |options: &CollectOptions, roots: &[Root]| {
            process::timed(|| Ok(self.store.collect(options, || Ok(roots.to_vec()), &|_| {})?))
        };
        let (ms, report) = collect(&options, &self.all)?;
        ensure!(report.deleted.total().files == 0, "everything is kept");
        table.add(NOTHING, "ms", Better::Less, HORNERO, ms);
        let (ms, foretold) = collect(&dry, &self.roots)?;
        table.add(DRY, "ms", Better::Less, HORNERO, ms);
        let (ms, report) = collect(&options, &self.roots)?;
        ensure!(report == foretold, "a dry run tells what happens");
        ensure!(report.deleted.objects.files == self.doomed.len() as u64, "half is deleted");
        Ok(ms)
    }
}

/// A layer of small files, each of another content.
fn put_layer(store: &Store, files: std::ops::Range<usize>) -> Result<(Digest, Vec<Stored>)> {
    let ingest = store.ingest()?;
    let mut contents = Vec::new();
    let mut entries = Vec::new();
    for index in files {
        let stored = ingest.put_bytes(format!("object {index}\n").as_bytes())?;
        contents.push(stored);
        entries.push(Entry {
            path: TreePath::new(format!("usr/share/bench/{:03}/{index}", index % 1000))?,
            kind: stored.into(),
            metadata: Metadata::root_owned(0o644, 0),
        });
    }
    let layer = ingest.put_layer(&Layer::from_entries(entries)?)?;
    ingest.finish()?;
    Ok((layer, contents))
}

/// Files with the names and bytes of all objects, made anew.
fn copy(store: &Store, to: &Path) -> Result<PathBuf> {
    for shard in fs::read_dir(store.objects_dir())? {
        let shard = shard?;
        let target = to.join(shard.file_name());
        fs::create_dir_all(&target)?;
        for object in fs::read_dir(shard.path())? {
            let object = object?;
            let bytes = fs::read(object.path())?;
            fs::File::create_new(target.join(object.file_name()))?.write_all(&bytes)?;
        }
    }
    Ok(to.to_owned())
}

/// Names to delete in one directory.
struct Shard {
    path: PathBuf,
    names: Vec<String>,
}

/// Deletes the files, directory by directory, on as many threads as there are cores.
fn unlink(shards: &[Shard]) -> Result<f64> {
    let threads = thread::available_parallelism()?.get();
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(shard) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat(CWD, &shard.path, flags, Mode::empty())?;
            for name in &shard.names {
                unlinkat(&directory, name.as_str(), AtFlags::empty())?;
            }
        }
        Ok(())
    };
    let (ms, ()) = process::timed(|| {
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    })?;
    Ok(ms)
}
