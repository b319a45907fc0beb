//! Whether anything is up, and how much.

use hornero_rollout::World;

/// Whether any service is up, one-off work or a rehearsal under way, or a job or schedule to come round.
pub fn serves(world: &World) -> bool {
    !world.runs.is_empty()
        || !world.jobs.is_empty()
        || world.open_rehearsals().next().is_some()
        || !world.schedules.is_empty()
        || world.services.values().any(|service| world.is_there(service))
}

/// What runs, in a line for the service manager.
pub fn summary(world: &World) -> String {
    let services = world.services.values().filter(|service| world.is_there(service)).count();
    match services {
        0 => "nothing to serve".to_owned(),
        1 => "1 service is up".to_owned(),
        many => format!("{many} services are up"),
    }
}
