//! The one table of endpoints: the server dispatches on it and the OpenAPI document is made from it.

use hornero_model::Role;
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
    /// Take a server out of traffic and keep it.
    Quarantine,
    /// Every server that is kept.
    Quarantines,
    /// Let a server go that is kept.
    ReleaseQuarantine,
    /// Run a command in a server.
    BreakGlass,
    /// Type in a session in a server.
    GlassInput,
    /// Sessions in servers.
    GlassSessions,
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
    /// What runs uses and answers now.
    Figures,
    /// Figures of a service or an instance over time.
    FigureHistory,
    /// Everything that is measured, for Prometheus.
    Metrics,
    /// Where instances are scraped.
    ScrapeTargets,
    /// This API's document.
    OpenApi,
    /// End the control process; servers and edge go on.
    Shutdown,
    /// Events as they happen.
    Events,
    /// Who asks, and what they may.
    Session,
    /// Make a link for a browser.
    Login,
    /// End what a browser was given.
    Logout,
    /// What the edge counts.
    Traffic,
    /// How many servers were made and removed.
    Churn,
    /// What two images have differently.
    ImageDifference,
    /// Alerts, and who hears of them.
    Alerts,
    /// What running servers have written.
    Written,
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
            Self::Quarantine => "Quarantine",
            Self::Quarantines => "Quarantines",
            Self::ReleaseQuarantine => "ReleaseQuarantine",
            Self::BreakGlass => "BreakGlass",
            Self::GlassInput => "GlassInput",
            Self::GlassSessions => "GlassSessions",
            Self::Operation => "Operation",
            Self::History => "History",
            Self::Receipts => "Receipts",
            Self::Receipt => "Receipt",
            Self::Audit => "Audit",
            Self::AuditVerify => "AuditVerify",
            Self::Verify => "Verify",
            Self::Logs => "Logs",
            Self::Figures => "Figures",
            Self::FigureHistory => "FigureHistory",
            Self::Metrics => "Metrics",
            Self::ScrapeTargets => "ScrapeTargets",
            Self::OpenApi => "OpenApi",
            Self::Shutdown => "Shutdown",
            Self::Events => "Events",
            Self::Session => "Session",
            Self::Login => "Login",
            Self::Logout => "Logout",
            Self::Traffic => "Traffic",
            Self::Churn => "Churn",
            Self::ImageDifference => "ImageDifference",
            Self::Alerts => "Alerts",
            Self::Written => "Written",
        }
    }
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One endpoint.
pub struct Endpoint {
    /// Which one.
    pub id: EndpointId,
    /// The least that whoever asks has to be. What a request asks for may need more: see `hornero_control`.
    pub role: Role,
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

/// Text that is no JSON.
fn text(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({ "type": "string" })
}

macro_rules! endpoint {
    ($id:ident, $role:ident, $method:literal, $path:literal, $summary:literal, $query:expr, $request:expr, $answer:expr, $stream:literal) => {
        Endpoint {
            id: EndpointId::$id,
            role: Role::$role,
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
    endpoint!(Health, Viewer, "GET", "/v1/health", "Whether the control process answers and decides; says nothing of services", [], None, schema::<message::Nothing>, false),
    endpoint!(Status, Viewer, "GET", "/v1/status", "What runs", [], None, schema::<message::StatusReport>, false),
    endpoint!(Apply, Releaser, "POST", "/v1/apply", "Make services run as specified; streams progress and goes on without the client", [],
        Some(schema::<message::ApplyRequest>), schema::<message::OperationLine>, true),
    endpoint!(Plan, Viewer, "POST", "/v1/plan", "What an apply would change, and why", [],
        Some(schema::<message::PlanRequest>), schema::<message::PlanReport>, false),
    endpoint!(Test, Releaser, "POST", "/v1/test", "Run the tests of an image; nothing is recorded, a rollout runs them again", [],
        Some(schema::<message::TestRequest>), schema::<message::TestReport>, false),
    endpoint!(Rollback, Operator, "POST", "/v1/rollback", "Go back to a proven release; streams progress and goes on without the client", [],
        Some(schema::<message::RollbackRequest>), schema::<message::OperationLine>, true),
    endpoint!(Down, Releaser, "POST", "/v1/down", "Take services down; streams progress and goes on without the client", [],
        Some(schema::<message::DownRequest>), schema::<message::OperationLine>, true),
    endpoint!(Recycle, Operator, "POST", "/v1/recycle", "Replace a service's servers, or one, by new ones of the same release, one after the other; streams progress and goes on without the client", [],
        Some(schema::<message::RecycleRequest>), schema::<message::OperationLine>, true),
    endpoint!(Cancel, Operator, "POST", "/v1/cancel", "End what is under way for a service, the way a failed rollout ends; streams progress", [],
        Some(schema::<message::CancelRequest>), schema::<message::OperationLine>, true),
    endpoint!(Resume, Operator, "POST", "/v1/resume", "Let go on what a limit of churn stopped", [],
        Some(schema::<message::ResumeRequest>), schema::<message::ResumeReport>, false),
    endpoint!(Steer, Operator, "POST", "/v1/steer", "Pause, resume, promote or abort the rollout of a service; streams progress", [],
        Some(schema::<message::SteerRequest>), schema::<message::OperationLine>, true),
    endpoint!(Run, Releaser, "POST", "/v1/runs", "Run a command once, in a server of its own; it goes on without the client", [],
        Some(schema::<message::RunRequest>), schema::<message::RunStatus>, false),
    endpoint!(RunOutput, Viewer, "GET", "/v1/runs/{run}", "What one-off work writes, and its end", [("from", "only what was not told before")],
        None, schema::<message::RunLine>, true),
    endpoint!(RunCancel, Operator, "POST", "/v1/runs/{run}/cancel", "End one-off work: its stop signal, then SIGKILL", [],
        Some(schema::<message::CancelRunRequest>), schema::<message::Nothing>, false),
    endpoint!(Rehearse, Operator, "POST", "/v1/rehearsals", "Start a server of the release before, to see that a service could go back; it goes on without the client", [],
        Some(schema::<message::RehearseRequest>), schema::<message::RehearsalStatus>, false),
    endpoint!(Rehearsal, Viewer, "GET", "/v1/rehearsals/{rehearsal}", "How a rehearsal stands, while it is the last one of its service", [],
        None, schema::<message::RehearsalStatus>, false),
    endpoint!(DeclareJobs, Admin, "POST", "/v1/jobs", "Say which jobs, freezes and schedules a directory declares, and that it declares no others", [],
        Some(schema::<message::DeclareJobsRequest>), schema::<message::DeclaredJobsReport>, false),
    endpoint!(RunJob, Operator, "POST", "/v1/jobs/{job}/runs", "Run a job now; it goes on without the client", [],
        Some(schema::<message::RunJobRequest>), schema::<message::RunStatus>, false),
    endpoint!(Volumes, Viewer, "GET", "/v1/volumes", "Every volume, by name", [],
        None, schema::<Vec<message::VolumeStatus>>, false),
    endpoint!(DeclareVolumes, Releaser, "POST", "/v1/volumes", "Say which volumes a directory declares, and make those that are not there; nothing is removed", [],
        Some(schema::<message::DeclareVolumesRequest>), schema::<message::DeclaredVolumesReport>, false),
    endpoint!(ChangeVolume, Operator, "POST", "/v1/volumes/{volume}", "Take a snapshot of a volume, clone, restore, grow, adopt or remove it", [],
        Some(schema::<message::VolumeRequest>), schema::<message::VolumeReport>, false),
    endpoint!(CheckGuards, Operator, "POST", "/v1/services/{service}/guards", "Ask each data guard of a service once; changes nothing", [],
        None, schema::<message::GuardsReport>, false),
    endpoint!(Preview, Releaser, "POST", "/v1/previews", "Show a release, or what a directory declares, beside what serves, by a name and for a time; streams progress and goes on without the client", [],
        Some(schema::<message::PreviewRequest>), schema::<message::OperationLine>, true),
    endpoint!(RemovePreview, Releaser, "POST", "/v1/previews/{preview}/remove", "Remove a preview; streams progress and goes on without the client", [],
        Some(schema::<message::RemovePreviewRequest>), schema::<message::OperationLine>, true),
    endpoint!(Operation, Viewer, "GET", "/v1/operations/{operation}", "The lines of an operation from its first, and those to come", [],
        None, schema::<message::OperationLine>, true),
    endpoint!(History, Viewer, "GET", "/v1/services/{service}/history", "A service's releases, newest first", [],
        None, schema::<Vec<message::HistoryEntry>>, false),
    endpoint!(Receipts, Viewer, "GET", "/v1/receipts", "Receipts of switches, newest first", [("service", "only of this service")],
        None, schema::<Vec<hornero_model::Receipt>>, false),
    endpoint!(Receipt, Viewer, "GET", "/v1/receipts/{receipt}", "One receipt", [],
        None, schema::<hornero_model::Receipt>, false),
    endpoint!(Audit, Viewer, "GET", "/v1/audit", "The ledger's events, oldest first", [("from", "first sequence number"), ("last", "only the newest so many, 10000 at most"), ("service", "only what is about this service"), ("instance", "only what is about this instance")],
        None, schema::<hornero_model::Event>, true),
    endpoint!(AuditVerify, Viewer, "POST", "/v1/audit/verify", "Check that no event of the ledger was touched", [],
        None, schema::<message::AuditReport>, false),
    endpoint!(Verify, Viewer, "POST", "/v1/verify", "Compare running servers with their images; changes nothing", [],
        Some(schema::<message::VerifyRequest>), schema::<message::VerifyReport>, false),
    endpoint!(Logs, Viewer, "GET", "/v1/logs/{object}", "Logs of a service or an instance, also of those long gone",
        [("since", "only lines after this RFC 3339 time"), ("until", "only lines up to this one"), ("level", "only lines of this level or worse"), ("grep", "only lines with this regular expression"), ("word", "only lines with this word, whole; may be given several times"), ("field", "`name=value`: only structured lines with this field; may be given several times"), ("raw", "true: with the bytes where some are no UTF-8"), ("last", "only the last so many lines, 1000 at most"), ("follow", "true: go on as lines are written")],
        None, schema::<message::LogLine>, true),
    endpoint!(OpenApi, Viewer, "GET", "/v1/openapi.json", "This document", [], None, any, false),
    endpoint!(Shutdown, Admin, "POST", "/v1/shutdown", "End the control process; servers and edge go on", [],
        None, schema::<message::Nothing>, false),
    endpoint!(Events, Viewer, "GET", "/v1/events", "The ledger's events as they happen, as server-sent events with the sequence number as id; `Last-Event-ID` holds before `after`",
        [("after", "the last sequence number that is known; 0 for all events; only new ones where it is left out")],
        None, schema::<hornero_model::Event>, true),
    endpoint!(Session, Viewer, "GET", "/v1/session", "Who asks, and what they may", [],
        None, schema::<message::SessionReport>, false),
    endpoint!(Login, Viewer, "POST", "/v1/logins", "Make a link by which a browser logs in, once; only by the Unix socket", [],
        Some(schema::<message::LoginRequest>), schema::<message::LoginReport>, false),
    endpoint!(Logout, Viewer, "POST", "/v1/logout", "End what the browser that asks was given", [],
        None, schema::<message::Nothing>, false),
    endpoint!(Traffic, Viewer, "GET", "/v1/traffic", "What the edge has counted of each release: requests, errors, latencies", [],
        None, schema::<message::TrafficReport>, false),
    endpoint!(Churn, Viewer, "GET", "/v1/churn", "How many servers were made and removed, why and because of whom, beside their limits", [("since", "from this RFC 3339 time on; the last 24 hours by default")],
        None, schema::<message::ChurnReport>, false),
    endpoint!(ImageDifference, Viewer, "GET", "/v1/images/{image}/difference/{other}", "What another image has differently: packages, paths (2000 at most), configuration", [],
        None, schema::<message::ImageDifference>, false),
    endpoint!(Quarantine, Operator, "POST", "/v1/quarantines", "Replace a server, and keep it as it is until its time is up; it goes on without the client", [],
        Some(schema::<message::QuarantineRequest>), schema::<message::QuarantineStatus>, false),
    endpoint!(Quarantines, Viewer, "GET", "/v1/quarantines", "Every server that is kept, the oldest first", [],
        None, schema::<Vec<message::QuarantineStatus>>, false),
    endpoint!(ReleaseQuarantine, Operator, "POST", "/v1/quarantines/{instance}/release", "Let a server go that is kept", [],
        Some(schema::<message::ReleaseRequest>), schema::<message::QuarantineStatus>, false),
    endpoint!(BreakGlass, Breaker, "POST", "/v1/glass", "Run a command in a server, recorded, for a time; the server is replaced afterwards. It ends with its client", [],
        Some(schema::<message::GlassRequest>), schema::<message::GlassLine>, true),
    endpoint!(GlassInput, Breaker, "POST", "/v1/glass/{session}/input", "Type in a session that has a terminal; only whoever began it may", [],
        Some(schema::<message::GlassTyped>), schema::<message::Nothing>, false),
    endpoint!(GlassSessions, Viewer, "GET", "/v1/glass", "Sessions in servers: those that go on, and the last that have ended, the newest first", [],
        None, schema::<Vec<message::GlassStatus>>, false),
    endpoint!(Figures, Viewer, "GET", "/v1/figures", "What services, releases and instances use and answer now", [],
        None, schema::<message::FiguresReport>, false),
    endpoint!(FigureHistory, Viewer, "GET", "/v1/figures/{object}", "Figures of a service or an instance over time, also of those long gone",
        [("since", "from this RFC 3339 time on; an hour ago by default"), ("until", "up to this one; now by default"), ("step", "how many seconds each point stands for, at least 10; a hundredth of the time by default")],
        None, schema::<message::FigureHistory>, false),
    endpoint!(Metrics, Viewer, "GET", "/metrics", "Everything that is measured, in Prometheus' text format", [],
        None, text, false),
    endpoint!(ScrapeTargets, Viewer, "GET", "/v1/sd", "Where instances are scraped, as Prometheus' discovery by HTTP reads it", [("service", "only of this service")],
        None, schema::<Vec<message::ScrapeTarget>>, false),
    endpoint!(Alerts, Viewer, "GET", "/v1/alerts", "Alerts that hold, the last ones that were resolved, and who hears of them", [],
        None, schema::<message::AlertsReport>, false),
    endpoint!(Written, Viewer, "GET", "/v1/written", "What running servers have written to memory that goes with them: names, sizes and times", [("service", "only of this service; may be given several times")],
        None, schema::<message::WrittenReport>, false),
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

    /// What an endpoint needs is decided on purpose: who adds one says it here a second time.
    #[test]
    fn each_endpoint_has_the_role_that_was_decided() {
        let of = |role: Role| {
            let own = ENDPOINTS.iter().filter(|endpoint| endpoint.role == role);
            own.map(|endpoint| endpoint.id.operation()).collect::<Vec<_>>().join(" ")
        };
        let viewer = "Health Status Plan RunOutput Rehearsal Volumes Operation History Receipts Receipt Audit AuditVerify Verify \
                      Logs OpenApi Events Session Login Logout Traffic Churn ImageDifference Quarantines \
                      GlassSessions Figures FigureHistory Metrics ScrapeTargets Alerts Written";
        assert_eq!(of(Role::Viewer), viewer);
        let operator = "Rollback Recycle Cancel Resume Steer RunCancel Rehearse RunJob ChangeVolume CheckGuards Quarantine ReleaseQuarantine";
        assert_eq!(of(Role::Operator), operator);
        assert_eq!(of(Role::Releaser), "Apply Test Down Run DeclareVolumes Preview RemovePreview");
        assert_eq!(of(Role::Breaker), "BreakGlass GlassInput");
        assert_eq!(of(Role::Admin), "DeclareJobs Shutdown");
        let changes = |endpoint: &&Endpoint| endpoint.method != "GET";
        let looks = ["Plan", "AuditVerify", "Verify", "Login", "Logout"];
        for endpoint in ENDPOINTS.iter().filter(changes) {
            let is_look = looks.contains(&endpoint.id.operation());
            assert!(is_look || endpoint.role > Role::Viewer, "{}", endpoint.path);
        }
    }

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
