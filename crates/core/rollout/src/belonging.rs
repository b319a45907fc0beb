//! Whose a service is: the directory that declared it first, until it is taken down there.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{Directory, ServiceName, ServiceSpec, Standing};

use crate::{World, clash_with};

/// A directory that brings up all that it declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The directory.
    pub directory: Directory,
    /// Services of other directories that it takes over.
    pub adopt: BTreeSet<ServiceName>,
    /// Services that it declared before, and that are taken down.
    pub remove: BTreeSet<ServiceName>,
    /// How services stood when this was planned; empty where no plan is carried out.
    pub planned: Vec<Standing>,
}

/// Why a directory may not be brought up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BelongingError {
    /// Another directory declared a service first.
    #[error(
        "`{service}` belongs to `{owner}`, which declared it first; `{directory}` declares one of that name, too"
    )]
    Elsewhere {
        /// The service.
        service: ServiceName,
        /// Whose it is.
        owner: Directory,
        /// Who asks.
        directory: Directory,
    },
    /// A service that is to be taken down is not the directory's, or is declared.
    #[error("`{service}` is no service that `{directory}` declared before and no longer declares")]
    NotRemovable {
        /// The service.
        service: ServiceName,
        /// Who asks.
        directory: Directory,
    },
    /// What a plan was made for changed.
    #[error("the plan is stale: {}", changes.join("; "))]
    Stale {
        /// The first service that changed.
        service: ServiceName,
        /// What changed, a sentence for each service.
        changes: Vec<String>,
    },
}

impl BelongingError {
    /// The service that it is about.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Elsewhere { service, .. }
            | Self::NotRemovable { service, .. }
            | Self::Stale { service, .. } => service,
        }
    }
}

impl World {
    /// The directory that a service belongs to; none where nothing of it is there, or it was made before this was
    /// recorded, or by no directory.
    pub fn owner(&self, service: &ServiceName) -> Option<&Directory> {
        let service = self.services.get(service)?;
        service.directory.as_ref().filter(|_| self.is_there(service))
    }

    /// Services that belong to a directory and are not among `declared`, by name.
    pub fn undeclared(&self, directory: &Directory, declared: &[ServiceSpec]) -> Vec<ServiceName> {
        let is_declared = |name: &ServiceName| declared.iter().any(|spec| spec.name == *name);
        let own = self.services.keys().filter(|name| self.owner(name) == Some(directory));
        own.filter(|name| !is_declared(name)).cloned().collect()
    }

    /// How services stand: those that are declared, and those that belong to the directory and are not.
    pub fn standings(&self, directory: &Directory, declared: &[ServiceSpec]) -> Vec<Standing> {
        let mut names: BTreeSet<ServiceName> =
            declared.iter().map(|spec| spec.name.clone()).collect();
        names.extend(self.undeclared(directory, declared));
        names.into_iter().map(|name| self.standing(name)).collect()
    }

    fn standing(&self, service: ServiceName) -> Standing {
        let of = self.services.get(&service);
        Standing {
            directory: self.owner(&service).cloned(),
            newest: of.and_then(|of| of.newest()).map(|release| release.number),
            serving: of.and_then(|of| of.serving_release()).map(|release| release.number),
            service,
        }
    }
}

/// Whether a directory may bring up `services`, all of them.
pub fn check_belonging(
    world: &World,
    declared: &Declared,
    services: &[ServiceSpec],
) -> Result<(), BelongingError> {
    let directory = &declared.directory;
    for spec in services.iter().filter(|spec| !declared.adopt.contains(&spec.name)) {
        if let Some(owner) = world.owner(&spec.name).filter(|owner| *owner != directory) {
            return Err(BelongingError::Elsewhere {
                service: spec.name.clone(),
                owner: owner.clone(),
                directory: directory.clone(),
            });
        }
    }
    let undeclared = world.undeclared(directory, services);
    let is_there = |name: &&ServiceName| {
        world.services.get(*name).is_some_and(|service| world.is_there(service))
    };
    let remove = declared.remove.iter().filter(is_there);
    if let Some(service) = remove.into_iter().find(|name| !undeclared.contains(name)) {
        let (service, directory) = (service.clone(), directory.clone());
        return Err(BelongingError::NotRemovable { service, directory });
    }
    if declared.planned.is_empty() {
        return Ok(());
    }
    stale(&declared.planned, &world.standings(directory, services))
}

/// What changed since a plan was made.
fn stale(planned: &[Standing], now: &[Standing]) -> Result<(), BelongingError> {
    let by_name = |standings: &[Standing]| -> BTreeMap<ServiceName, Standing> {
        standings.iter().map(|of| (of.service.clone(), of.clone())).collect()
    };
    let (planned, now) = (by_name(planned), by_name(now));
    let names: BTreeSet<&ServiceName> = planned.keys().chain(now.keys()).collect();
    let changed: Vec<&ServiceName> =
        names.into_iter().filter(|name| planned.get(*name) != now.get(*name)).collect();
    let Some(service) = changed.first() else { return Ok(()) };
    let tell = |name: &&ServiceName| {
        format!("{} now, {} then", shown(name, now.get(*name)), state(planned.get(*name)))
    };
    let changes = changed.iter().map(tell).collect();
    Err(BelongingError::Stale { service: (*service).clone(), changes })
}

fn shown(name: &ServiceName, standing: Option<&Standing>) -> String {
    format!("`{name}` {}", state(standing))
}

fn state(standing: Option<&Standing>) -> String {
    let Some(standing) = standing else { return "was not of this directory".to_owned() };
    let serving = match (standing.serving, standing.newest) {
        (Some(serving), Some(newest)) if serving != newest => {
            format!("serves as release {serving}, the newest being {newest}")
        }
        (Some(serving), _) => format!("serves as release {serving}"),
        (None, Some(newest)) => format!("does not serve, its newest release being {newest}"),
        (None, None) => "is not there".to_owned(),
    };
    match &standing.directory {
        Some(directory) => format!("{serving} for `{directory}`"),
        None => serving,
    }
}

/// Of services that are taken down, those that have to go before the rest is brought up: they have ways in that are wanted.
pub fn go_first(
    world: &World,
    remove: &BTreeSet<ServiceName>,
    services: &[ServiceSpec],
) -> BTreeSet<ServiceName> {
    let is_wanted = |name: &&ServiceName| {
        services.iter().any(|spec| clash_with(world, spec, |other| other == *name).is_err())
    };
    remove.iter().filter(is_wanted).cloned().collect()
}
