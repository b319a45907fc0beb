//! What holds of the rules now, by what control knows.

use std::{collections::BTreeMap, path::Path};

use hornero_driver::Driver;
use hornero_model::{
    Digest, GuardAnswer, GuardVerdict, Health, InstanceState, Millis, ScheduleResult, ServiceName,
    Timestamp,
};
use hornero_rollout::{RepairState, Service, World};

use super::{
    rules::{
        API_FAULT, AlertRule, BUDGET_NEAR, BUDGET_REACHED, CRASH_LOOP, DISK_NEARLY_FULL,
        GUARD_REFUSING, JOURNAL_FAULT, LISTENER_FAULT, ROLLOUT_FAILED, SCHEDULE_FAILED,
        SERVERS_MISSING, SERVICE_HALTED, SETTINGS_FAULT, STALE_BASE, STALE_PROOF, WITNESS_FAULT,
    },
    states::Condition,
};

/// What an alert is about that is of no service.
const HOME: &str = "home";
/// A budget is nearly used up when so many hundredths of it are.
const NEAR_PERCENT: u64 = 80;
/// A base is stale when it came into the home so long ago.
const BASE_AGE: Millis = Millis(30 * 24 * 3_600_000);
/// How long a guard's answer says how it stands now.
const RECENT: Millis = Millis(15_000);
/// A disk is nearly full when less than so many hundredths are free.
const FREE_PERCENT: u64 = 10;

/// What holds by what control itself sees.
#[derive(Debug, Clone, Default)]
pub struct OwnFaults {
    /// Why nothing can be written to the ledger.
    pub journal: Option<String>,
    /// Why other settings hold than the file has.
    pub settings: Option<String>,
    /// Why the witness does not take heads.
    pub witness: Option<String>,
    /// Why the API is not reached somewhere.
    pub api: Option<String>,
}

fn condition(rule: &'static AlertRule, object: impl ToString, summary: String) -> Condition {
    Condition { rule, object: object.to_string(), summary }
}

/// What holds of control itself.
pub fn of_control(faults: OwnFaults) -> Vec<Condition> {
    let OwnFaults { journal, settings, witness, api } = faults;
    let rules = [
        (&JOURNAL_FAULT, journal),
        (&SETTINGS_FAULT, settings),
        (&WITNESS_FAULT, witness),
        (&API_FAULT, api),
    ];
    let holds = rules.into_iter().filter_map(|(rule, fault)| Some((rule, fault?)));
    holds.map(|(rule, fault)| condition(rule, HOME, fault)).collect()
}

/// What holds of the file system of a home: of its bytes, or of its files.
pub fn of_disk(home: &Path) -> Vec<Condition> {
    let Ok(found) = rustix::fs::statvfs(home) else { return Vec::new() };
    let nearly = |free: u64, all: u64| {
        // Some file systems have no bound on files.
        all > 0 && free.saturating_mul(100) < all.saturating_mul(FREE_PERCENT)
    };
    let bytes = nearly(found.f_bavail, found.f_blocks);
    let files = nearly(found.f_favail, found.f_files);
    let free = found.f_bavail.saturating_mul(found.f_frsize) >> 20;
    let summary = match (bytes, files) {
        (true, _) => format!("{free} MiB of `{}` are free", home.display()),
        (false, true) => format!("{} more files fit on `{}`", found.f_favail, home.display()),
        (false, false) => return Vec::new(),
    };
    vec![condition(&DISK_NEARLY_FULL, HOME, summary)]
}

/// What holds of the services.
pub fn of_services(driver: &Driver, now: Timestamp) -> Vec<Condition> {
    let world = driver.world();
    let there = world.services.values().filter(|service| world.is_there(service));
    let there: Vec<&Service> = there.filter(|service| service.name.preview().is_none()).collect();
    let bases = bases(world);
    let mut found: Vec<Condition> =
        there.iter().flat_map(|service| of_service(driver, service, &bases, now)).collect();
    found.extend(near(driver, None, now));
    found.extend(servers_missing(driver, &there));
    let faults = driver.edge().map(|edge| edge.faults.as_slice()).unwrap_or_default();
    found.extend(
        faults.iter().map(|fault| condition(&LISTENER_FAULT, fault.address, fault.reason.clone())),
    );
    found.extend(schedules(world));
    found.extend(refusing(driver, now));
    found
}

/// Guards that keep something from going on now.
fn refusing(driver: &Driver, now: Timestamp) -> Vec<Condition> {
    let recent = driver.facts().guards.values().filter(|seen| now.since(seen.at) <= RECENT);
    let refuses = |answer: &&GuardAnswer| answer.verdict != GuardVerdict::Passes;
    let refused = recent.flat_map(|seen| &seen.answers).filter(refuses);
    let told = refused.map(|answer| {
        let instance = answer.instance.as_ref();
        let known = instance.and_then(|instance| driver.world().instances.get(instance));
        let object = known.map_or_else(|| answer.guard.to_string(), |of| of.service.to_string());
        condition(&GUARD_REFUSING, object, format!("guard `{}`: {}", answer.guard, answer.seen))
    });
    told.collect()
}

fn of_service(
    driver: &Driver,
    service: &Service,
    bases: &BTreeMap<Digest, Timestamp>,
    now: Timestamp,
) -> Vec<Condition> {
    let (world, name) = (driver.world(), &service.name);
    let mut found: Vec<Condition> = near(driver, Some(name), now).into_iter().collect();
    if let Some(stopped) = driver.churn().stopped(name) {
        found.push(condition(&BUDGET_REACHED, name, stopped.breach.to_string()));
    }
    let gave_up = match driver.repair_state(name) {
        Some(RepairState::GaveUp { failures }) => {
            Some(format!("{failures} servers failed in a row"))
        }
        Some(RepairState::Whole | RepairState::Repairing { .. } | RepairState::Held) | None => None,
    };
    let alike = || service.shared.as_ref().map(|shared| shared.reason(name));
    found.extend(gave_up.or_else(alike).map(|text| condition(&CRASH_LOOP, name, text)));
    let newest = service.newest().map(|release| release.number);
    if let Some(failed) = newest.and_then(|number| service.failed.get(&number)) {
        found.push(condition(&ROLLOUT_FAILED, name, failed.failure.reason.clone()));
    }
    let rollout = world.rollout_of(name);
    let halted = rollout.and_then(|rollout| driver.facts().halted.get(&rollout.id));
    found.extend(halted.map(|halt| condition(&SERVICE_HALTED, name, halt.reason.clone())));
    let base = service.serving_release().and_then(|release| release.spec.base);
    if let Some(days) = base.and_then(|base| days(*bases.get(&base)?, now)) {
        found.push(condition(&STALE_BASE, name, format!("its base came {days} days ago")));
    }
    found.extend(stale_proof(world, service, now).map(|text| condition(&STALE_PROOF, name, text)));
    found
}

/// When each base came into the home.
fn bases(world: &World) -> BTreeMap<Digest, Timestamp> {
    let mut came = BTreeMap::new();
    for release in world.services.values().flat_map(|service| service.releases.values()) {
        let Some(base) = release.spec.base else { continue };
        let first = came.entry(base).or_insert(release.created);
        *first = release.created.min(*first);
    }
    came
}

/// How many days ago something came, where that is long ago.
fn days(came: Timestamp, now: Timestamp) -> Option<u64> {
    let age = now.since(came);
    (age > BASE_AGE).then_some(age.0 / (24 * 3_600_000))
}

fn stale_proof(world: &World, service: &Service, now: Timestamp) -> Option<String> {
    let wanted = service.serving_release()?.spec.require_fresh_rollback?;
    let rehearsed = world.rehearsals.get(&service.name);
    if let Some(failure) = rehearsed.and_then(|rehearsed| rehearsed.failed_since()) {
        return Some(format!("the last rehearsal failed: {failure}"));
    }
    // A first release has nothing to go back to.
    let proven = service.proven.len();
    match world.proof(&service.name) {
        None if proven < 2 => None,
        None => Some("it was never seen".to_owned()),
        Some(proof) => {
            let age = now.since(proof.at);
            (age > wanted).then(|| format!("it was last seen {age} ago"))
        }
    }
}

fn near(driver: &Driver, service: Option<&ServiceName>, now: Timestamp) -> Option<Condition> {
    let uses = driver.churn().uses(service, now);
    let near = |made: u32, limit: u32| {
        limit > 0 && u64::from(made) * 100 >= u64::from(limit) * NEAR_PERCENT
    };
    let found = uses.into_iter().find(|one| near(one.made, one.limit))?;
    let object = service.map_or_else(|| HOME.to_owned(), ToString::to_string);
    let summary =
        format!("{} of {} servers in {} were made", found.made, found.limit, found.window);
    Some(condition(&BUDGET_NEAR, object, summary))
}

fn servers_missing(driver: &Driver, there: &[&Service]) -> Vec<Condition> {
    let mut healthy: BTreeMap<ServiceName, u32> = BTreeMap::new();
    for view in driver.instances() {
        if view.state == InstanceState::Serving && view.health == Health::Healthy {
            *healthy.entry(view.service.clone()).or_default() += 1;
        }
    }
    let world = driver.world();
    let serving = there.iter().filter(|service| service.serving.is_some());
    let missing = serving.filter_map(|service| {
        let wanted = world.serving_size(&service.name);
        let healthy = healthy.get(&service.name).copied().unwrap_or_default();
        (healthy < wanted).then(|| {
            let summary = format!("{healthy} of {wanted} servers are healthy");
            condition(&SERVERS_MISSING, &service.name, summary)
        })
    });
    missing.collect()
}

fn schedules(world: &World) -> impl Iterator<Item = Condition> {
    world.schedules.values().filter_map(|declared| {
        let name = &declared.schedule.name;
        let end = declared.over.as_ref().filter(|end| end.result == ScheduleResult::Failed)?;
        // Directories name theirs as they like.
        let same = world.schedules.values().filter(|other| other.schedule.name == *name).count();
        let object = match same {
            1 => name.to_string(),
            _ => format!("{name} of {}", declared.directory),
        };
        Some(condition(&SCHEDULE_FAILED, object, end.detail.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_control_are_alerts() {
        let faults = OwnFaults { api: Some("port taken".to_owned()), ..OwnFaults::default() };
        let found = of_control(faults);
        assert_eq!((found.len(), found[0].rule), (1, &API_FAULT));
        assert_eq!(of_control(OwnFaults::default()), []);
    }
}
