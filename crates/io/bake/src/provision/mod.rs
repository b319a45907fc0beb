//! `provision` blocks: shell commands, scripts and playbooks as steps of a bake, with secrets that stay out of it.

mod action;
mod agent;
mod ansible;
mod controller;
mod files;
mod needle;
mod playbook;
mod search;
mod secret;
mod tool;

use std::{collections::BTreeMap, path::Path};

use hornero_dpkg::scripts;
use hornero_model::Digest;
use hornero_sandbox::ProvidedFile;
use hornero_spec::{ImageDefinition, Provision, ProvisionWork, SecretSource};

pub(crate) use needle::Cover;
pub use secret::Environment;
use secret::Wanted;
pub(crate) use secret::{Scanned, Secrets};

use self::{files::Files, playbook::Playbook};
use crate::{
    BakeContext, BakeError,
    image::{
        secret_files::SecretFiles,
        step::{Extras, Step},
    },
    making::Making,
    outcome::StepOutcome,
    source::LayerSource,
    surroundings::Surroundings,
    workdir::WorkDir,
};

/// Characters of a command in the title of its step.
const TITLE_LETTERS: usize = 60;
/// The largest script: what the sandbox takes as a provided file.
const SCRIPT_BYTES: u64 = 64 << 10;

/// A provision with everything that goes into it.
pub(crate) struct Provisioning {
    work: Work,
    /// Environment of the image with that of the block over it.
    env: BTreeMap<String, String>,
    network: bool,
    secrets: Vec<Wanted>,
    environment: Environment,
}

/// What it runs.
enum Work {
    Inline(Vec<String>),
    Script { from: String, contents: Vec<u8> },
    Ansible(Playbook),
}

impl Provisioning {
    /// Reads what a provision of an image takes from its directory.
    pub(crate) fn survey(
        context: &BakeContext<'_>,
        image: &ImageDefinition,
        provision: &Provision,
        dir: &Path,
        secrets: &SecretFiles,
    ) -> Result<Self, BakeError> {
        let work = match &provision.work {
            ProvisionWork::Inline(commands) => Work::Inline(commands.clone()),
            ProvisionWork::Script(from) => {
                let contents = files::script(&image.name, dir, from, SCRIPT_BYTES, secrets)?;
                Work::Script { from: from.clone(), contents }
            }
            ProvisionWork::Ansible(ansible) => {
                let copies = context.home.join("cache/copies");
                let (path, files) =
                    Files::beside(&image.name, dir, &ansible.playbook, &copies, secrets)?;
                Work::Ansible(Playbook {
                    path,
                    files,
                    extra_vars: ansible.extra_vars.clone(),
                    groups: ansible.groups.clone(),
                    tool: tool::version(&context.home.join("cache")),
                })
            }
        };
        let mut env = image.config.env.clone();
        env.extend(provision.env.clone());
        let wanted = |name: &hornero_spec::SecretName| {
            let source = match image.secrets.get(name) {
                Some(SecretSource::File(path)) => {
                    SecretSource::File(dir.join(path).to_string_lossy().into_owned())
                }
                Some(SecretSource::Environment(variable)) => {
                    SecretSource::Environment(variable.clone())
                }
                // The parser lets no undeclared one through; whoever makes a definition by hand is told at the step.
                None => SecretSource::Environment(String::new()),
            };
            Wanted { name: name.clone(), source }
        };
        Ok(Self {
            work,
            env,
            network: provision.network,
            secrets: provision.secrets.iter().map(wanted).collect(),
            environment: context.environment.clone(),
        })
    }

    /// What it is, for people.
    pub(crate) fn title(&self) -> String {
        match &self.work {
            Work::Inline(commands) => {
                let text = commands.join("; ");
                let short: String = text.chars().take(TITLE_LETTERS).collect();
                let more = if short.len() < text.len() { "…" } else { "" };
                format!("shell `{short}{more}`")
            }
            Work::Script { from, .. } => format!("shell `{from}`"),
            Work::Ansible(playbook) => format!("ansible `{}`", playbook.files.name(&playbook.path)),
        }
    }

    /// Everything that goes into it, by name. Of secrets only the names: a rotated token bakes nothing anew.
    pub(crate) fn inputs(&self) -> BTreeMap<String, String> {
        let mut inputs: BTreeMap<String, String> =
            self.env.iter().map(|(name, value)| (format!("env {name}"), value.clone())).collect();
        inputs.insert("network".to_owned(), self.network.to_string());
        for secret in &self.secrets {
            inputs.insert(format!("secret {}", secret.name), "by name".to_owned());
        }
        match &self.work {
            Work::Inline(commands) => {
                inputs.insert("inline".to_owned(), commands.join("\n"));
            }
            Work::Script { from, contents } => {
                inputs.insert(from.clone(), Digest::of(contents).short());
            }
            Work::Ansible(playbook) => {
                inputs.extend(playbook.files.fingerprints());
                inputs.insert("ansible-playbook".to_owned(), playbook.tool.clone());
                inputs.insert("groups".to_owned(), playbook.groups.join(", "));
                let vars = playbook.extra_vars.iter();
                inputs.extend(
                    vars.map(|(key, value)| (format!("extra_vars {key}"), value.to_string())),
                );
            }
        }
        inputs
    }

    /// The identity of its inputs.
    pub(crate) fn key(&self) -> Digest {
        let contents = match &self.work {
            Work::Inline(_) => Digest::of(b""),
            Work::Script { contents, .. } => Digest::of(contents),
            Work::Ansible(playbook) => playbook.files.key(),
        };
        let kind = match &self.work {
            Work::Inline(_) => "inline",
            Work::Script { .. } => "script",
            Work::Ansible(_) => "ansible",
        };
        let entry = match &self.work {
            Work::Ansible(playbook) => playbook.path.as_str(),
            Work::Inline(_) | Work::Script { .. } => "",
        };
        let inputs = serde_json::to_string(&self.inputs()).expect("plain data is always JSON");
        Digest::of(format!("{kind}\n{entry}\n{contents}\n{inputs}").as_bytes())
    }

    /// Runs it on the layers made so far.
    pub(crate) fn run(
        &self,
        surroundings: &Surroundings<'_>,
        making: &Making,
        title: &str,
    ) -> Result<StepOutcome, BakeError> {
        let image = &making.name;
        let tree = surroundings.store.tree_of_layers(&making.layers).map_err(BakeError::store)?;
        let secrets = Secrets::read(image, &self.secrets, &self.environment)?;
        let work = WorkDir::create(surroundings.tmp)
            .map_err(|error| BakeError::file(surroundings.tmp, error))?;
        let mut env = scripts::step_environment(making.epoch);
        env.extend(self.env.clone());
        let mut step = Step {
            image,
            title: title.to_owned(),
            script: String::new(),
            env,
            lower: Some(surroundings.composed(&making.layers)?),
            dir: work.path(),
            network: self.network,
            max_bytes: making.max_bytes,
            extras: Extras { files: secrets.files().collect(), secrets, ..Extras::default() },
        };
        let layer = match &self.work {
            Work::Inline(commands) => {
                // A shell that ends at the first failure, as a list of commands is read.
                step.script = format!("set -e\n{}", commands.join("\n"));
                surroundings.run_and_capture(&step, &tree, making.epoch)?
            }
            Work::Script { from, contents } => {
                let path = "/run/hornero/script";
                step.script = files::call(image, from, contents, path)?;
                step.extras.files.push(ProvidedFile::new(path, contents.clone()));
                surroundings.run_and_capture(&step, &tree, making.epoch)?
            }
            Work::Ansible(playbook) => {
                ansible::run(surroundings, playbook, step, &tree, making.epoch)?
            }
        };
        Ok(StepOutcome::of(layer, LayerSource::Provision { title: title.to_owned() }))
    }
}
