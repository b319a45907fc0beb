//! Rehearsals of rollbacks, and what a stale proof keeps from being rolled out.

use std::sync::Arc;

use hornero_api::message::RehearseRequest;
use hornero_driver::Driver;
use hornero_model::{Actor, Directory, EventBody, ServiceName, ServiceSpec};
use hornero_rollout::{Facts, StartError, World, last_proven, room_for_more, stale_rollback};
use hyper::StatusCode;

use super::{frozen::no_directory, runs::asked};
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    rehearsals::{FRESH_ROLLBACK, RehearsalBegun, Wanted, status},
    request::Caller,
};

/// What is rehearsed of a service, or why nothing is.
fn wanted(world: &World, facts: &Facts, name: &ServiceName) -> Result<Wanted, ApiRefusal> {
    let refused = |code: &str, text: String| Err(ApiRefusal::new(StatusCode::CONFLICT, code, text));
    let set = world.services.get(name).and_then(|service| service.serving.as_ref());
    let Some(set) = set else { return Err(not_found("service", name.as_str())) };
    let Some(number) = last_proven(world, name) else {
        let text = StartError::NothingBefore(name.clone(), set.terms).to_string();
        return refused("nothing_before", text);
    };
    if let Some(rollout) = world.rollout_of(name) {
        let text = format!("rollout {} of `{name}` is under way", rollout.id);
        return refused("rollout_under_way", text);
    }
    let Some(release) = world.release(name, number) else {
        return Err(not_found("release", &format!("{name}@{number}")));
    };
    if !release.spec.mounts.is_empty() {
        let text = format!("`{name}` has a volume, which has one server at a time");
        return refused("holds_volume", text);
    }
    if let Err(no_room) = room_for_more(world, facts, &release.spec, 1) {
        return refused("capacity", no_room.to_string());
    }
    Ok(Wanted { release: release.reference(), server: release.spec.clone() })
}

impl Api {
    /// Begins a rehearsal.
    pub async fn rehearse(&self, caller: Caller, request: RehearseRequest) -> Answer {
        let RehearseRequest { service, intent } = request;
        let lease = self.lease().await?;
        let (room, name) = (self.engine.room(), service.clone());
        let look = move |driver: &Driver| {
            let mut facts = driver.facts().clone();
            facts.room = room;
            wanted(driver.world(), &facts, &name)
        };
        let wanted = self.ask(look).await??;
        let by = asked(caller, intent, "rehearse");
        let rehearsals = Arc::clone(&self.rehearsals);
        let begun = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            rehearsals.begin(by, wanted)
        });
        let refused =
            |code: &str, text: String| Err(ApiRefusal::new(StatusCode::CONFLICT, code, text));
        match begun.await.map_err(ApiRefusal::internal)? {
            RehearsalBegun::Yes(id) => self.rehearsal(id.as_str()).await,
            RehearsalBegun::Running => {
                refused("rehearsal_running", format!("a rehearsal of `{service}` goes on"))
            }
            RehearsalBegun::TooMany => {
                refused("too_many_rehearsals", "as many rehearsals go on as may at once".to_owned())
            }
            RehearsalBegun::Not(why) => Err(ApiRefusal::internal(why)),
        }
    }

    /// Ends rehearsals of these services, or all of them, before they go down.
    pub async fn end_rehearsals(
        &self,
        services: Option<Vec<ServiceName>>,
    ) -> Result<(), ApiRefusal> {
        let rehearsals = Arc::clone(&self.rehearsals);
        let ended = tokio::task::spawn_blocking(move || rehearsals.end(services.as_deref()));
        ended.await.map_err(ApiRefusal::internal)
    }

    /// How a rehearsal stands, while it is the last one of its service.
    pub async fn rehearsal(&self, id: &str) -> Answer {
        let named = id.to_owned();
        let look = move |driver: &Driver| {
            let last = driver.world().rehearsals.values().filter_map(|of| of.last.as_ref());
            let mut last = last.filter(|run| run.rehearsal.id.as_str() == named);
            last.next().map(status)
        };
        let found = self.ask(look).await?;
        json(&found.ok_or_else(|| not_found("rehearsal", id))?)
    }

    /// Refuses to roll out what wants a fresh proof that its service could go back, where there is none; what is overridden
    /// is recorded.
    pub async fn check_fresh_rollback(
        &self,
        by: Actor,
        (directory, services): (Option<Directory>, Vec<ServiceSpec>),
        overridden: bool,
    ) -> Result<(), ApiRefusal> {
        let look = move |driver: &Driver| {
            let (world, facts) = (driver.world(), driver.facts());
            let facts = Facts { now: hornero_model::Timestamp::now(), ..facts.clone() };
            let stale = services.iter().find_map(|spec| stale_rollback(world, &facts, spec));
            stale.map(|stale| (stale.service().clone(), stale.to_string()))
        };
        let Some((service, text)) = self.ask(look).await? else { return Ok(()) };
        if !overridden {
            let refusal = ApiRefusal::new(StatusCode::CONFLICT, FRESH_ROLLBACK, text);
            return Err(refusal.hint(format!(
                "nothing was changed; `hornero rehearse {service}` proves it anew, `hornero up --override \
                 {FRESH_ROLLBACK} --reason …` rolls out all the same"
            )));
        }
        let (guard, directory) = (FRESH_ROLLBACK.to_owned(), directory.ok_or_else(no_directory)?);
        self.record(by, vec![EventBody::GuardOverridden { guard, directory }]).await
    }
}
