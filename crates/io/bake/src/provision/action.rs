//! Writes down what a provision did, and makes a provision of that again.

use std::{collections::BTreeMap, fs, path::Path};

use hornero_apt::files;
use hornero_model::Digest;
use hornero_spec::{SecretName, SecretSource};

use super::{Environment, Provisioning, Wanted, Work, files::Files, playbook::Playbook};
use crate::{
    action::{
        CopiedKind, CopyAction, PathBytes, PlaybookAction, ProvisionAction, ProvisionKind,
        SecretOrigin,
    },
    image::copy::FoundKind,
};

/// Contents of playbooks and roles that a record keeps, in all; a record with more could not be read quickly.
const KEPT_BYTES: u64 = 2 << 20;

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
