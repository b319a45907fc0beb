//! What a time of a schedule comes to: the commands that are run for it.

use hornero_model::{Directory, ScheduleAction, ServiceName, Timestamp};
use hornero_rollout::DeclaredSchedule;

/// The commands of one time, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Their arguments.
    pub commands: Vec<Vec<String>>,
    /// Whether one that fails keeps those after it from being run.
    pub stops: bool,
    /// The directory that has to be root's alone; none where what is done does not read it.
    pub reads: Option<Directory>,
}

impl Work {
    /// What is to be done for the time that was planned, to these services in their order.
    pub fn of(declared: &DeclaredSchedule, planned: Timestamp, services: &[ServiceName]) -> Self {
        let DeclaredSchedule { schedule, directory, .. } = declared;
        let why = format!("schedule `{}` came round at {planned}", schedule.name);
        let each = |command: &'static str| {
            let words = |service: &ServiceName| {
                [command, service.as_str(), "--reason", &why].map(str::to_owned).to_vec()
            };
            services.iter().map(words).collect::<Vec<_>>()
        };
        let (commands, stops, reads) = match schedule.action {
            ScheduleAction::Patch => {
                let words = ["patch", directory.as_str(), "--deploy", "--reason", &why];
                let only = schedule.services.iter().flat_map(|name| ["--service", name.as_str()]);
                let command = words.into_iter().chain(only).map(str::to_owned).collect();
                (vec![command], true, Some(directory.clone()))
            }
            ScheduleAction::Recycle => (each("recycle"), false, None),
            ScheduleAction::Redeploy => (each("recycle"), true, None),
            ScheduleAction::RehearseRollback => (each("rehearse"), false, None),
        };
        Self { commands, stops, reads }
    }
}
