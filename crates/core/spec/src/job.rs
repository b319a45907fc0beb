//! Jobs as declared.

use hornero_model::{CronLine, Digest, Job, JobName, Millis};

use crate::ServiceDefinition;

/// A `job` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDefinition {
    /// Its name.
    pub name: JobName,
    /// Its server, as that of a service of the same name without ports and ways in.
    pub server: ServiceDefinition,
    /// The command and its arguments; the image's own where it is empty.
    pub command: Vec<String>,
    /// When it comes round; only when somebody asks where there is none.
    pub schedule: Option<CronLine>,
    /// How long one try may take.
    pub deadline: Millis,
    /// How often it is tried again after it failed.
    pub retries: u32,
}

impl JobDefinition {
    /// The complete job once its image is baked, but for what only the home knows: see
    /// [`ServiceDefinition::into_service_spec`].
    pub fn into_job(self, image: Digest) -> Job {
        Job {
            name: self.name,
            server: self.server.into_service_spec(image),
            command: self.command,
            schedule: self.schedule,
            deadline: self.deadline,
            retries: self.retries,
        }
    }
}
