//! One-off work: a command that runs once, in a server of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, ExitCause, ImageName, InstanceId, JobTurn, Millis, ReleaseRef, StepTurn};

/// A run as it was begun. Its command is not started a second time, whatever happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Its id, which is that of its server too.
    pub id: InstanceId,
    /// The release that it has its image, configuration and secrets of; absent where it is of an image alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseRef>,
    /// The job that it is a run of; absent where it is of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobTurn>,
    /// The schema step that it carries out; absent where it carries out none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepTurn>,
    /// The image's name, for people.
    pub image_name: ImageName,
    /// The image.
    pub image: Digest,
    /// What keeps the contents of its configuration files; absent without any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Digest>,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// How long it may take.
    pub timeout: Millis,
    /// How long it has to end once it is asked to.
    pub stop_grace: Millis,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunEnd {
    /// Which.
    pub id: InstanceId,
    /// How its command ended.
    pub cause: ExitCause,
    /// Why Hornero ended it; absent where it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOff>,
    /// From its beginning to its end.
    pub duration: Millis,
}

/// Why Hornero ended a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CutOff {
    /// It took longer than it may.
    Timeout,
    /// Somebody cancelled it.
    Cancelled,
}

impl RunEnd {
    /// What a shell would say of the command: its exit code; 128 and the number of the signal that ended it; 124 as
    /// `timeout` (coreutils) has it where it took too long, 130 as after Ctrl-C where it was cancelled, and 125 where the
    /// command was not started or its exit is not known.
    pub fn exit_code(&self) -> u8 {
        match (self.cut_off, &self.cause) {
            (Some(CutOff::Timeout), _) => 124,
            (Some(CutOff::Cancelled), _) => 130,
            (None, ExitCause::Code(code)) => code.to_le_bytes()[0],
            (None, ExitCause::Signal(signal)) => signal.to_le_bytes()[0].saturating_add(128),
            (None, ExitCause::OutOfMemory) => 137,
            (None, ExitCause::NotStarted(_) | ExitCause::Unknown | ExitCause::HostRestarted) => 125,
        }
    }

    /// Whether the command did what it was to do.
    pub fn is_success(&self) -> bool {
        self.exit_code() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_says_how_a_run_ended() {
        let code = |cause: ExitCause, cut_off| {
            let id = InstanceId::new("run-site-a").unwrap();
            RunEnd { id, cause, cut_off, duration: Millis(1) }.exit_code()
        };
        for (cause, expected) in [
            (ExitCause::Code(0), 0),
            (ExitCause::Code(3), 3),
            (ExitCause::Code(255), 255),
            (ExitCause::Signal(9), 137),
            (ExitCause::Signal(15), 143),
            (ExitCause::OutOfMemory, 137),
            (ExitCause::NotStarted("no such file".to_owned()), 125),
            (ExitCause::Unknown, 125),
            (ExitCause::HostRestarted, 125),
        ] {
            assert_eq!(code(cause.clone(), None), expected, "{cause}");
        }
        assert_eq!(code(ExitCause::Code(0), Some(CutOff::Timeout)), 124);
        assert_eq!(code(ExitCause::Signal(15), Some(CutOff::Cancelled)), 130);
    }
}
