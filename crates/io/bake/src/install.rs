//! Installs locked packages: merged from their layers, then configured in the sandbox, the outcome captured.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    ops::RangeInclusive,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use hornero_model::{Digest, ImageName};
use hornero_sandbox::ComposedRoot;
use hornero_store::{
    CaptureOptions, DevicePolicy, Entry, EntryKind, Ingest, Layer, Metadata, Store, Tree, TreePath,
};

use crate::{
    BakeError,
    archive::{access::Access, control, sources_list::ArchiveRequest},
    deb::{merged_usr, unpack::INFO_DIR},
    image::step::{Extras, Step, Steps},
    limits,
    lock::LockedImage,
    outcome::Outcome,
    progress::{Event, Progress},
    provision::Scanned,
    root::{
        clean::{self, Verdict},
        compose::{self, Below, Part},
        configure,
        database::{self, Existing},
    },
    source::{LayerSource, PackageSource},
    supply::{self, Supplied},
    workdir::WorkDir,
};

/// What an installation or a step works on.
pub(crate) struct Surroundings<'s> {
    /// The store.
    pub store: &'s Store,
    /// Access to archives.
    pub access: &'s Access<'s>,
    /// Starts steps.
    pub steps: Steps<'s>,
    /// Where work directories are made.
    pub tmp: &'s Path,
    /// Is told what happens.
    pub progress: &'s dyn Progress,
}

/// Packages to be installed on layers.
pub(crate) struct Installation<'i> {
    /// The image.
    pub image: &'i ImageName,
    /// Its packages.
    pub locked: &'i LockedImage,
    /// Where they may be fetched from.
    pub request: &'i ArchiveRequest,
    /// The layers that are there already, from the bottom up.
    pub below: &'i [Digest],
    /// The newest time that files may have, in seconds since the Unix epoch.
    pub epoch: u64,
}

impl Surroundings<'_> {
    /// Installs packages; gives the layers to put on top.
    pub(crate) fn install(&self, wanted: &Installation<'_>) -> Result<Outcome, BakeError> {
        let store = self.store;
        let ingest = store.ingest().map_err(BakeError::store)?;
        let supplied =
            supply::supply(&ingest, self.access, wanted.locked, wanted.request, self.progress)?;
        let below = if wanted.below.is_empty() {
            None
        } else {
            Some(store.tree_of_layers(wanted.below).map_err(BakeError::store)?)
        };
        let existing = match &below {
            None => Existing::default(),
            Some(tree) => read_existing(store, tree)?,
        };
        let merged = self.merge(&ingest, wanted, &supplied, below.as_deref(), &existing)?;
        let mut gave = merged.packages;
        let facts: Vec<_> = supplied.iter().map(|one| &one.facts).collect();
        let paths = absolute_paths(&supplied);
        let database = database::database(&existing, &facts, paths.iter().map(String::as_str));
        let mut entries = merged.decided;
        for (path, contents) in &database.files {
            let path =
                TreePath::new(path.as_str()).map_err(|error| layer_refused(wanted, error))?;
            let kind = ingest.put_bytes(contents.as_bytes()).map_err(BakeError::store)?.into();
            let metadata = Metadata::root_owned(0o644, wanted.epoch);
            entries.push(Entry { path, kind, metadata });
        }
        let layer = Layer::from_entries(entries).map_err(|error| layer_refused(wanted, error))?;
        gave.layers.push(ingest.put_layer(&layer).map_err(BakeError::store)?);
        gave.sources.push(LayerSource::Database);
        let _ = ingest.finish().map_err(BakeError::store)?;
        supply::remember(store, wanted.locked, &supplied)?;
        if database.needs_configuring {
            let all = [wanted.below, &gave.layers].concat();
            let script = configure::script(&facts, &wanted.locked.architecture);
            if let Some(layer) = self.configure(wanted, &all, script)? {
                gave.layers.push(layer);
                gave.sources.push(LayerSource::Configured);
                gave.secrets = private_keys(store, &layer)?;
            }
        }
        Ok(gave)
    }

    fn merge(
        &self,
        ingest: &Ingest<'_>,
        wanted: &Installation<'_>,
        supplied: &[Supplied],
        below: Option<&Tree>,
        existing: &Existing,
    ) -> Result<Merged, BakeError> {
        let owners = std::cell::OnceCell::new();
        let owner = |path: &TreePath| {
            let tree = below?;
            let owners = owners.get_or_init(|| owners_below(self.store, tree, existing));
            owners.get(path.as_bytes()).cloned()
        };
        let below = below.map(|tree| Below { tree, owner: &owner });
        let parts: Vec<Part<'_>> =
            supplied.iter().map(|one| Part { layer: &one.layer, facts: &one.facts }).collect();
        let composition = compose::compose(&parts, below.as_ref())?;
        let mut packages = Outcome::default();
        for (number, moved) in composition.layers {
            packages.layers.push(match moved {
                None => supplied[number].digest,
                Some(layer) => ingest.put_layer(&layer).map_err(BakeError::store)?,
            });
            let (locked, facts) = (&wanted.locked.packages[number], &supplied[number].facts);
            packages.sources.push(LayerSource::Package(PackageSource::new(locked, facts)));
        }
        Ok(Merged { packages, decided: composition.decided })
    }

    fn configure(
        &self,
        wanted: &Installation<'_>,
        layers: &[Digest],
        script: String,
    ) -> Result<Option<Digest>, BakeError> {
        let tree = self.store.tree_of_layers(layers).map_err(BakeError::store)?;
        if tree.lookup("usr/bin/dpkg").is_err() {
            return Err(BakeError::NoDpkg { image: wanted.image.clone() });
        }
        let work = WorkDir::create(self.tmp).map_err(|error| BakeError::file(self.tmp, error))?;
        for (path, text) in configure::ANSWERS {
            let path = work.path().join("upper").join(path);
            write_answer(&path, text).map_err(|error| BakeError::file(&path, error))?;
        }
        let step = Step {
            image: wanted.image,
            title: "configuring packages".to_owned(),
            script,
            env: configure::environment(wanted.epoch),
            lower: Some(self.composed(layers)?),
            dir: work.path(),
            network: false,
            extras: Extras::default(),
        };
        self.run_and_capture(&step, &tree, wanted.epoch)
    }

    /// The root files of layers, for the sandbox.
    pub(crate) fn composed(&self, layers: &[Digest]) -> Result<ComposedRoot, BakeError> {
        let root = self.store.root_of_layers(layers).map_err(BakeError::store)?;
        Ok(ComposedRoot { metadata: root.metadata, objects: root.objects })
    }

    /// Runs a step and stores what it changed; None where it changed nothing that stays.
    pub(crate) fn run_and_capture(
        &self,
        step: &Step<'_>,
        below: &Arc<Tree>,
        epoch: u64,
    ) -> Result<Option<Digest>, BakeError> {
        let (started, clock) = (now_seconds(), Instant::now());
        self.steps.run(step)?;
        self.progress.event(Event::Ran {
            image: step.image.clone(),
            what: step.title.clone(),
            milliseconds: u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        let ingest = self.store.ingest().map_err(BakeError::store)?;
        let upper = step.dir.join("upper");
        let scanned = Scanned { image: step.image, title: &step.title };
        step.extras.secrets.keep_out_of(&upper, &scanned)?;
        settle_shadow(&upper.join("etc/shadow"), epoch)?;
        let options = CaptureOptions { max_mtime: u64::MAX, devices: DevicePolicy::Skip };
        let captured =
            ingest.capture_upper(&upper, Some(below), &options).map_err(BakeError::store)?;
        let fresh =
            started.saturating_sub(CLOCK_SLACK_SECONDS)..=now_seconds() + CLOCK_SLACK_SECONDS;
        let settled = settle(&ingest, captured, below, epoch, &fresh)?;
        if settled.entries().is_empty() {
            return Ok(None);
        }
        let digest = ingest.put_layer(&settled).map_err(BakeError::store)?;
        let _ = ingest.finish().map_err(BakeError::store)?;
        Ok(Some(digest))
    }
}

struct Merged {
    packages: Outcome,
    decided: Vec<Entry>,
}

/// The files of a layer that hold a private key, as absolute paths.
fn private_keys(store: &Store, layer: &Digest) -> Result<Vec<String>, BakeError> {
    /// The longest RSA key in use is 13 kB in this form.
    const KEY_BYTES: u64 = 64 << 10;
    let mut found = Vec::new();
    for entry in store.layer(layer).map_err(BakeError::store)?.entries() {
        let EntryKind::File { digest, size } = &entry.kind else { continue };
        // What everyone may read is an example or a certificate.
        let secret = entry.metadata.mode & 0o004 == 0;
        if secret && *size > 0 && *size <= KEY_BYTES {
            let bytes = store.read_object(digest).map_err(BakeError::store)?;
            let head = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
            if head.starts_with("-----BEGIN ") && head.contains("PRIVATE KEY-----") {
                found.push(entry.path.to_string());
            }
        }
    }
    Ok(found)
}

fn layer_refused(wanted: &Installation<'_>, error: hornero_store::LayerError) -> BakeError {
    BakeError::store(hornero_store::StoreError::Layer {
        name: format!("packages of {}", wanted.image),
        source: error,
    })
}

/// Both names that a path has where `/usr` is merged: triggers may be on either.
fn absolute_paths(supplied: &[Supplied]) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in supplied.iter().flat_map(|one| one.layer.entries()) {
        let path = String::from_utf8_lossy(entry.path.as_bytes()).into_owned();
        if let Some(short) = path.strip_prefix("usr/") {
            let first = short.split('/').next().unwrap_or_default();
            if merged_usr::LINKS.contains(&first) {
                paths.push(format!("/{short}"));
            }
        }
        paths.push(format!("/{path}"));
    }
    paths
}

fn write_answer(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
        for dir in parent.ancestors().take(3) {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// dpkg's database as a tree has it.
fn read_existing(store: &Store, tree: &Tree) -> Result<Existing, BakeError> {
    let read = |path: &str| -> Result<String, BakeError> {
        if tree.lookup(path).is_err() {
            return Ok(String::new());
        }
        let bytes = store.read_tree_file(tree, path).map_err(BakeError::store)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let mut existing = Existing {
        status: read("var/lib/dpkg/status")?,
        file_triggers: read("var/lib/dpkg/triggers/File")?,
        named_triggers: BTreeMap::new(),
    };
    if let Ok(dir) = TreePath::new("var/lib/dpkg/triggers") {
        for entry in tree.children(&dir) {
            let name = String::from_utf8_lossy(entry.path.name()).into_owned();
            let special = matches!(name.as_str(), "File" | "Lock" | "Unincorp");
            if !special && matches!(entry.kind, EntryKind::File { .. }) {
                let text = read(&format!("var/lib/dpkg/triggers/{name}"))?;
                existing.named_triggers.insert(name, text);
            }
        }
    }
    Ok(existing)
}

/// Which package has which path, from dpkg's lists; read only where two packages meet at a path.
fn owners_below(
    store: &Store,
    tree: &Tree,
    existing: &Existing,
) -> HashMap<Vec<u8>, (String, String)> {
    let mut versions = BTreeMap::new();
    for stanza in control::paragraphs(&existing.status) {
        let paragraph = control::parse_paragraph(stanza).unwrap_or_default();
        if let (Some(name), Some(version)) = (paragraph.get("Package"), paragraph.get("Version")) {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    let mut owners = HashMap::new();
    let Ok(dir) = TreePath::new(INFO_DIR) else { return owners };
    for entry in tree.children(&dir) {
        let file = String::from_utf8_lossy(entry.path.name()).into_owned();
        let Some(package) = file.strip_suffix(".list") else { continue };
        let name = package.split(':').next().unwrap_or_default();
        let version = versions.get(name).cloned().unwrap_or_default();
        let Ok(list) = store.read_tree_file(tree, &format!("{INFO_DIR}/{file}")) else { continue };
        for line in list.split(|byte| *byte == b'\n') {
            let path = merged_usr::canonical(line.strip_prefix(b"/").unwrap_or(line));
            owners.insert(path, (name.to_owned(), version.clone()));
        }
    }
    owners
}

/// The file system's clock may lag behind the precise one by a tick.
const CLOCK_SLACK_SECONDS: u64 = 2;

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What of a captured layer stays: cleaned, without what only looks changed, and with times that do not depend on when
/// it was made. Other times than those of the step were set on purpose and stay, also where the clock is wrong.
fn settle(
    ingest: &Ingest<'_>,
    captured: Layer,
    below: &Tree,
    epoch: u64,
    fresh: &RangeInclusive<u64>,
) -> Result<Layer, BakeError> {
    let mut kept = Vec::new();
    for mut entry in captured.into_entries() {
        let answer =
            configure::ANSWERS.iter().find(|(path, _)| entry.path.as_bytes() == path.as_bytes());
        if let (Some((_, text)), EntryKind::File { digest, .. }) = (answer, &entry.kind)
            && *digest == Digest::of(text.as_bytes())
        {
            continue;
        }
        if clean::is_package_log(&entry.path) {
            continue;
        }
        match clean::judge(&entry) {
            Verdict::Keep => {}
            Verdict::Drop => continue,
            Verdict::Empty => {
                entry.kind = ingest.put_bytes(b"").map_err(BakeError::store)?.into();
            }
        }
        if below.get(&entry.path).is_some_and(|there| looks_like(there, &entry)) {
            continue;
        }
        if entry.kind == EntryKind::Whiteout {
            // Nothing to remove: it was made and removed within the step.
            if below.get(&entry.path).is_none() {
                continue;
            }
        } else if fresh.contains(&entry.metadata.mtime) || entry.metadata.mtime > epoch {
            entry.metadata.mtime = epoch;
        }
        kept.push(entry);
    }
    Layer::from_sorted(kept).map_err(|source| {
        BakeError::store(hornero_store::StoreError::Layer { name: "a step".to_owned(), source })
    })
}

/// Sets the days of password changes, which accounts made by packages get from the clock.
fn settle_shadow(path: &Path, epoch: u64) -> Result<(), BakeError> {
    /// A hundred bytes for each of the accounts an image can have.
    const SHADOW_BYTES: u64 = 8 << 20;
    let text = match limits::read_text(path, SHADOW_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BakeError::file(path, error)),
    };
    let settled = clean::with_shadow_day(&text, epoch / 86_400);
    // A copy of the metadata alone has no text of its own.
    if settled == text || text.contains('\0') {
        return Ok(());
    }
    fs::write(path, settled).map_err(|error| BakeError::file(path, error))
}

/// Whether an entry differs from what lies below in its time at most.
fn looks_like(there: &Entry, entry: &Entry) -> bool {
    let (a, b) = (&there.metadata, &entry.metadata);
    there.kind == entry.kind
        && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid)
        && a.xattrs == b.xattrs
}
