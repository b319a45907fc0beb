//! What events of instances do to the world.

use hornero_model::{
    Event, EventBody, ExitCause, InstanceId, InstanceState, Millis, RegionName, ReleaseNumber,
    ServiceName, Timestamp,
};

use crate::{Instance, World, recycle};

/// An instance that served this long was no early failure: the count of failures begins anew after it.
const LIVED_LONG: Millis = Millis(600_000);
/// Budgets look back one hour; what is older is forgotten.
const HOUR: Millis = Millis(3_600_000);

impl World {
    /// An instance was made, or is in another state.
    pub(crate) fn fold_instance(&mut self, event: &Event) -> Result<(), String> {
        let EventBody::InstanceChanged { instance, service, release, state, cause, region } =
            &event.body
        else {
            return Ok(());
        };
        self.known_release(service, *release)?;
        if *state == InstanceState::Created {
            let made = (event.time, Self::is_own(&event.by));
            self.instance_created(instance, service, *release, region, made)
        } else {
            self.instance_changed(instance, *state, cause.as_ref(), event.time)
        }
    }

    fn instance_created(
        &mut self,
        id: &InstanceId,
        service_name: &ServiceName,
        release: ReleaseNumber,
        region: &RegionName,
        (time, own): (Timestamp, bool),
    ) -> Result<(), String> {
        if self.instances.contains_key(id) {
            return Err(format!("instance `{id}` is made a second time"));
        }
        let of_rollout =
            self.rollout_of(service_name).is_some_and(|rollout| rollout.set.contains(id));
        let service = self.service_mut(service_name)?;
        if !of_rollout {
            match &mut service.serving {
                Some(set) if set.release == release => {
                    set.instances.insert(id.clone());
                }
                Some(_) | None => {
                    return Err(format!(
                        "instance `{id}` belongs to no rollout, and `{service_name}@{release}` does not serve"
                    ));
                }
            }
        }
        service.made.retain(|(made, _)| time.since(*made) < HOUR);
        let restored = own && service.restoring > 0;
        service.restoring -= u32::from(restored);
        let for_load = service.makes_for_load(time, own && !restored);
        service.made.push((time, own && !restored && !for_load));
        let instance = Instance {
            id: id.clone(),
            service: service_name.clone(),
            release,
            state: InstanceState::Created,
            cause: None,
            created: time,
            since: time,
            recycle: None,
            quarantine: None,
            touched: None,
            region: region.clone(),
        };
        self.instances.insert(instance);
        Ok(())
    }

    fn instance_changed(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        cause: Option<&ExitCause>,
        time: Timestamp,
    ) -> Result<(), String> {
        let instance =
            self.instances.get_mut(id).ok_or_else(|| format!("there is no instance `{id}`"))?;
        let before = instance.state;
        if !may_become(before, state) {
            return Err(format!("instance `{id}` is {before} and can't become {state}"));
        }
        instance.state = state;
        instance.since = time;
        instance.cause = cause.cloned().or_else(|| instance.cause.take());
        let (name, created) = (instance.service.clone(), instance.created);
        let recycled = instance.recycle.is_some();
        let with_host = instance.cause == Some(ExitCause::HostRestarted);
        if state == InstanceState::Archived {
            self.instances.remove(id);
        }
        let service = self.service_mut(&name)?;
        let left = match state {
            InstanceState::Failed | InstanceState::Stopped | InstanceState::Archived => true,
            // A warm instance drains when its time is up; it is never used again.
            InstanceState::Draining => before == InstanceState::Ready,
            InstanceState::Created
            | InstanceState::Starting
            | InstanceState::Probing
            | InstanceState::Ready
            | InstanceState::Serving => false,
        };
        if !left {
            return Ok(());
        }
        if let Some(warm) = &mut service.warm {
            warm.instances.remove(id);
            if warm.instances.is_empty() {
                service.warm = None;
            }
        }
        let served = service.serving.as_mut().is_some_and(|set| set.instances.remove(id));
        if served && recycled && state == InstanceState::Stopped {
            service.recycle_failures = 0;
            service.last_recycle_failure = None;
        }
        let replacement = recycle::failed_replacement(self, &self.services[&name], before);
        let service = self.service_mut(&name)?;
        if served && state == InstanceState::Failed && replacement {
            service.recycle_failures += 1;
            service.last_recycle_failure = Some(time);
        } else if served && state == InstanceState::Failed && !with_host {
            let early = time.since(created) < LIVED_LONG;
            service.failures = if early { service.failures + 1 } else { 1 };
            service.last_failure = Some(time);
        }
        Ok(())
    }
}

/// Whether an instance in one state may enter the other.
fn may_become(from: InstanceState, to: InstanceState) -> bool {
    use InstanceState::{
        Archived, Created, Draining, Failed, Probing, Ready, Serving, Starting, Stopped,
    };
    match from {
        Created => matches!(to, Starting | Probing | Ready | Serving | Failed | Stopped),
        Starting => matches!(to, Probing | Ready | Serving | Failed | Stopped),
        Probing => matches!(to, Ready | Serving | Failed | Stopped),
        Ready => matches!(to, Serving | Draining | Failed | Stopped),
        Serving => matches!(to, Draining | Failed | Stopped),
        Draining => matches!(to, Ready | Serving | Failed | Stopped),
        Stopped | Failed => matches!(to, Archived),
        Archived => false,
    }
}
