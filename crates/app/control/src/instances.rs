//! The engine's instances: those that control finds when it starts, and those that end.

use std::{
    sync::{Arc, mpsc::Sender},
    time::{Duration, Instant},
};

use hornero_driver::{Found, Observation};
use hornero_engine_port::{Engine, InstanceStatus, Started};
use hornero_model::{ExitCause, InstanceId, Location};
use hornero_rollout::World;

use crate::{
    input::Input,
    start::{TEST_RELEASE, log_tail},
};

/// How long a shim may be starting its command when control comes back.
const STARTING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an instance ended; none while it runs, or nobody can tell.
pub fn exit_of(engine: &dyn Engine, id: &InstanceId) -> Option<ExitCause> {
    let listed = engine.list().ok()?;
    match listed.into_iter().find(|instance| instance.id == *id)?.status {
        InstanceStatus::Exited { cause, .. } => Some(cause),
        InstanceStatus::Starting | InstanceStatus::Running(_) => None,
    }
}

/// What the engine has of the driver's; apart from it the servers of tests that an earlier process left, and those of one-off
/// work that has ended, which nobody needs.
pub fn find(engine: &dyn Engine, world: &World) -> anyhow::Result<(Vec<Found>, Vec<InstanceId>)> {
    let deadline = Instant::now() + STARTING_TIMEOUT;
    let instances = loop {
        let instances = engine.list()?;
        let starting = instances.iter().any(|instance| instance.status == InstanceStatus::Starting);
        if !starting || Instant::now() >= deadline {
            break instances;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (mut found, mut over) = (Vec::new(), Vec::new());
    for instance in instances {
        if world.runs.contains_key(&instance.id) {
            continue;
        }
        if instance.release == TEST_RELEASE {
            over.push(instance.id);
            continue;
        }
        let (running, cause) = match instance.status {
            InstanceStatus::Starting => (None, None),
            InstanceStatus::Running(Started { address, place, handle }) => {
                (address.map(|address| Location { address, place, handle }), None)
            }
            InstanceStatus::Exited { cause, .. } => (None, Some(cause)),
        };
        let log_tail = match running {
            Some(_) => Vec::new(),
            None => log_tail(engine, &instance.id),
        };
        found.push(Found { instance: instance.id, running, cause, log_tail });
    }
    Ok((found, over))
}

/// Tells the driver of every instance that ends.
pub fn follow_exits(engine: Arc<dyn Engine>, inputs: Sender<Input>) -> anyhow::Result<()> {
    let exits = engine.exits();
    let engine = Arc::downgrade(&engine);
    std::thread::Builder::new().name("exits".to_owned()).spawn(move || {
        for exit in exits {
            if exit.release == TEST_RELEASE {
                continue;
            }
            let Some(engine) = engine.upgrade() else { return };
            let log_tail = log_tail(&*engine, &exit.id);
            let observation =
                Observation::InstanceExited { instance: exit.id, cause: exit.cause, log_tail };
            if inputs.send(Input::Observe(observation)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
