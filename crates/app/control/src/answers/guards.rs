//! What the data guards of a service say.

use std::{collections::BTreeSet, sync::Arc};

use hornero_api::message::GuardsReport;
use hornero_driver::Driver;
use hornero_model::{DataGuard, DataProbe, GuardAnswer, GuardName, ServiceName, ServiceSpec};
use hornero_rollout::{GuardQuestion, World, guard_question};

use hyper::{Request, body::Incoming};

use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    request::whole,
};

/// The guards of the release by which a service serves; none where there is no such service.
fn guards(world: &World, service: &ServiceName) -> Option<Vec<DataGuard>> {
    let of = world.services.get(service).filter(|of| !of.removed)?;
    let terms = of.serving.as_ref().and_then(|set| world.release(service, set.terms));
    Some(terms.or_else(|| of.newest())?.spec.guards.clone())
}

/// The same as two questions, of which neither leaves the other out: commands are else not run where a server refuses.
fn apart(question: GuardQuestion) -> [GuardQuestion; 2] {
    let is_command = |guard: &DataGuard| matches!(guard.probe, DataProbe::Command(_));
    let (commands, others) = question.guards.iter().cloned().partition(is_command);
    [
        GuardQuestion { guards: others, ..question.clone() },
        GuardQuestion { guards: commands, ..question },
    ]
}

impl Api {
    /// Guards that somebody overrides; refused where one is named that none of these services has, as they run or as they come.
    pub async fn overridden(
        &self,
        named: Vec<GuardName>,
        coming: &[ServiceSpec],
        services: Option<Vec<ServiceName>>,
    ) -> Result<BTreeSet<GuardName>, ApiRefusal> {
        let overridden: BTreeSet<GuardName> = named.into_iter().collect();
        if overridden.is_empty() {
            return Ok(overridden);
        }
        let look = move |driver: &Driver| {
            let services = driver.world().services.values().filter(|of| match &services {
                Some(services) => services.contains(&of.name),
                None => true,
            });
            let specs = services.flat_map(|service| {
                let serving = service.serving.as_ref().map(|set| set.terms);
                let newest = service.newest().map(|release| release.number);
                serving.into_iter().chain(newest).filter_map(|number| service.releases.get(&number))
            });
            specs.flat_map(|of| &of.spec.guards).map(|guard| guard.name.clone()).collect()
        };
        let mut known: BTreeSet<GuardName> = self.ask(look).await?;
        known.extend(coming.iter().flat_map(|spec| &spec.guards).map(|guard| guard.name.clone()));
        match overridden.iter().find(|name| !known.contains(*name)) {
            Some(stranger) => Err(not_found("guard", stranger.as_str())),
            None => Ok(overridden),
        }
    }

    /// Asks each guard of a service once.
    pub async fn check_guards(&self, named: &str, request: Request<Incoming>) -> Answer {
        whole(request).await?;
        let missing = || not_found("service", named);
        let service: ServiceName = named.parse().map_err(|_| missing())?;
        let name = service.clone();
        let look = move |driver: &Driver| {
            let guards = guards(driver.world(), &name)?;
            let declared = guards.iter().map(|guard| guard.name.clone()).collect();
            Some((declared, guard_question(driver.world(), driver.facts(), &name, guards)))
        };
        let (declared, question) = self.ask(look).await?.ok_or_else(missing)?;
        let asking = Arc::clone(&self.guards);
        let answers: Vec<GuardAnswer> = match question {
            Some(question) => {
                let ask = move || apart(question).iter().flat_map(|one| asking(one)).collect();
                tokio::task::spawn_blocking(ask).await.map_err(ApiRefusal::internal)?
            }
            None => Vec::new(),
        };
        json(&GuardsReport { service, declared, answers })
    }
}
