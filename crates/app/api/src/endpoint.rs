//! The one table of endpoints: the server dispatches on it and the OpenAPI document is made from it.

use schemars::{Schema, SchemaGenerator};

use crate::message;

/// Every endpoint there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointId {
    /// Whether control answers.
    Health,
    /// What runs.
    Status,
    /// Make services run as specified.
    Apply,
    /// What an apply would change.
    Plan,
    /// Run the tests of an image.
    Test,
    /// Back to a proven release.
    Rollback,
    /// Take services down.
    Down,
    /// Replace what serves by new servers of the same release.
    Recycle,
    /// End what is under way for a service.
    Cancel,
    /// Let go on what a limit of churn stopped.
    Resume,
    /// Pause, resume, promote or abort a rollout.
    Steer,
    /// Begin one-off work.
    Run,
    /// What one-off work writes, and its end.
    RunOutput,
    /// End one-off work.
    RunCancel,
    /// Rehearse a rollback.
    Rehearse,
    /// How a rehearsal stands.
    Rehearsal,
    /// Say which jobs a directory declares.
    DeclareJobs,
    /// Run a job now.
    RunJob,
    /// Every volume.
    Volumes,
    /// Say which volumes a directory declares.
    DeclareVolumes,
    /// Do something with a volume.
    ChangeVolume,
    /// Ask the data guards of a service.
    CheckGuards,
    /// Show a release, or what a directory declares, beside what serves.
    Preview,
    /// Remove a preview.
    RemovePreview,
    /// The lines of an operation, from its first.
    Operation,
    /// A service's releases.
    History,
    /// All receipts, newest first.
    Receipts,
    /// One receipt.
    Receipt,
    /// The ledger's events.
    Audit,
    /// Check the ledger.
    AuditVerify,
    /// Compare running servers with their images.
    Verify,
    /// Logs of a service or an instance.
    Logs,
    /// This API's document.
    OpenApi,
    /// End the control process; servers and edge go on.
    Shutdown,
}

impl EndpointId {
    /// Its name in the API's document: clients are generated from it, so it never changes.
    pub const fn operation(self) -> &'static str {
        match self {
            Self::Health => "Health",
            Self::Status => "Status",
            Self::Apply => "Apply",
            Self::Plan => "Plan",
            Self::Test => "Test",
            Self::Rollback => "Rollback",
            Self::Down => "Down",
            Self::Recycle => "Recycle",
            Self::Cancel => "Cancel",
            Self::Resume => "Resume",
            Self::Steer => "Steer",
            Self::Run => "Run",
            Self::RunOutput => "RunOutput",
            Self::RunCancel => "RunCancel",
            Self::Rehearse => "Rehearse",
            Self::Rehearsal => "Rehearsal",
            Self::DeclareJobs => "DeclareJobs",
            Self::RunJob => "RunJob",
            Self::Volumes => "Volumes",
            Self::DeclareVolumes => "DeclareVolumes",
            Self::ChangeVolume => "ChangeVolume",
            Self::CheckGuards => "CheckGuards",
            Self::Preview => "Preview",
            Self::RemovePreview => "RemovePreview",
            Self::Operation => "Operation",
            Self::History => "History",
            Self::Receipts => "Receipts",
            Self::Receipt => "Receipt",
            Self::Audit => "Audit",
            Self::AuditVerify => "AuditVerify",
            Self::Verify => "Verify",
            Self::Logs => "Logs",
            Self::OpenApi => "OpenApi",
            Self::Shutdown => "Shutdown",
        }
    }
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One endpoint.
pub struct Endpoint {
    /// Which one.
    pub id: EndpointId,
    /// HTTP method.
    pub method: &'static str,
    /// Path; a segment in braces matches any one segment.
    pub path: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
    /// Query parameters with their meaning.
    pub query: &'static [(&'static str, &'static str)],
    /// Schema of the request body.
    pub request: Option<SchemaOf>,
    /// Schema of the answer, or of each of its lines.
    pub answer: SchemaOf,
    /// Whether the answer is a stream of lines (`application/x-ndjson`).
    pub stream: bool,
}

fn schema<T: schemars::JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn any(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "object" })
}

macro_rules! endpoint {
    ($id:ident, $method:literal, $path:literal, $summary:literal, $query:expr, $request:expr, $answer:expr, $stream:literal) => {
        Endpoint {
            id: EndpointId::$id,
            method: $method,
            path: $path,
            summary: $summary,
            query: &$query,
            request: $request,
            answer: $answer,
            stream: $stream,
        }
    };
}

/// The table.
#[rustfmt::skip]
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint!(Health, "GET", "/v1/health", "Whether the control process answers and decides; says nothing of services", [], None, schema::<message::Nothing>, false),
    endpoint!(Status, "GET", "/v1/status", "What runs", [], None, schema::<message::StatusReport>, false),
    endpoint!(Apply, "POST", "/v1/apply", "Make services run as specified; streams progress and goes on without the client", [],
        Some(schema::<message::ApplyRequest>), schema::<message::OperationLine>, true),
    endpoint!(Plan, "POST", "/v1/plan", "What an apply would change, and why", [],
        Some(schema::<message::PlanRequest>), schema::<message::PlanReport>, false),
    endpoint!(Test, "POST", "/v1/test", "Run the tests of an image; nothing is recorded, a rollout runs them again", [],
        Some(schema::<message::TestRequest>), schema::<message::TestReport>, false),
    endpoint!(Rollback, "POST", "/v1/rollback", "Go back to a proven release; streams progress and goes on without the client", [],
        Some(schema::<message::RollbackRequest>), schema::<message::OperationLine>, true),
    endpoint!(Down, "POST", "/v1/down", "Take services down; streams progress and goes on without the client", [],
        Some(schema::<message::DownRequest>), schema::<message::OperationLine>, true),
    endpoint!(Recycle, "POST", "/v1/recycle", "Replace a service's servers, or one, by new ones of the same release, one after the other; streams progress and goes on without the client", [],
        Some(schema::<message::RecycleRequest>), schema::<message::OperationLine>, true),
    endpoint!(Cancel, "POST", "/v1/cancel", "End what is under way for a service, the way a failed rollout ends; streams progress", [],
        Some(schema::<message::CancelRequest>), schema::<message::OperationLine>, true),
    endpoint!(Resume, "POST", "/v1/resume", "Let go on what a limit of churn stopped", [],
        Some(schema::<message::ResumeRequest>), schema::<message::ResumeReport>, false),
    endpoint!(Steer, "POST", "/v1/steer", "Pause, resume, promote or abort the rollout of a service; streams progress", [],
        Some(schema::<message::SteerRequest>), schema::<message::OperationLine>, true),
    endpoint!(Run, "POST", "/v1/runs", "Run a command once, in a server of its own; it goes on without the client", [],
        Some(schema::<message::RunRequest>), schema::<message::RunStatus>, false),
    endpoint!(RunOutput, "GET", "/v1/runs/{run}", "What one-off work writes, and its end", [("from", "only what was not told before")],
        None, schema::<message::RunLine>, true),
    endpoint!(RunCancel, "POST", "/v1/runs/{run}/cancel", "End one-off work: its stop signal, then SIGKILL", [],
        Some(schema::<message::CancelRunRequest>), schema::<message::Nothing>, false),
    endpoint!(Rehearse, "POST", "/v1/rehearsals", "Start a server of the release before, to see that a service could go back; it goes on without the client", [],
        Some(schema::<message::RehearseRequest>), schema::<message::RehearsalStatus>, false),
    endpoint!(Rehearsal, "GET", "/v1/rehearsals/{rehearsal}", "How a rehearsal stands, while it is the last one of its service", [],
        None, schema::<message::RehearsalStatus>, false),
    endpoint!(DeclareJobs, "POST", "/v1/jobs", "Say which jobs, freezes and schedules a directory declares, and that it declares no others", [],
        Some(schema::<message::DeclareJobsRequest>), schema::<message::DeclaredJobsReport>, false),
    endpoint!(RunJob, "POST", "/v1/jobs/{job}/runs", "Run a job now; it goes on without the client", [],
        Some(schema::<message::RunJobRequest>), schema::<message::RunStatus>, false),
    endpoint!(Volumes, "GET", "/v1/volumes", "Every volume, by name", [],
        None, schema::<Vec<message::VolumeStatus>>, false),
    endpoint!(DeclareVolumes, "POST", "/v1/volumes", "Say which volumes a directory declares, and make those that are not there; nothing is removed", [],
        Some(schema::<message::DeclareVolumesRequest>), schema::<message::DeclaredVolumesReport>, false),
    endpoint!(ChangeVolume, "POST", "/v1/volumes/{volume}", "Take a snapshot of a volume, clone, restore, grow, adopt or remove it", [],
        Some(schema::<message::VolumeRequest>), schema::<message::VolumeReport>, false),
    endpoint!(CheckGuards, "POST", "/v1/services/{service}/guards", "Ask each data guard of a service once; changes nothing", [],
        None, schema::<message::GuardsReport>, false),
    endpoint!(Preview, "POST", "/v1/previews", "Show a release, or what a directory declares, beside what serves, by a name and for a time; streams progress and goes on without the client", [],
        Some(schema::<message::PreviewRequest>), schema::<message::OperationLine>, true),
    endpoint!(RemovePreview, "POST", "/v1/previews/{preview}/remove", "Remove a preview; streams progress and goes on without the client", [],
        Some(schema::<message::RemovePreviewRequest>), schema::<message::OperationLine>, true),
    endpoint!(Operation, "GET", "/v1/operations/{operation}", "The lines of an operation from its first, and those to come", [],
        None, schema::<message::OperationLine>, true),
    endpoint!(History, "GET", "/v1/services/{service}/history", "A service's releases, newest first", [],
        None, schema::<Vec<message::HistoryEntry>>, false),
    endpoint!(Receipts, "GET", "/v1/receipts", "Receipts of switches, newest first", [("service", "only of this service")],
        None, schema::<Vec<hornero_model::Receipt>>, false),
    endpoint!(Receipt, "GET", "/v1/receipts/{receipt}", "One receipt", [],
        None, schema::<hornero_model::Receipt>, false),
    endpoint!(Audit, "GET", "/v1/audit", "The ledger's events, oldest first", [("from", "first sequence number")],
        None, schema::<hornero_model::Event>, true),
    endpoint!(AuditVerify, "POST", "/v1/audit/verify", "Check that no event of the ledger was touched", [],
        None, schema::<message::AuditReport>, false),
    endpoint!(Verify, "POST", "/v1/verify", "Compare running servers with their images; changes nothing", [],
        Some(schema::<message::VerifyRequest>), schema::<message::VerifyReport>, false),
    endpoint!(Logs, "GET", "/v1/logs/{object}", "Logs of a service or an instance, also of those long gone",
        [("since", "only lines after this RFC 3339 time"), ("until", "only lines up to this one"), ("level", "only lines of this level or worse"), ("grep", "only lines with this regular expression"), ("word", "only lines with this word, whole; may be given several times"), ("field", "`name=value`: only structured lines with this field; may be given several times"), ("raw", "true: with the bytes where some are no UTF-8"), ("last", "only the last so many lines, 1000 at most"), ("follow", "true: go on as lines are written")],
        None, schema::<message::LogLine>, true),
    endpoint!(OpenApi, "GET", "/v1/openapi.json", "This document", [], None, any, false),
    endpoint!(Shutdown, "POST", "/v1/shutdown", "End the control process; servers and edge go on", [],
        None, schema::<message::Nothing>, false),
];

/// The endpoint that a method and path mean, with the values of the braces in order.
pub fn matched<'p>(method: &str, path: &'p str) -> Option<(&'static Endpoint, Vec<&'p str>)> {
    ENDPOINTS.iter().filter(|endpoint| endpoint.method == method).find_map(|endpoint| {
        let mut values = Vec::new();
        let mut given = path.split('/');
        for expected in endpoint.path.split('/') {
            let segment = given.next()?;
            if expected.starts_with('{') {
                if segment.is_empty() {
                    return None;
                }
                values.push(segment);
            } else if expected != segment {
                return None;
            }
        }
        given.next().is_none().then_some((endpoint, values))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_whole_segments_only() {
        let (endpoint, values) = matched("GET", "/v1/services/site/history").unwrap();
        assert_eq!((endpoint.id, values), (EndpointId::History, vec!["site"]));
        for (method, path) in [
            ("POST", "/v1/status"),
            ("GET", "/v1/status/"),
            ("GET", "/v1"),
            ("GET", ""),
            ("GET", "/v1/services//history"),
            ("GET", "/v1/receipts/1/2"),
        ] {
            assert!(matched(method, path).is_none(), "{method} {path}");
        }
    }
}
