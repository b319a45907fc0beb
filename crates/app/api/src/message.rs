//! What travels over the API.

mod access;
mod alert;
mod audit;
mod call;
mod churn;
mod difference;
mod figures;
mod freeze;
mod glass;
mod guard;
mod history;
mod instance;
mod job;
mod log;
mod operation;
mod plan;
mod preview;
mod quarantine;
mod rehearsal;
mod request;
mod resume;
mod rollout;
mod run;
mod schedule;
mod status;
mod step;
mod test;
mod traffic;
mod verify;
mod volume;
mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{ApiStatus, LoginReport, LoginRequest, SessionReport};
pub use alert::{AlertDestination, AlertStatus, AlertsReport};
pub use audit::AuditReport;
pub use call::CallStatus;
pub use churn::{ChurnCause, ChurnHour, ChurnReport, ChurnUse, ServiceChurn};
pub use difference::{
    ImageDifference, ImageFieldChange, ImageFileChange, ImageFileState, PackageDifference,
};
pub use figures::{
    FigureHistory, FigurePoint, FiguresReport, InstanceFigures, ReleaseFigures, ReleaseRates,
    ScrapeTarget,
};
pub use freeze::FreezeStatus;
pub use glass::{GlassLine, GlassRequest, GlassScreen, GlassStatus, GlassTyped};
pub use guard::GuardsReport;
pub use history::{HistoryEntry, ListenerFaultEntry, ReleaseFailure};
pub use instance::{InstanceStatus, InternalAddress};
pub use job::{
    DeclareJobsRequest, DeclaredJobsReport, JobRunStatus, JobStatus, RunJobRequest, SkippedStatus,
};
pub use log::LogLine;
pub use operation::{
    OperationFailure, OperationLine, OperationOutcome, OutcomeKind, ServiceOutcome,
};
pub use plan::{
    NotChecked, PlanChange, PlanImage, PlanProblem, PlanReport, PlanRequest, PlannedPreview,
};
pub use preview::{PreviewRequest, PreviewSource, PreviewStatus, RemovePreviewRequest};
pub use quarantine::{QuarantineRequest, QuarantineState, QuarantineStatus, ReleaseRequest};
pub use rehearsal::{ProofStatus, RehearsalStatus, RehearseRequest};
pub use request::{
    ApplyRequest, CancelRequest, DownRequest, Intent, RecycleRequest, RollbackRequest, SteerRequest,
};
pub use resume::{ResumeReport, ResumeRequest, ServiceStop};
pub use rollout::{CanaryStatus, Judgement, PausedStatus, RollingStatus, RolloutStatus};
pub use run::{CancelRunRequest, RunLine, RunRequest, RunSource, RunStatus};
pub use schedule::{ScheduleRunStatus, ScheduleStatus};
pub use status::{
    ControlStatus, EdgePredecessor, EdgeReport, RouteFault, RouteStatus, ScaleStatus,
    ServiceStatus, StatusReport, SupportReport, WitnessStatus,
};
pub use step::{StepState, StepStatus};
pub use test::{TestReport, TestRequest, TestResult};
pub use traffic::TrafficReport;
pub use verify::{VerifiedService, VerifyReport, VerifyRequest};
pub use volume::{
    CopyCost, DeclareVolumesRequest, DeclaredVolumesReport, VolumeDeed, VolumeLease, VolumeReport,
    VolumeRequest, VolumeSnapshot, VolumeStatus,
};
pub use written::{WrittenReport, WrittenService};

/// The answer to a request that was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable word, such as `no_such_service`.
    pub code: String,
    /// What failed and why.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// An answer without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nothing {}
