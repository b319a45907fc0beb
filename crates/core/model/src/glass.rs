//! Breaking the glass: somebody runs a command in a server, who, why and until when is recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Digest, ExitCause, GlassId, InstanceId, ReleaseNumber, ServiceName, Timestamp};

/// A session as it was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlassSession {
    /// Its id.
    pub id: GlassId,
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminal: bool,
    /// When it is ended, and the server replaced.
    pub until: Timestamp,
    /// Whether the server is replaced at once, and gets no more requests from then on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves: bool,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GlassEnd {
    /// Which.
    pub id: GlassId,
    /// The server.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Why.
    pub reason: GlassEndReason,
    /// How its command ended; absent where nobody saw that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<ExitCause>,
    /// The last link of its recording's chain; absent where the recording is gone, or was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Digest>,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GlassEndReason {
    /// Its command ended.
    Ended,
    /// Its command could not be executed: nothing of it ever was in the server.
    NotEntered,
    /// Its time was up.
    Time,
    /// Whoever had begun it went away.
    Left,
    /// It could not be recorded any further.
    NotRecorded,
    /// What kept it was killed, as the control process was.
    Lost,
}

impl GlassEndReason {
    /// The word by which it is told and kept.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::NotEntered => "not_entered",
            Self::Time => "time",
            Self::Left => "left",
            Self::NotRecorded => "not_recorded",
            Self::Lost => "lost",
        }
    }
}

impl GlassEnd {
    /// What a shell would say of the command: its exit code; 128 and the number of the signal that ended it; 124 where its time
    /// was up, and 125 where it was not executed, was ended, or nobody knows.
    pub fn exit_code(&self) -> u8 {
        match (self.reason, &self.cause) {
            (GlassEndReason::Time, _) => 124,
            (GlassEndReason::Ended, Some(ExitCause::Code(code))) => code.to_le_bytes()[0],
            (GlassEndReason::Ended, Some(ExitCause::Signal(signal))) => {
                signal.to_le_bytes()[0].saturating_add(128)
            }
            _ => 125,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_says_how_a_session_ended() {
        let code = |reason, cause| {
            let id = GlassId::new("glass-a").unwrap();
            let instance = InstanceId::new("site-1-a").unwrap();
            let service = ServiceName::new("site").unwrap();
            GlassEnd { id, instance, service, reason, cause, recording: None }.exit_code()
        };
        assert_eq!(code(GlassEndReason::Ended, Some(ExitCause::Code(3))), 3);
        assert_eq!(code(GlassEndReason::Ended, Some(ExitCause::Signal(9))), 137);
        assert_eq!(code(GlassEndReason::Time, Some(ExitCause::Signal(9))), 124);
        assert_eq!(code(GlassEndReason::NotEntered, None), 125);
        assert_eq!(code(GlassEndReason::Lost, None), 125);
        let kept = serde_json::to_value(GlassEndReason::NotRecorded).unwrap();
        assert_eq!(kept, GlassEndReason::NotRecorded.as_str());
    }
}
