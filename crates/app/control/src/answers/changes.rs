//! What changes what runs: from plan to take-down.

use std::{collections::BTreeSet, sync::Arc};

use hornero_api::message::{
    ApplyRequest, CancelRequest, DownRequest, Intent, PlanRequest, RecycleRequest, RollbackRequest,
    SteerRequest,
};
use hornero_driver::{Driver, RequestKind};
use hornero_model::{Actor, GuardName, InstanceId, Role, ServiceName, ServiceSpec, StepRuling};
use hornero_rollout::{Declared, World, check_belonging};
use hyper::StatusCode;

use super::operation::{BeginOptions, word};
use super::runs::asked;
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    belonging, cancel,
    operations::Held,
    report,
    request::Caller,
    start::Starter,
};

/// What is recycled where `object` is a service or an instance that serves, and what it is made from.
fn recycled(world: &World, object: &str) -> Option<(RequestKind, ServiceSpec)> {
    let instance = InstanceId::new(object).ok().filter(|id| world.instances.contains_key(id));
    let service = match &instance {
        Some(id) => world.instances[id].service.clone(),
        None => ServiceName::new(object).ok()?,
    };
    let set = world.services.get(&service)?.serving.as_ref()?;
    if instance.as_ref().is_some_and(|id| !set.instances.contains(id)) {
        return None;
    }
    let spec = world.release(&service, set.release)?.spec.clone();
    Some((RequestKind::Recycle { service, instance }, spec))
}

impl Api {
    /// What an apply would change.
    pub async fn plan(&self, wanted: PlanRequest) -> Answer {
        self.calls.look(&self.inputs).await;
        let (room, calls) = (self.engine.room(), Arc::clone(&self.calls.book));
        let look = move |driver: &Driver| {
            let mut facts = driver.facts().clone();
            facts.room = room;
            let mut plan = report::plan(&wanted, driver.world(), &facts, driver.churn());
            plan.undeclared_calls = calls.undeclared(&wanted.services, driver.world());
            plan
        };
        json(&self.ask(look).await?)
    }

    /// Brings what is declared.
    pub async fn apply(&self, caller: Caller, wanted: ApplyRequest) -> Answer {
        let ApplyRequest { services, directory, adopt, remove, planned, .. } = wanted;
        let (retry_failed, overrides, intent) =
            (wanted.retry_failed, wanted.overrides, wanted.intent);
        let unproven = wanted.override_fresh_rollback;
        let overrides_some = unproven
            || !overrides.is_empty()
            || !wanted.override_guards.is_empty()
            || wanted.steps.values().any(|ruling| *ruling == StepRuling::Done);
        if overrides_some {
            caller.needs(Role::Breaker, "to override what protects")?;
        }
        let lease = self.lease().await?;
        let declared = directory.map(|directory| Declared {
            directory,
            adopt: adopt.into_iter().collect(),
            remove: remove.into_iter().collect(),
            planned,
        });
        // Said before anything is begun; the driver looks again when its turn comes.
        if let Some(declared) = declared.clone() {
            let services = services.clone();
            let checked =
                self.ask(move |driver| check_belonging(driver.world(), &declared, &services));
            checked.await?.map_err(|error| belonging::refusal(&error))?;
        }
        self.accept(services.clone(), Starter::accept).await?;
        let overridden = self.overridden(wanted.override_guards, &services, None).await?;
        let rulings = wanted.steps;
        let by = asked(caller.clone(), intent.clone(), "up");
        let directory = declared.as_ref().map(|declared| declared.directory.clone());
        let names = services.iter().map(|service| service.name.clone()).collect();
        self.check_frozen(by.clone(), (directory.clone(), names), overrides).await?;
        self.check_fresh_rollback(by, (directory, services.clone()), unproven).await?;
        let held = Held::new(lease, services.iter().map(|service| &service.name));
        let kind = match declared {
            Some(declared) => RequestKind::Bring { declared: Box::new(declared), services },
            None => RequestKind::Apply { services },
        };
        self.begin_again(
            caller,
            intent,
            kind,
            Some(held),
            BeginOptions { retry_failed, overridden, rulings },
        )
    }

    /// Goes back to a release that was proven.
    pub async fn rollback(&self, caller: Caller, wanted: RollbackRequest) -> Answer {
        let RollbackRequest { service, to, override_guards, intent } = wanted;
        if !override_guards.is_empty() {
            caller.needs(Role::Breaker, "to override guards")?;
        }
        let overridden = self.overridden(override_guards, &[], Some(vec![service.clone()])).await?;
        let lease = self.lease().await?;
        let target = self.target(service.clone(), to).await?;
        self.accept(target, Starter::accept_again).await?;
        let held = Held::new(lease, std::iter::once(&service));
        let kind = RequestKind::Rollback { service, to };
        self.begin_again(
            caller,
            intent,
            kind,
            Some(held),
            BeginOptions { overridden, ..BeginOptions::default() },
        )
    }

    /// Takes services down; one of them by force where that is asked for.
    pub async fn take_down(&self, caller: Caller, wanted: DownRequest) -> Answer {
        let DownRequest { services, force, override_guards, intent } = wanted;
        if force || !override_guards.is_empty() {
            caller.needs(Role::Breaker, "to take down by force or over guards")?;
        }
        match (force, services.as_deref()) {
            (false, _) => {
                let overridden = self.overridden(override_guards, &[], services.clone()).await?;
                self.down(caller, intent, services, overridden).await
            }
            (true, Some([service])) => self.end(caller, intent, service.clone()).await,
            (true, _) => Err(ApiRefusal::new(
                StatusCode::BAD_REQUEST,
                "not_one_service",
                "only one service at a time is taken down by force".to_owned(),
            )),
        }
    }

    /// Replaces servers by new ones of the same release.
    pub async fn recycle(&self, caller: Caller, wanted: RecycleRequest) -> Answer {
        let RecycleRequest { object, intent } = wanted;
        let named = object.clone();
        let found = self.ask(move |driver| recycled(driver.world(), &named)).await?;
        let Some((kind, spec)) = found else { return Err(not_found("server", &object)) };
        self.accept(vec![spec], Starter::accept_again).await?;
        // What runs is all that it touches.
        self.begin(caller, intent, kind, None)
    }

    /// Cancels what is under way for a service.
    pub async fn cancel(&self, caller: Caller, wanted: CancelRequest) -> Answer {
        let CancelRequest { service, intent } = wanted;
        let under_way = self.ask(Driver::cancellable).await?;
        let service = cancel::chosen(service, &under_way, "cancel")?;
        self.begin(caller, intent, RequestKind::Cancel { service }, None)
    }

    /// Pauses a rollout, lets it go on, brings it to its end, or has it undone.
    pub async fn steer(&self, caller: Caller, wanted: SteerRequest) -> Answer {
        let SteerRequest { service, steer, intent } = wanted;
        let under_way = self.ask(Driver::steerable).await?;
        let command = format!("rollout {}", word(steer));
        let service = cancel::chosen(service, &under_way, &command)?;
        self.begin(caller, intent, RequestKind::Steer { service, steer }, None)
    }

    async fn down(
        &self,
        caller: Caller,
        intent: Intent,
        services: Option<Vec<ServiceName>>,
        overridden: BTreeSet<GuardName>,
    ) -> Answer {
        let up: Vec<ServiceName> = self
            .ask(|driver| {
                let services = driver.world().services.values();
                let there = services.filter(|service| {
                    !service.removed || driver.world().rollout_of(&service.name).is_some()
                });
                there.map(|service| service.name.clone()).collect()
            })
            .await?;
        let by = Actor { who: caller.user.clone(), why: "down".to_owned(), commit: None };
        let asked = services.clone().unwrap_or_else(|| up.clone());
        let going: Vec<ServiceName> = asked.into_iter().filter(|name| up.contains(name)).collect();
        self.end_runs(by, services.clone(), going.clone()).await?;
        self.end_rehearsals(services).await?;
        let services = going;
        // An empty list means every service to the driver; nothing to do is answered by an empty apply.
        let kind = match services.is_empty() {
            true => RequestKind::Apply { services: Vec::new() },
            false => RequestKind::Down { services },
        };
        // What runs is all that it touches, and that no collection takes.
        self.begin_again(
            caller,
            intent,
            kind,
            None,
            BeginOptions { overridden, ..BeginOptions::default() },
        )
    }

    /// Takes one service down before everything else that waits.
    async fn end(&self, caller: Caller, intent: Intent, service: ServiceName) -> Answer {
        let name = service.clone();
        let known = self
            .ask(move |driver| driver.world().services.get(&name).is_some_and(|of| !of.removed))
            .await?;
        if !known {
            return Err(not_found("service", service.as_str()));
        }
        let by = Actor { who: caller.user.clone(), why: "down by force".to_owned(), commit: None };
        self.end_runs(by, Some(vec![service.clone()]), Vec::new()).await?;
        self.end_rehearsals(Some(vec![service.clone()])).await?;
        self.begin(caller, intent, RequestKind::End { service }, None)
    }
}
