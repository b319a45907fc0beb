//! Servers that are kept for somebody to look at.

use hornero_api::message::{QuarantineRequest, ReleaseRequest};
use hornero_driver::{Driver, Observation};
use hornero_model::{EventBody, InstanceId, InstanceState, Millis, ServiceName, Timestamp};
use hornero_rollout::{Facts, World, room_for_more};
use hyper::StatusCode;

use super::runs::asked;
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    input::Input,
    quarantines::{self, one},
    request::Caller,
};

/// Servers that are kept at once: each takes the memory of one that serves.
const QUARANTINED_MAX: usize = 8;
/// The longest that one is kept: what nobody looked at for a week nobody will.
const KEEP_MAX: Millis = Millis(7 * 24 * 3_600_000);
/// The shortest.
const KEEP_MIN: Millis = Millis(1_000);

/// Whether a server may be taken out; its service.
fn checked(world: &World, facts: &Facts, id: &InstanceId) -> Result<ServiceName, ApiRefusal> {
    let refused = |code: &str, text: String| Err(ApiRefusal::new(StatusCode::CONFLICT, code, text));
    let Some(instance) = world.instances.get(id) else {
        return Err(not_found("instance", id.as_str()));
    };
    let service = &instance.service;
    if instance.quarantine.is_some() {
        return refused("quarantined_already", format!("`{id}` is quarantined already"));
    }
    let serving = world.services.get(service).and_then(|of| of.serving.as_ref());
    let serves = serving.is_some_and(|set| set.instances.contains(id));
    if !serves || instance.state != InstanceState::Serving {
        return refused("not_serving", format!("`{id}` is {}, and does not serve", instance.state));
    }
    let Some(spec) = world.spec_of(id) else { return Err(not_found("instance", id.as_str())) };
    if spec.holds_volumes() {
        let text = format!("`{id}` has a volume, which the server in its place would need");
        return refused("holds_volume", text);
    }
    let kept = world.instances.values().filter(|of| of.quarantine.is_some());
    if kept.count() >= QUARANTINED_MAX {
        let text = format!("{QUARANTINED_MAX} servers are quarantined already");
        return refused("too_many_quarantined", text);
    }
    match room_for_more(world, facts, spec, 1) {
        Err(no_room) => refused("capacity", no_room.to_string()),
        Ok(()) => Ok(service.clone()),
    }
}

impl Api {
    /// Takes a server out of traffic and keeps it.
    pub async fn quarantine(&self, caller: Caller, request: QuarantineRequest) -> Answer {
        let QuarantineRequest { instance, keep, intent } = request;
        if !(KEEP_MIN..=KEEP_MAX).contains(&keep) {
            let text = format!("a server is kept from {KEEP_MIN} to {KEEP_MAX}, not {keep}");
            return Err(ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text));
        }
        let (room, id) = (self.engine.room(), instance.clone());
        let look = move |driver: &Driver| {
            let facts = Facts { now: Timestamp::now(), ..driver.facts().clone() };
            let mut facts = facts;
            facts.room = room;
            checked(driver.world(), &facts, &id)
        };
        let service = self.ask(look).await??;
        let until = Timestamp::now().after(keep);
        let by = asked(caller, intent, "quarantine");
        let body = EventBody::InstanceQuarantined { instance: instance.clone(), service, until };
        self.record(by, vec![body]).await?;
        self.act_now()?;
        self.quarantined(&instance).await
    }

    /// Every server that is kept.
    pub async fn quarantines(&self) -> Answer {
        let now = Timestamp::now();
        let look =
            move |driver: &Driver| quarantines::shown(driver.world(), Some(driver.facts()), now);
        json(&self.ask(look).await?)
    }

    /// Lets a server go that is kept.
    pub async fn release_quarantine(
        &self,
        caller: Caller,
        id: &str,
        request: ReleaseRequest,
    ) -> Answer {
        let missing = || not_found("quarantine", id);
        let instance = InstanceId::new(id).map_err(|_| missing())?;
        let of = instance.clone();
        let look = move |driver: &Driver| {
            let instance = driver.world().instances.get(&of)?;
            instance.quarantine.as_ref()?;
            let status = one(instance, Some(driver.facts()), Timestamp::now())?;
            Some((instance.service.clone(), status))
        };
        let (service, status) = self.ask(look).await?.ok_or_else(missing)?;
        let by = asked(caller, request.intent, "quarantine release");
        self.record(by, vec![EventBody::QuarantineEnded { instance, service }]).await?;
        self.act_now()?;
        json(&status)
    }

    async fn quarantined(&self, id: &InstanceId) -> Answer {
        let of = id.clone();
        let look = move |driver: &Driver| {
            one(driver.world().instances.get(&of)?, Some(driver.facts()), Timestamp::now())
        };
        json(&self.ask(look).await?.ok_or_else(|| not_found("quarantine", id.as_str()))?)
    }

    /// What was recorded has followed at once, and not with the next look at the clock.
    fn act_now(&self) -> Result<(), ApiRefusal> {
        self.inputs.send(Input::Observe(Observation::Tick)).map_err(ApiRefusal::internal)
    }
}
