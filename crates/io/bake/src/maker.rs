//! Makes an image step by step: each from the cache where its inputs are known, else for real.

use std::{collections::BTreeMap, time::Instant};

use hornero_apt::{LockedImage, sources_list::ArchiveRequest};
use hornero_dpkg::scripts;
use hornero_model::Digest;
use hornero_spec::CopySource;
use hornero_store::Stored;

use crate::{
    BakeError,
    accounts::Accounts,
    action::{Action, CopyAction},
    baked::BakedStep,
    facts,
    image::{
        copy, copy_key,
        step::{Extras, Step},
    },
    install::Installation,
    making::{IsMoved, Making},
    outcome::{self, StepOutcome},
    progress::BakeEvent,
    provision::Provisioning,
    record::{StepKind, StepRecord},
    scan,
    source::LayerSource,
    surroundings::Surroundings,
    workdir::WorkDir,
};

/// What a step does, with what it needs.
pub(crate) enum Work<'w> {
    /// Installs packages.
    Packages { locked: &'w LockedImage, request: ArchiveRequest },
    /// Copies what was found.
    Copy { source: CopySource, found: Vec<copy::Found> },
    /// Runs a command with the image's own environment.
    Run { command: String, env: BTreeMap<String, String>, network: bool },
    /// Runs a provision.
    Provision(Provisioning),
}

/// Does the steps of images.
pub(crate) struct Maker<'m> {
    /// Where it works.
    pub surroundings: Surroundings<'m>,
    /// Nothing is done, only foretold.
    pub forecast: bool,
    /// What the cache holds is looked at file by file.
    pub verify: bool,
}

/// A step before it is known what it gives.
struct Described {
    kind: StepKind,
    title: String,
    inputs: BTreeMap<String, String>,
    own: Digest,
    action: Action,
}

/// What the cache knows of a step.
enum Known {
    /// All that it gave.
    Whole(StepOutcome),
    /// Only what was moved with another image.
    OfAnother,
    /// Nothing, or not all of it.
    Nothing,
}

impl Maker<'_> {
    /// Whether layers of the cache are there; where asked for, also whether all they hold is whole.
    fn are_there(&self, layers: &[Digest]) -> Result<bool, BakeError> {
        let store = self.surroundings.store;
        for layer in layers {
            let there = match self.verify {
                true => store.is_layer_whole(layer).map_err(BakeError::store)?,
                false => store.has_layer(layer),
            };
            if !there {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the cache has of every one of these steps on what was made so far, all of it there; None where one is
    /// missing.
    pub(crate) fn all_cached(
        &self,
        making: &Making,
        works: &[Work<'_>],
    ) -> Result<Option<Vec<Digest>>, BakeError> {
        let mut layers = making.layers.clone();
        for work in works {
            let Described { kind, own, .. } = describe(work);
            let key = outcome::step_key(kind, &outcome::chain(&layers), &own, making.epoch);
            match StepOutcome::cached(self.surroundings.store, &key)? {
                Some(known) if self.are_there(&known.layers)? => layers.extend(known.layers),
                Some(_) | None => return Ok(None),
            }
        }
        Ok(Some(layers))
    }

    /// Takes a step from the cache or does it; in a forecast gives why it would be done. What was moved from another
    /// base is taken for an image that was moved as a whole, and done for any other: its record tells of a bake.
    pub(crate) fn step(
        &self,
        making: &mut Making,
        work: &Work<'_>,
        is_moved: &IsMoved<'_>,
    ) -> Result<Option<String>, BakeError> {
        let started = Instant::now();
        let store = self.surroundings.store;
        let below = outcome::chain(&making.layers);
        let Described { kind, title, inputs, own, action } = describe(work);
        let key = outcome::step_key(kind, &below, &own, making.epoch);
        let (own, action) = (Some(own), Some(action));
        let (layers, sources) = (Vec::new(), Vec::new());
        let mut record =
            StepRecord { title, kind, key, below, inputs, layers, sources, own, action };
        let title = record.title.clone();
        let image = making.name.clone();
        let progress = self.surroundings.progress;
        let (gave, why) = match self.known(making, &key, is_moved)? {
            Known::Whole(gave) => (gave, None),
            missing @ (Known::OfAnother | Known::Nothing) => {
                let why = match missing {
                    Known::OfAnother => {
                        "the cache has it only as it was moved with another image".to_owned()
                    }
                    Known::Whole(_) | Known::Nothing => {
                        making.last.why(making.records.len(), &record)
                    }
                };
                if self.forecast {
                    return Ok(Some(format!("{title}: {why}")));
                }
                progress
                    .event(BakeEvent::StepStarted { image: image.clone(), step: title.clone() });
                let mut gave = self.run(making, work, &title)?;
                gave.secrets = scan::secrets_of(store, &gave)?;
                facts::record(store, &making.layers, &gave.layers)?;
                gave.cache(store, &key)?;
                (gave, Some(why))
            }
        };
        let cached = why.is_none();
        let why = why.unwrap_or_default();
        let elapsed = started.elapsed();
        if !self.forecast {
            for path in &gave.secrets {
                let (image, path) = (image.clone(), path.clone());
                progress.event(BakeEvent::SecretInImage { image, path });
            }
            progress.event(BakeEvent::StepFinished {
                image,
                step: title.clone(),
                cached,
                why: why.clone(),
                milliseconds: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            });
        }
        making.layers.extend_from_slice(&gave.layers);
        making.secrets.extend(gave.secrets);
        (record.layers, record.sources) = (gave.layers, gave.sources);
        making.records.push(record);
        making.steps.push(BakedStep { title, cached, why, seconds: elapsed.as_secs_f64() });
        Ok(None)
    }

    /// What the cache knows of a step, all of it there.
    fn known(
        &self,
        making: &mut Making,
        key: &Digest,
        is_moved: &IsMoved<'_>,
    ) -> Result<Known, BakeError> {
        let known = match StepOutcome::cached(self.surroundings.store, key)? {
            Some(known) if self.are_there(&known.layers)? => known,
            Some(_) | None => return Ok(Known::Nothing),
        };
        if !known.moved {
            return Ok(Known::Whole(known));
        }
        let taken = match making.moved {
            Some(taken) => taken,
            None => is_moved(making)?,
        };
        making.moved = Some(taken);
        Ok(if taken { Known::Whole(known) } else { Known::OfAnother })
    }

    fn run(&self, making: &Making, work: &Work<'_>, title: &str) -> Result<StepOutcome, BakeError> {
        match work {
            Work::Packages { locked, request } => self.surroundings.install(&Installation {
                image: &making.name,
                locked,
                request,
                below: &making.layers,
                epoch: making.epoch,
                max_bytes: making.max_bytes,
            }),
            Work::Copy { source, found } => self.copy(making, source, found),
            Work::Provision(provisioning) => provisioning.run(&self.surroundings, making, title),
            Work::Run { command, env, network } => {
                self.command(making, command, env, *network, title)
            }
        }
    }

    fn copy(
        &self,
        making: &Making,
        source: &CopySource,
        found: &[copy::Found],
    ) -> Result<StepOutcome, BakeError> {
        let store = self.surroundings.store;
        let tree = store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        let image = &making.name;
        let accounts = Accounts::read(store, &tree);
        let missing = |kind, name: &str| BakeError::NoAccount {
            image: image.clone(),
            kind,
            name: name.to_owned(),
        };
        let user = &source.owner.user;
        let (uid, mut gid) = accounts.user(user).ok_or_else(|| missing("user", user))?;
        if let Some(group) = &source.owner.group {
            gid = accounts.group(group).ok_or_else(|| missing("group", group))?;
        }
        let ingest = store.ingest().map_err(BakeError::store)?;
        let has = |digest: Digest, size: u64| {
            store.is_content_whole(Stored { digest, size }).unwrap_or(false)
        };
        let mut put = |file: &mut std::fs::File| {
            let stored = ingest.put(&source.from, file).map_err(BakeError::store)?;
            Ok((stored.digest, stored.size))
        };
        let layer = copy::layer(image, source, found, (uid, gid), &tree, &has, &mut put)?;
        let digest = ingest.put_layer(&layer).map_err(BakeError::store)?;
        let _ = ingest.finish().map_err(BakeError::store)?;
        Ok(StepOutcome::of(Some(digest), LayerSource::Copy { from: source.from.clone() }))
    }

    fn command(
        &self,
        making: &Making,
        command: &str,
        own_env: &BTreeMap<String, String>,
        network: bool,
        title: &str,
    ) -> Result<StepOutcome, BakeError> {
        let surroundings = &self.surroundings;
        let tree = surroundings.store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        let work = WorkDir::create(surroundings.tmp)
            .map_err(|error| BakeError::file(surroundings.tmp, error))?;
        let mut env = scripts::step_environment(making.epoch);
        env.extend(own_env.clone());
        let step = Step {
            image: &making.name,
            title: title.to_owned(),
            script: command.to_owned(),
            env,
            lower: Some(surroundings.composed(&making.layers)?),
            dir: work.path(),
            network,
            max_bytes: making.max_bytes,
            extras: Extras::default(),
        };
        let layer = surroundings.run_and_capture(&step, &tree, making.epoch)?;
        Ok(StepOutcome::of(layer, LayerSource::Run { command: command.to_owned() }))
    }
}

fn describe(work: &Work<'_>) -> Described {
    match work {
        Work::Packages { locked, request } => {
            let inputs = locked
                .packages
                .iter()
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect();
            let title = match locked.packages.len() {
                1 => "1 package".to_owned(),
                count => format!("{count} packages"),
            };
            let (kind, own) = (StepKind::Packages, locked.key());
            Described { kind, title, inputs, own, action: Action::from(request) }
        }
        Work::Copy { source, found } => {
            let mut inputs = copy::fingerprints(source, found);
            inputs.insert(format!("to {}", source.to), copy_key::options(source));
            let title = format!("copy `{}` to `{}`", source.from, source.to);
            let (kind, own) = (StepKind::Copy, copy_key::key(source, found));
            let action = Action::Copy(CopyAction::new(source, found));
            Described { kind, title, inputs, own, action }
        }
        Work::Provision(provisioning) => {
            let (kind, title) = (StepKind::Provision, provisioning.title());
            let (inputs, own) = (provisioning.inputs(), provisioning.key());
            let action = Action::Provision(provisioning.action());
            Described { kind, title, inputs, own, action }
        }
        Work::Run { command, env, network } => {
            let mut inputs: BTreeMap<String, String> =
                env.iter().map(|(name, value)| (format!("env {name}"), value.clone())).collect();
            inputs.insert("command".to_owned(), command.clone());
            inputs.insert("network".to_owned(), network.to_string());
            let text = serde_json::to_string(&inputs).expect("plain data is always JSON");
            let short: String = command.chars().take(60).collect();
            let more = if short.len() < command.len() { "…" } else { "" };
            let title = format!("run `{short}{more}`");
            let (kind, own) = (StepKind::Run, Digest::of(text.as_bytes()));
            let action =
                Action::Run { command: command.clone(), env: env.clone(), network: *network };
            Described { kind, title, inputs, own, action }
        }
    }
}
