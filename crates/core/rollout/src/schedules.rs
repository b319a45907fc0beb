//! Schedules as the ledger tells them: what is declared, what was seen to last, and what came of it.

use hornero_model::{
    Directory, Event, EventBody, Freeze, ScheduleAction, ScheduleEnd, ScheduleName, ScheduleSpec,
    ServiceName, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{DeclaredSchedule, ScheduleRun, SkippedTimes, World, last_proven, order::down_order};

impl World {
    /// What a schedule is done to, each service after those it depends on: those that it names, or all that serve and
    /// belong to its directory.
    pub fn scheduled_services(&self, declared: &DeclaredSchedule) -> Vec<ServiceName> {
        let own = self.services.values().filter(|service| {
            service.serving.is_some() && self.owner(&service.name) == Some(&declared.directory)
        });
        let services: Vec<ServiceName> = match declared.schedule.services.is_empty() {
            true => {
                // What has nothing to go back to has nothing to rehearse.
                let rehearses = declared.schedule.action == ScheduleAction::RehearseRollback;
                let names = own.map(|service| service.name.clone());
                names.filter(|name| !rehearses || self.can_rehearse(name)).collect()
            }
            false => declared.schedule.services.clone(),
        };
        // Of none it would be the order of all.
        if services.is_empty() {
            return services;
        }
        let mut order = down_order(self, services);
        order.reverse();
        order
    }

    /// Whether a service has something to go back to that can run beside what serves: a volume has one server.
    fn can_rehearse(&self, service: &ServiceName) -> bool {
        let release = last_proven(self, service).and_then(|number| self.release(service, number));
        release.is_some_and(|release| release.spec.mounts.is_empty())
    }

    /// The freezes that concern a directory, whenever they hold.
    pub fn freezes_of(&self, directory: &Directory) -> Vec<Freeze> {
        let concerned = self.freezes.values();
        let concerned = concerned.filter(|one| one.freeze.home || one.directory == *directory);
        concerned.map(|one| one.freeze.clone()).collect()
    }
}

type Key = (Directory, ScheduleName);

/// Takes in what happened to a schedule. What is gone may be told of all the same: whoever declares does not wait for what
/// is carried out.
pub(crate) fn fold(world: &mut World, event: &Event) {
    let at = event.time;
    let key =
        |directory: &Directory, schedule: &ScheduleName| (directory.clone(), schedule.clone());
    match &event.body {
        EventBody::ScheduleDeclared { schedule, directory } => {
            declared(world, schedule, directory, at);
        }
        EventBody::ScheduleRemoved { schedule, directory } => {
            world.schedules.remove(&key(directory, schedule));
        }
        EventBody::ScheduleBegun { schedule, directory, planned, missed } => {
            let run = ScheduleRun { planned: *planned, missed: *missed, started: at, end: None };
            begun(world, &key(directory, schedule), run);
        }
        EventBody::ScheduleEnded { schedule, directory, end } => {
            ended(world, &key(directory, schedule), end, at);
        }
        EventBody::ScheduleSkipped { schedule, directory, planned, missed } => {
            let Some(declared) = world.schedules.get_mut(&key(directory, schedule)) else { return };
            let (planned, missed, why) = (*planned, *missed, event.by.why.clone());
            declared.since = declared.since.max(planned);
            declared.skipped = Some(SkippedTimes { planned, missed, at, why });
        }
        _ => {}
    }
}

fn declared(world: &mut World, schedule: &ScheduleSpec, directory: &Directory, at: Timestamp) {
    let key = (directory.clone(), schedule.name.clone());
    let before = world.schedules.remove(&key);
    let as_before = before.as_ref().filter(|before| before.schedule.when == schedule.when);
    let since = as_before.map_or(at, |before| before.since);
    let (last, over, skipped) =
        before.map_or((None, None, None), |before| (before.last, before.over, before.skipped));
    let (schedule, directory) = (schedule.clone(), directory.clone());
    let declared = DeclaredSchedule { schedule, directory, since, last, over, skipped };
    world.schedules.insert(key, declared);
}

fn begun(world: &mut World, key: &Key, run: ScheduleRun) {
    let Some(declared) = world.schedules.get_mut(key) else { return };
    if !planted(Bug::RepeatsTurns) {
        declared.since = declared.since.max(run.planned);
    }
    declared.last = Some(run);
}

fn ended(world: &mut World, key: &Key, end: &ScheduleEnd, at: Timestamp) {
    let Some(declared) = world.schedules.get_mut(key) else { return };
    let last = declared.last.as_mut();
    if let Some(run) = last.filter(|run| run.planned == end.planned && run.end.is_none()) {
        run.end = Some((end.clone(), at));
        declared.over = Some(end.clone());
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::{Actor, CronLine, Digest, MissedTimes, ScheduleAction, ScheduleResult};

    use super::*;

    fn append(world: &mut World, at: u64, why: &str, body: EventBody) {
        let (previous, hash) = (Digest::of(b""), Digest::of(b""));
        let (sequence, time) = (world.last_sequence + 1, Timestamp(at));
        let by = Actor::hornero(why);
        world.apply(&Event { sequence, time, by, body, previous, hash }).unwrap();
    }

    fn schedule(line: &str) -> Box<ScheduleSpec> {
        let when = CronLine { line: line.to_owned(), timezone: "UTC".to_owned() };
        let name = ScheduleName::new("fresh").unwrap();
        let (action, missed) = (ScheduleAction::Recycle, MissedTimes::Skip);
        Box::new(ScheduleSpec { name, action, when, services: Vec::new(), missed })
    }

    #[test]
    fn a_schedule_is_what_was_declared_last_and_knows_what_came_of_it() {
        let mut world = World::default();
        let directory = Directory::new("/srv/shop").unwrap();
        let name = ScheduleName::new("fresh").unwrap();
        let key = (directory.clone(), name.clone());
        let declare = |line: &str| {
            let (schedule, directory) = (schedule(line), directory.clone());
            EventBody::ScheduleDeclared { schedule, directory }
        };
        append(&mut world, 10, "up", declare("0 3 * * *"));
        assert_eq!(world.schedules[&key].since, Timestamp(10));
        let (schedule, of) = (name.clone(), directory.clone());
        let (planned, missed) = (Timestamp(20), 1);
        let begun = EventBody::ScheduleBegun { schedule, directory: of, planned, missed };
        append(&mut world, 21, "it came round", begun);
        let known = &world.schedules[&key];
        assert_eq!((known.since, known.running().unwrap().missed), (planned, 1));
        let end = |planned, result| {
            let (detail, exit) = (String::new(), None);
            let end = ScheduleEnd { planned, result, detail, exit };
            let (schedule, directory) = (name.clone(), directory.clone());
            EventBody::ScheduleEnded { schedule, directory, end }
        };
        append(&mut world, 22, "it ended", end(Timestamp(5), ScheduleResult::Failed));
        assert!(world.schedules[&key].running().is_some(), "that was another one's end");
        append(&mut world, 23, "it ended", end(planned, ScheduleResult::Done));
        append(&mut world, 24, "nobody saw it", end(planned, ScheduleResult::Unknown));
        let last = world.schedules[&key].last.clone().unwrap();
        let (ended, at) = last.end.unwrap();
        assert_eq!((ended.result, at), (ScheduleResult::Done, Timestamp(23)));
        assert_eq!(world.schedules[&key].over, Some(ended));
        // Declared as before it goes on; at other times it begins anew.
        append(&mut world, 30, "up", declare("0 3 * * *"));
        assert_eq!(world.schedules[&key].since, planned);
        append(&mut world, 40, "up", declare("0 4 * * *"));
        assert_eq!(world.schedules[&key].since, Timestamp(40));
        let (schedule, of, planned) = (name.clone(), directory.clone(), Timestamp(50));
        let skipped = EventBody::ScheduleSkipped { schedule, directory: of, planned, missed: 2 };
        append(&mut world, 51, "a freeze holds", skipped);
        let known = &world.schedules[&key];
        let why = known.skipped.as_ref().unwrap().why.as_str();
        assert_eq!((known.since, why), (planned, "a freeze holds"));
        let removed =
            EventBody::ScheduleRemoved { schedule: name.clone(), directory: directory.clone() };
        append(&mut world, 60, "up", removed.clone());
        // Twice, and its end after that, change nothing.
        append(&mut world, 61, "up", removed);
        append(&mut world, 62, "it ended", end(planned, ScheduleResult::Done));
        assert!(world.schedules.is_empty());
    }
}
