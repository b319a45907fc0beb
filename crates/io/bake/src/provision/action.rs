//! What a provision did, written down so that it can be done again without the directory it was read from.

use std::{collections::BTreeMap, fs, path::Path};

use hornero_apt::files;
use hornero_model::Digest;
use hornero_spec::{SecretName, SecretSource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Environment, Playbook, Provisioning, Wanted, Work, files::Files};
use crate::{
    action::{CopiedKind, CopyAction, PathBytes},
    image::copy::FoundKind,
};

/// Contents of playbooks and roles that a record keeps, in all; a record with more could not be read quickly.
const KEPT_BYTES: u64 = 2 << 20;

/// A provision as it ran. Of secrets it tells where their values came from, not what they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProvisionAction {
    /// What ran.
    pub work: ProvisionKind,
    /// Its environment, that of the image included.
    pub env: BTreeMap<String, String>,
    /// Whether it had a network: what it gives may then differ from time to time.
    pub network: bool,
    /// Its secrets, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretOrigin>,
}

/// Where the value of a secret came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretOrigin {
    /// An environment variable.
    Env(String),
    /// A file, absolute.
    File(String),
}

/// What a provision ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "provision", rename_all = "snake_case")]
pub enum ProvisionKind {
    /// Commands.
    Inline {
        /// The commands.
        commands: Vec<String>,
    },
    /// A script.
    Script {
        /// Its path below the directory.
        from: String,
        /// Its contents.
        contents: PathBytes,
    },
    /// A playbook.
    Ansible(PlaybookAction),
}

/// A playbook with what it may read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlaybookAction {
    /// Its path below its files.
    pub playbook: String,
    /// Where the files were, below the directory of `hornero.hcl`.
    pub base: String,
    /// The files.
    pub files: Vec<CopyAction>,
    /// Their contents; None where they are too large to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<BTreeMap<Digest, PathBytes>>,
    /// Variables over all others.
    pub extra_vars: BTreeMap<String, serde_json::Value>,
    /// Groups of the inventory.
    pub groups: Vec<String>,
    /// The versions of Ansible and its Python.
    pub tool: String,
}

impl Provisioning {
    /// What is written down of it.
    pub(crate) fn action(&self) -> ProvisionAction {
        let work = match &self.work {
            Work::Inline(commands) => ProvisionKind::Inline { commands: commands.clone() },
            Work::Script { from, contents } => {
                ProvisionKind::Script { from: from.clone(), contents: PathBytes::of(contents) }
            }
            Work::Ansible(playbook) => ProvisionKind::Ansible(PlaybookAction::of(playbook)),
        };
        let secrets = self.secrets.iter().map(|wanted| {
            let origin = match &wanted.source {
                SecretSource::Environment(variable) => SecretOrigin::Env(variable.clone()),
                SecretSource::File(path) => SecretOrigin::File(path.clone()),
            };
            (wanted.name.to_string(), origin)
        });
        ProvisionAction {
            work,
            env: self.env.clone(),
            network: self.network,
            secrets: secrets.collect(),
        }
    }
}

impl PlaybookAction {
    fn of(playbook: &Playbook) -> Self {
        let files: Vec<CopyAction> = playbook
            .files
            .parts()
            .iter()
            .map(|(source, found)| CopyAction::new(source, found))
            .collect();
        Self {
            playbook: playbook.path.clone(),
            base: playbook.files.base().to_owned(),
            contents: contents(playbook),
            files,
            extra_vars: playbook.extra_vars.clone(),
            groups: playbook.groups.clone(),
            tool: playbook.tool.clone(),
        }
    }
}

/// The contents of a playbook's files; None where they are too many, or no longer what they were.
fn contents(playbook: &Playbook) -> Option<BTreeMap<Digest, PathBytes>> {
    let mut kept = BTreeMap::new();
    let mut left = KEPT_BYTES;
    for one in playbook.files.parts().iter().flat_map(|(_, found)| found) {
        let FoundKind::File { host, digest, size, .. } = &one.kind else { continue };
        left = left.checked_sub(*size)?;
        let bytes = files::read_file(host, *size).ok()?;
        if Digest::of(&bytes) != *digest {
            return None;
        }
        kept.insert(*digest, PathBytes::of(&bytes));
    }
    Some(kept)
}

impl ProvisionAction {
    /// What of it happens on the host itself, in words: who only sends a record may not ask for it. None where all of
    /// it happens in the sandbox of a step.
    pub(crate) fn leaves_the_sandbox(&self) -> Option<String> {
        if !self.secrets.is_empty() {
            let names: Vec<String> = self.secrets.keys().map(|name| format!("`{name}`")).collect();
            return Some(format!("secrets {} of this host would be read for it", names.join(", ")));
        }
        match &self.work {
            ProvisionKind::Ansible(_) => Some("its playbook would run on this host".to_owned()),
            ProvisionKind::Inline { .. } | ProvisionKind::Script { .. } => None,
        }
    }

    /// The provision as it was; files are laid out in `place`. The error is what keeps it from being done again.
    pub(crate) fn again(
        &self,
        place: &Path,
        environment: &Environment,
    ) -> Result<Provisioning, String> {
        let work = match &self.work {
            ProvisionKind::Inline { commands } => Work::Inline(commands.clone()),
            ProvisionKind::Script { from, contents } => {
                Work::Script { from: from.clone(), contents: contents.as_bytes().to_owned() }
            }
            ProvisionKind::Ansible(playbook) => Work::Ansible(playbook.again(place)?),
        };
        let wanted = |(name, origin): (&String, &SecretOrigin)| {
            let source = match origin {
                SecretOrigin::Env(variable) => SecretSource::Environment(variable.clone()),
                SecretOrigin::File(path) => SecretSource::File(path.clone()),
            };
            let name = SecretName::new(name).ok_or_else(|| format!("`{name}` is no secret"))?;
            Ok::<_, String>(Wanted { name, source })
        };
        Ok(Provisioning {
            work,
            env: self.env.clone(),
            network: self.network,
            secrets: self.secrets.iter().map(wanted).collect::<Result<_, _>>()?,
            environment: environment.clone(),
        })
    }
}

impl PlaybookAction {
    fn again(&self, place: &Path) -> Result<Playbook, String> {
        let contents = self.contents.as_ref().ok_or_else(|| {
            format!("its files are over {} MiB, which no record keeps", KEPT_BYTES >> 20)
        })?;
        let wanted = self.files.iter().flat_map(|part| &part.found);
        for one in wanted {
            let CopiedKind::File { digest, .. } = &one.kind else { continue };
            let bytes = contents.get(digest).ok_or("its record lacks a file")?;
            // Laid out as a store's objects are, where the files of a copy are looked for.
            let hex = digest.hex();
            let file = place.join(&hex[..2]).join(&hex[2..]);
            fs::create_dir_all(file.parent().unwrap_or(place))
                .and_then(|()| fs::write(&file, bytes.as_bytes()))
                .map_err(|error| format!("`{}` cannot be written: {error}", file.display()))?;
        }
        let parts = self.files.iter().map(|part| part.again(place)).collect();
        Ok(Playbook {
            path: self.playbook.clone(),
            files: Files::again(parts, self.base.clone()),
            extra_vars: self.extra_vars.clone(),
            groups: self.groups.clone(),
            tool: self.tool.clone(),
        })
    }
}
