//! Comparing a running instance with its image.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    sync::Arc,
    time::Instant,
};

use hornero_model::{Digest, FileIdentity};
use hornero_store::{Entry, EntryKind, RootFiles, Store, StoreError, Stored, Tree};

use crate::{
    Depth, Finding, FindingKind, InstanceUnderTest, Report, Result, VerifyError,
    content::hash,
    look::{Look, Seen},
    mapped::{self, Code},
    mounts,
    processes::{Passes, Process, Spaces, is_gone},
    report::{Checked, Findings, shown},
};

/// Reading code in pieces of this size.
const CHUNK_BYTES: usize = 256 * 1024;
/// Looks at what runs until one brings nothing new. A second one is the rule; a server that makes many short processes
/// has a quiet moment among this many, and what only hides by being born again and again is met in one of them.
const PASSES_MAX: usize = 64;

/// Compares instances with their images. What several of them share is looked at once: use a new one
/// for every round.
pub struct Verifier<'s> {
    store: &'s Store,
    own: Spaces,
    images: BTreeMap<Digest, Arc<Image>>,
    /// Whether the object is as it should be.
    objects: BTreeMap<Digest, bool>,
}

/// An image, and what of it is damaged in the store.
struct Image {
    tree: Arc<Tree>,
    /// Its metadata in the store, which stays there while it is looked at.
    root: RootFiles,
    damage: Vec<Finding>,
    objects: u64,
}

impl<'s> Verifier<'s> {
    /// A new round. Needs to be root, and to see the host's `/proc`.
    pub fn new(store: &'s Store) -> Result<Self> {
        let own = Spaces::of("self")
            .map_err(|error| VerifyError::io("look at", "/proc/self/ns", error))?
            .ok_or(VerifyError::NotRunning { pid: std::process::id() })?;
        Ok(Self { store, own, images: BTreeMap::new(), objects: BTreeMap::new() })
    }

    /// Compares mounts, root, and what all processes execute with the image, and the image's objects with
    /// their digests; a full look also compares the whole root and hashes every content through it.
    ///
    /// A fast look trusts an object whose device, inode, size and times are those it had when it was
    /// hashed last, as a start does.
    ///
    /// # Errors
    /// [`VerifyError::NotRunning`] where the instance has ended, also in between.
    pub fn instance(
        &mut self,
        image: &Digest,
        instance: &InstanceUnderTest,
        depth: Depth,
    ) -> Result<Report> {
        let began = Instant::now();
        let pid = instance.pid;
        let spaces = spaces_of(pid)?;
        if spaces.mounts == self.own.mounts {
            return Err(VerifyError::NoInstance { pid });
        }
        let compared = self.compare(image, instance, depth, spaces);
        // The number may be another process' by now, and what was seen or failed another instance's.
        if spaces_of(pid)? != spaces {
            return Err(VerifyError::NotRunning { pid });
        }
        let (findings, checked) = compared?;
        Ok(Report::of(findings, checked, began))
    }

    fn compare(
        &mut self,
        image: &Digest,
        instance: &InstanceUnderTest,
        depth: Depth,
        spaces: Spaces,
    ) -> Result<(Findings, Checked)> {
        let pid = instance.pid;
        let image = self.image(image)?;
        let mounts = mounts::of_process(pid)?;
        let mut findings = Findings::default();
        let root_mount = mounts::compare(&mounts, &image.tree, instance, &mut findings);
        image.damage.iter().for_each(|finding| findings.add(finding.clone()));
        if depth == Depth::Fast {
            self.same_metadata(&image, instance, &mut findings)?;
        }
        let checked =
            Checked { mounts: mounts.len() as u64, entries: image.objects, ..Checked::default() };
        let mut look = Look {
            pid,
            tree: &image.tree,
            depth,
            root_mount,
            mounts: &mounts,
            spaces,
            findings,
            checked,
            known: BTreeSet::new(),
        };
        // First what takes minutes: what runs is then what runs when the answer is given.
        if depth == Depth::Full {
            look.whole_root(instance)?;
        }
        self.processes(&mut look)?;
        Ok((look.findings, look.checked))
    }

    /// Whether the root is mounted from the metadata that the store has now. It is replaced where it was damaged, but
    /// not under those who have mounted it: what they see then, only reading all of it tells.
    fn same_metadata(
        &self,
        image: &Image,
        instance: &InstanceUnderTest,
        findings: &mut Findings,
    ) -> Result<()> {
        let Some(mounted) = instance.metadata else { return Ok(()) };
        let path = &image.root.metadata;
        let file = fs::metadata(path).map_err(|error| VerifyError::io("look at", path, error))?;
        let stored = FileIdentity { device: file.dev(), inode: file.ino() };
        if mounted != stored {
            let expected = "the image's metadata as the store has it";
            let found =
                "metadata that the store has replaced since; a full look reads all that it shows";
            findings.push(FindingKind::Root, b"/", expected, found);
        }
        Ok(())
    }

    /// Looks at every process of the instance, again and again until there is none that was not looked at: a child may
    /// be born while its parent is looked at, and be all that is left.
    fn processes(&mut self, look: &mut Look<'_>) -> Result<()> {
        let mut passes = Passes::default();
        let mut ended = 0_u64;
        for _ in 0..PASSES_MAX {
            ended = 0;
            let again = passes.next(|process| {
                // Some hosts hide processes even from root; those of an instance are never among them.
                let spaces = match process.spaces() {
                    Ok(Some(spaces)) => spaces,
                    Ok(None) => return Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        return Ok(false);
                    }
                    Err(error) => {
                        let path = format!("/proc/{}/ns", process.pid);
                        return Err(VerifyError::io("look at", path, error));
                    }
                };
                let shares = spaces.mounts == look.spaces.mounts
                    || spaces.processes == look.spaces.processes;
                if shares && self.process(look, &process, spaces)? == Seen::Ended {
                    ended += 1;
                }
                Ok(shares)
            })?;
            if !again {
                return Ok(());
            }
        }
        // Other processes of a busy host come and go as well; these are the instance's.
        if ended > 0 {
            let expected = "processes that stay long enough to be looked at";
            let found = format!("new ones in each of {PASSES_MAX} looks, ended before theirs");
            look.find(FindingKind::Unreadable, b"/", expected, &found, look.pid);
        }
        Ok(())
    }

    /// The image, its objects checked once a round.
    fn image(&mut self, digest: &Digest) -> Result<Arc<Image>> {
        if let Some(image) = self.images.get(digest) {
            return Ok(Arc::clone(image));
        }
        let tree = self.store.tree(digest)?;
        let checked = self.store.verify_for_start(digest);
        // Only now: a check replaces metadata that is damaged.
        let root = self.store.root(digest)?;
        let mut image = Image { tree, root, damage: Vec::new(), objects: 0 };
        match checked {
            Ok(report) => {
                image.objects = report.objects as u64;
                if report.metadata_rebuilt > 0 {
                    image.damage.push(Finding {
                        path: "/".to_owned(),
                        kind: FindingKind::Object,
                        expected: "the image's metadata as it was written".to_owned(),
                        found: "damaged or lost, and made again for the next start".to_owned(),
                        pid: None,
                    });
                }
            }
            // It ends at the first one; all are to be named.
            Err(StoreError::DamagedObject { .. }) => image.damage = self.damage(&image.tree)?,
            Err(error) => return Err(error.into()),
        }
        let image = Arc::new(image);
        self.images.insert(*digest, Arc::clone(&image));
        Ok(image)
    }

    fn damage(&mut self, tree: &Tree) -> Result<Vec<Finding>> {
        let mut damage = Vec::new();
        for entry in tree.entries() {
            let EntryKind::File { digest, size } = &entry.kind else { continue };
            if !self.is_whole(Stored { digest: *digest, size: *size })? {
                damage.push(Finding {
                    path: entry.path.to_string(),
                    kind: FindingKind::Object,
                    expected: digest.to_string(),
                    found: "damaged in the store".to_owned(),
                    pid: None,
                });
            }
        }
        Ok(damage)
    }

    fn is_whole(&mut self, stored: Stored) -> Result<bool> {
        if let Some(whole) = self.objects.get(&stored.digest) {
            return Ok(*whole);
        }
        let whole = self.store.is_content_whole(stored)?;
        self.objects.insert(stored.digest, whole);
        Ok(whole)
    }

    fn process(&mut self, look: &mut Look<'_>, process: &Process, spaces: Spaces) -> Result<Seen> {
        let pid = process.pid;
        // What ended since is nobody's drift.
        let Some(status) = process.status().filter(|status| !status.zombie) else {
            return Ok(Seen::Ended);
        };
        if spaces.processes == look.spaces.processes && status.inner == 1 {
            look.checked.processes += 1;
            return Ok(look.init(process, status.parent));
        }
        // Before all else: it may be about to end.
        let program = match Code::program(process) {
            Ok(program) => program,
            Err(error) => return Ok(look.ended_or_told(process, "exe", &error)),
        };
        look.checked.processes += 1;
        if spaces != look.spaces {
            let found = match spaces.mounts == look.spaces.mounts {
                true => "entered from outside",
                false => "left the instance's mounts",
            };
            let expected = "started by the instance";
            look.find(FindingKind::Process, &program.path, expected, found, pid);
        }
        look.root(process);
        self.code(look, FindingKind::Executable, &program, pid)?;
        let mappings = match mapped::mappings(process) {
            Ok(mappings) => mappings,
            Err(error) => return Ok(look.ended_or_told(process, "maps", &error)),
        };
        for mapping in mappings {
            if !look.known.insert((mapping.identity.clone(), mapping.path.clone())) {
                continue;
            }
            match Code::mapped(process, &mapping) {
                Ok(code) if code.is_same_as(&program) => {}
                Ok(code) => self.code(look, FindingKind::Library, &code, pid)?,
                Err(error) => {
                    // Another process may still have it.
                    look.known.remove(&(mapping.identity, mapping.path));
                    // Unmapped since.
                    if is_gone(&error) {
                        continue;
                    }
                    return Ok(look.ended_or_told(process, "map_files", &error));
                }
            }
        }
        Ok(Seen::Whole)
    }

    /// Whether a file that is executed from is the image's, and its bytes too.
    fn code(
        &mut self,
        look: &mut Look<'_>,
        kind: FindingKind,
        code: &Code,
        pid: u32,
    ) -> Result<()> {
        look.checked.mapped += 1;
        let stat = &code.stat;
        if Some(stat.stx_mnt_id) != look.root_mount {
            let mount = look.mounts.iter().find(|mount| mount.id == stat.stx_mnt_id);
            let found = match mount {
                Some(mount) => format!("on the {} at {}", mount.kind, shown(&mount.target)),
                None if code.path.starts_with(b"/memfd:") => "in memory, without a file".to_owned(),
                None => "outside of the instance's mounts".to_owned(),
            };
            let kind = if code.is_deleted() { FindingKind::Deleted } else { kind };
            look.find(kind, &code.path, "a file of the image", &found, pid);
            return Ok(());
        }
        if code.is_deleted() {
            look.find(FindingKind::Deleted, &code.path, "a file of the image", "deleted", pid);
            return Ok(());
        }
        let inside = code.path.strip_prefix(b"/").unwrap_or(&code.path);
        let entry = look.tree.resolve(inside, false).ok();
        let Some((entry, digest, size)) = entry.and_then(as_file) else {
            look.find(kind, &code.path, "a file of the image", "the image has no such file", pid);
            return Ok(());
        };
        let time = u64::try_from(stat.stx_mtime.tv_sec).ok();
        if stat.stx_size != size || time != Some(entry.metadata.mtime) {
            let found = format!("{} bytes, of another time or size", stat.stx_size);
            look.find(kind, &code.path, &digest.to_string(), &found, pid);
            return Ok(());
        }
        match look.depth {
            Depth::Fast => {
                if !self.is_whole(Stored { digest, size })? {
                    let found = "damaged in the store";
                    look.find(kind, &code.path, &digest.to_string(), found, pid);
                }
            }
            Depth::Full => {
                let hashed = code
                    .open()
                    .and_then(|file| Ok(hash(file.as_fd(), size, &mut vec![0; CHUNK_BYTES])?));
                match hashed {
                    Ok((found, read)) => {
                        look.checked.hashed += 1;
                        look.checked.hashed_bytes += read;
                        if found != digest {
                            let found = found.to_string();
                            look.find(kind, &code.path, &digest.to_string(), &found, pid);
                        }
                    }
                    Err(error) => {
                        let found = error.to_string();
                        look.find(FindingKind::Unreadable, &code.path, "", &found, pid);
                    }
                }
            }
        }
        Ok(())
    }
}

fn as_file(entry: &Entry) -> Option<(&Entry, Digest, u64)> {
    match &entry.kind {
        EntryKind::File { digest, size } => Some((entry, *digest, *size)),
        _ => None,
    }
}

fn spaces_of(pid: u32) -> Result<Spaces> {
    Spaces::of(pid)
        .map_err(|error| VerifyError::io("look at", format!("/proc/{pid}/ns"), error))?
        .ok_or(VerifyError::NotRunning { pid })
}
