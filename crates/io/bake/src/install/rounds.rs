//! Unpacks and configures packages round by round, in a root of its own that no image keeps: configuration files wait
//! in it, diverted files are where dpkg looks for them, and what a `preinst` did is there before its package's files.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use hornero_dpkg::{
    compose::{Clash, Part},
    database::{self, NewPackage, State},
    deb::{PackageFacts, unpack::INFO_DIR},
    existing::Existing,
    place::Placing,
    plan::Round,
    scripts,
};
use hornero_model::Digest;
use hornero_store::{EntryKind, Layer, Tree, TreePath};

use super::installation::{InstallBase, Installation, database_layer, layer_refused, tree};
use crate::{
    BakeError,
    accounts::Accounts,
    image::step::{Extras, Step},
    supply::Supplied,
    surroundings::Surroundings,
    workdir::WorkDir,
};

/// Packages on their way into a root.
pub(super) struct Rounds<'r> {
    surroundings: &'r Surroundings<'r>,
    wanted: &'r Installation<'r>,
    supplied: &'r [Supplied],
    /// The root so far, from the bottom up.
    layers: Vec<Digest>,
    /// Packages that were there before and have triggers to be run.
    pending: Vec<String>,
}

impl<'r> Rounds<'r> {
    /// Nothing is done yet.
    pub(super) fn new(
        surroundings: &'r Surroundings<'r>,
        wanted: &'r Installation<'r>,
        supplied: &'r [Supplied],
    ) -> Self {
        let layers = wanted.below.to_vec();
        Self { surroundings, wanted, supplied, layers, pending: Vec::new() }
    }

    /// Does every round; gives the layers of the root in the end.
    pub(super) fn run(mut self, plan: &[Round]) -> Result<Vec<Digest>, BakeError> {
        let store = self.surroundings.store;
        for round in plan {
            self.unpack(round)?;
            let packages: Vec<&PackageFacts> = self.supplied.iter().map(|one| &one.facts).collect();
            let pending = std::mem::take(&mut self.pending);
            let script = scripts::script(&packages, round, &pending);
            let files =
                scripts::stage(&packages, round, script, |number| self.control_files(number))?;
            self.execute(&files.into_iter().collect::<Vec<_>>())?;
        }
        let tree = store.tree_of_layers(&self.layers).map_err(BakeError::store)?;
        let existing = Existing::read(store, &tree).map_err(BakeError::store)?;
        if database::is_unfinished(&existing.status) {
            let files =
                scripts::stage(&[], &Round::default(), scripts::finishing_script(), |_| {
                    Ok::<_, BakeError>(Vec::new())
                })?;
            self.execute(&files.into_iter().collect::<Vec<_>>())?;
        }
        Ok(self.layers)
    }

    /// Places the files of a round's packages and tells dpkg of them.
    fn unpack(&mut self, round: &Round) -> Result<(), BakeError> {
        if round.unpack.is_empty() {
            return Ok(());
        }
        let store = self.surroundings.store;
        let below = tree(store, &self.layers)?;
        let existing = match &below {
            None => Existing::default(),
            Some(tree) => Existing::read(store, tree).map_err(BakeError::store)?,
        };
        // dpkg finds the first packages of a root with everything in its place: nothing could run before.
        let held = |number: usize| !round.bootstrap.contains(&number);
        let placed = self.placed(round, below.as_deref(), &existing, &held)?;
        let ingest = store.ingest().map_err(BakeError::store)?;
        let parts: Vec<Part<'_>> = round
            .unpack
            .iter()
            .zip(&placed)
            .map(|(number, placed)| {
                let Supplied { layer, facts, .. } = &self.supplied[*number];
                Part { layer: placed.as_ref().unwrap_or(layer), facts }
            })
            .collect();
        let base = InstallBase { below: below.as_deref(), existing: &existing };
        let composition = self.surroundings.compose(&parts, &base, Clash::Refuse)?;
        for (place, moved) in composition.layers {
            self.layers.push(match moved.as_ref().or(placed[place].as_ref()) {
                Some(layer) => ingest.put_layer(layer).map_err(BakeError::store)?,
                None => self.supplied[round.unpack[place]].digest,
            });
        }
        let new: Vec<NewPackage<'_>> = round
            .unpack
            .iter()
            .map(|number| {
                let Supplied { layer, facts, .. } = &self.supplied[*number];
                NewPackage { facts, layer, held: held(*number) }
            })
            .collect();
        let database = database::database(&existing, &new, State::Unpacked);
        let mut entries = composition.decided;
        let shortened =
            self.surroundings.shortened_lists(&ingest, &composition.taken, &parts, &base)?;
        entries.extend(shortened);
        let layer = database_layer(&ingest, self.wanted, entries, &database)?;
        self.pending.extend(database.pending);
        self.layers.push(ingest.put_layer(&layer).map_err(BakeError::store)?);
        let _ = ingest.finish().map_err(BakeError::store)?;
        Ok(())
    }

    /// The layers of a round's packages where they differ from what came out of their files.
    fn placed(
        &self,
        round: &Round,
        below: Option<&Tree>,
        existing: &Existing,
        held: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<Layer>>, BakeError> {
        let accounts = below.map(|tree| Accounts::read(self.surroundings.store, tree));
        let user = |name: &str| Some(accounts.as_ref()?.user(name)?.0);
        let group = |name: &str| accounts.as_ref()?.group(name);
        let placing = Placing {
            diversions: &existing.diversions,
            overrides: &existing.overrides,
            user: &user,
            group: &group,
        };
        let placed = round.unpack.iter().map(|number| {
            let Supplied { layer, facts, .. } = &self.supplied[*number];
            let placed = placing.placed(layer, facts, held(*number));
            placed.map_err(|error| layer_refused(self.wanted.image, error))
        });
        placed.collect()
    }

    /// What a package has beside its `control` for its scripts.
    fn control_files(&self, number: usize) -> Result<Vec<(String, Vec<u8>)>, BakeError> {
        let Supplied { layer, facts, .. } = &self.supplied[number];
        let prefix = format!("{INFO_DIR}/{}.", facts.info_name);
        let mut files = Vec::new();
        for entry in layer.entries() {
            let name = entry.path.as_bytes().strip_prefix(prefix.as_bytes());
            if let (Some(name), EntryKind::File { digest, .. }) = (name, &entry.kind)
                && name != b"list"
            {
                let store = self.surroundings.store;
                let contents = store.read_object(digest).map_err(BakeError::store)?;
                files.push((String::from_utf8_lossy(name).into_owned(), contents));
            }
        }
        Ok(files)
    }

    /// Runs what was staged, and puts what it changed on top.
    fn execute(&mut self, files: &[(String, Vec<u8>)]) -> Result<(), BakeError> {
        let surroundings = self.surroundings;
        let (store, tmp) = (surroundings.store, surroundings.tmp);
        let tree = store.tree_of_layers(&self.layers).map_err(BakeError::store)?;
        if tree.lookup("usr/bin/dpkg").is_err() {
            return Err(BakeError::NoDpkg { image: self.wanted.image.clone() });
        }
        let work = WorkDir::create(tmp).map_err(|error| BakeError::file(tmp, error))?;
        let upper = work.path().join("upper");
        let answers =
            scripts::ANSWERS.map(|(path, text)| (path.to_owned(), text.as_bytes(), 0o755));
        let staged = files.iter().map(|(path, contents)| {
            (format!("{}/{path}", scripts::STAGE_DIR), &contents[..], 0o755)
        });
        let (path, text) = scripts::RESOLVERS;
        let is_there = TreePath::new(path).is_ok_and(|path| tree.get(&path).is_some());
        let resolvers = (!is_there).then(|| (path.to_owned(), text.as_bytes(), 0o644));
        for (path, contents, mode) in answers.into_iter().chain(staged).chain(resolvers) {
            write_file(&upper, &path, contents, mode)
                .map_err(|error| BakeError::file(&upper.join(&path), error))?;
        }
        let step = Step {
            image: self.wanted.image,
            title: CONFIGURING.to_owned(),
            script: scripts::command(),
            env: scripts::environment(self.wanted.epoch),
            lower: Some(surroundings.composed(&self.layers)?),
            dir: work.path(),
            network: false,
            max_bytes: self.wanted.max_bytes,
            extras: Extras { section: Some(scripts::section), ..Extras::default() },
        };
        let ran = surroundings.run_and_capture(&step, &tree, self.wanted.epoch);
        self.layers.extend(ran.map_err(name_package)?);
        Ok(())
    }
}

/// What is being done, for people.
const CONFIGURING: &str = "configuring packages";

/// An error that names the package whose lines it has.
fn name_package(error: BakeError) -> BakeError {
    match error {
        BakeError::Step { image, step, cause, tail } => {
            let package = tail.lines().next().and_then(scripts::section);
            let step = package.map(|name| format!("configuring package `{name}`")).unwrap_or(step);
            BakeError::Step { image, step, cause, tail }
        }
        other => other,
    }
}

/// Writes a file into an upper directory, whose directories lie on those of the root.
fn write_file(upper: &Path, path: &str, contents: &[u8], mode: u32) -> std::io::Result<()> {
    let file = upper.join(path);
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
        for dir in parent.ancestors().take_while(|dir| *dir != upper) {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(&file, contents)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(mode))
}
