//! What events of services and their releases do to the world.

use std::collections::BTreeMap;

use hornero_model::{BootId, Release, ReleaseNumber, ServiceName, Timestamp};

use crate::{Leaving, Service, World, makes_same_servers, previews, steps};

/// Starts of the host that are remembered of a service: what somebody asks about is among the last.
const HOST_STARTS: usize = 20;

impl World {
    pub(crate) fn release_proven(
        &mut self,
        service: &ServiceName,
        release: ReleaseNumber,
    ) -> Result<(), String> {
        self.known_release(service, release)?;
        let service = self.service_mut(service)?;
        service.proven.insert(release);
        service.failed.remove(&release);
        let settled = service.serving.as_mut().filter(|set| set.terms == release);
        settled.into_iter().for_each(|set| set.leaving = None);
        Ok(())
    }

    pub(crate) fn service_removed(&mut self, service: &ServiceName) -> Result<(), String> {
        if let Some(instance) = self.instances.of(service).next() {
            return Err(format!("instance `{}` of it is still there", instance.id));
        }
        let service = self.service_mut(service)?;
        service.removed = true;
        service.directory = None;
        service.serving = None;
        service.warm = None;
        service.scaled = None;
        service.scaling = 0;
        Ok(())
    }

    pub(crate) fn service_adjusted(
        &mut self,
        name: &ServiceName,
        terms: ReleaseNumber,
        since: Timestamp,
    ) -> Result<(), String> {
        let service = self.service_mut(name)?;
        let set = service.serving.as_mut().ok_or_else(|| format!("nothing of `{name}` serves"))?;
        let spec = |number| &service.releases[number].spec;
        if !makes_same_servers(spec(&set.release), spec(&terms)) {
            return Err(format!("`{name}@{terms}` makes other servers than those that serve"));
        }
        let is_back = set.leaving.is_some_and(|leaving| leaving.release == terms);
        let before = set.leaving.map_or(set.terms, |leaving| leaving.release);
        set.leaving = (!is_back).then_some(Leaving { release: before, since });
        let left = std::mem::replace(&mut set.terms, terms);
        let (left, to) = (spec(&left).clone(), spec(&terms).clone());
        if left.scale.is_none() {
            service.begin_scaling(&to, left.instances, since);
        }
        Ok(())
    }

    /// What ended with the host failed by no fault of its own, and all of it may be made anew at once.
    pub(crate) fn host_started(&mut self, boot: &BootId, time: Timestamp) {
        self.boot = Some(boot.clone());
        for service in self.services.values_mut() {
            steps::host_started(service);
            service.made.clear();
            service.failures = 0;
            service.last_failure = None;
            service.restoring = 0;
            service.scaling = 0;
            let wanted = service.serving_release().map(|release| service.size_by(&release.spec));
            if let Some(set) = &service.serving {
                service.restoring = wanted.unwrap_or_default();
                if service.host_starts.len() >= HOST_STARTS {
                    service.host_starts.remove(0);
                }
                service.host_starts.push((time, set.terms));
            }
        }
    }

    pub(crate) fn release_created(&mut self, release: &Release) -> Result<(), String> {
        let name = &release.spec.name;
        let next = self.next_release(name);
        if release.number != next {
            return Err(format!(
                "release `{}` is made where `{name}@{next}` comes next",
                release.reference()
            ));
        }
        previews::released(self, release)?;
        let service = self.services.entry(name.clone()).or_insert_with(|| Service {
            name: name.clone(),
            releases: BTreeMap::new(),
            proven: Default::default(),
            served: Default::default(),
            serving: None,
            warm: None,
            last_receipt: None,
            directory: None,
            removed: false,
            made: Vec::new(),
            failures: 0,
            last_failure: None,
            recycle_failures: 0,
            last_recycle_failure: None,
            restoring: 0,
            host_starts: Vec::new(),
            listener_spells: Vec::new(),
            canaries: BTreeMap::new(),
            interventions: BTreeMap::new(),
            failed: BTreeMap::new(),
            shared: None,
            scaled: None,
            scaling: 0,
            made_by_load: Vec::new(),
            steps: BTreeMap::new(),
        });
        service.releases.insert(release.number, release.clone());
        Ok(())
    }
}
