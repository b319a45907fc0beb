//! What `--json` prints: structs of this command's own, and the page of schemas that is made from all of them.

use hornero_api::message::ServiceOutcome;
use hornero_care::HomeProblem;
use hornero_model::{
    ChurnScope, ChurnWindow, CutOff, Digest, ImageName, InstanceId, JobName, Millis, ReleaseNumber,
    ReleaseRef, SecretLabel, SecretVersion, ServiceName, Timestamp,
};
use schemars::JsonSchema;
use serde::Serialize;

/// What an operation came to: `up`, `down`, `recycle`, `cancel`, `rollout pause` and its like.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OperationReport {
    /// The services that it came to, as they are now.
    pub services: Vec<ServiceOutcome>,
    /// Instances that `down --force` ended without the ledger; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Vec<InstanceId>>,
}

/// What `churn` counted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChurnReport {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// The services, by name.
    pub services: Vec<ServiceChurn>,
    /// What was made in the whole home beside its limits, now.
    pub home: Vec<ChurnUse>,
}

/// What was made and removed of a service.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServiceChurn {
    /// The service.
    pub name: ServiceName,
    /// Servers that were made.
    pub made: u32,
    /// Servers that are gone.
    pub removed: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Servers that are there.
    pub running: u32,
    /// Seconds that servers were there, added up.
    pub seconds: f64,
    /// Their memory limits by the hours that they were there, in GiB.
    pub memory_gib_hours: f64,
    /// How many were made because of whom and why, most first; what is left of many has neither.
    pub causes: Vec<ChurnCause>,
    /// By the hour; hours in which nothing happened are left out.
    pub hours: Vec<ChurnHour>,
    /// What was made beside its limits, now.
    pub budget: Vec<ChurnUse>,
}

/// Servers that were made for one reason.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChurnCause {
    /// Who asked; `hornero` where nobody did.
    pub who: String,
    /// Why.
    pub why: String,
    /// How many.
    pub made: u32,
}

/// What happened within an hour.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChurnHour {
    /// Its beginning.
    pub from: Timestamp,
    /// Servers that were made.
    pub made: u32,
    /// Servers that were gone.
    pub removed: u32,
}

/// What was made beside one limit.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChurnUse {
    /// Whose servers count.
    pub scope: ChurnScope,
    /// The time that they are counted in.
    pub window: ChurnWindow,
    /// How many were made in it.
    pub made: u32,
    /// How many may be.
    pub limit: u32,
}

/// What `build` baked.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuildReport {
    /// The images, what others are made from first.
    pub images: Vec<BuiltImage>,
}

/// An image that was baked, or was cached.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuiltImage {
    /// Its name.
    pub name: ImageName,
    /// What it is.
    pub digest: Digest,
    /// Whether nothing had to be done.
    pub cached: bool,
    /// How long it took.
    pub seconds: f64,
    /// Its steps; with `--explain` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<BuiltStep>>,
}

/// A step of an image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BuiltStep {
    /// What it does.
    pub title: String,
    /// Whether it was cached.
    pub cached: bool,
    /// Why it ran; empty where it did not.
    pub why: String,
    /// How long it took.
    pub seconds: f64,
}

/// What `image pin` and `image unpin` did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PinReport {
    /// The image.
    pub image: Digest,
    /// Whether it is pinned now.
    pub pinned: bool,
    /// Whether it was otherwise before.
    pub changed: bool,
}

/// What `image untag` took away.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UntagReport<'a> {
    /// The name.
    pub name: &'a str,
    /// What it led to; null where it was damaged.
    pub image: Option<Digest>,
}

/// What `home check` found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HomeCheckReport<'a> {
    /// The home.
    pub home: &'a std::path::Path,
    /// Whether nothing of it is broken; warnings and notes break nothing.
    pub sound: bool,
    /// What was found, the worst first.
    pub problems: &'a [HomeProblem],
}

/// What a run of a command came to: `run`, `job run`, `cancel RUN`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunReport {
    /// The run, which is its server too.
    pub run: InstanceId,
    /// The service that it was made from; absent where it was an image alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// The job that it was a run of; absent where it was of none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// The release of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseNumber>,
    /// The image.
    pub image: Digest,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// When it was begun.
    pub started: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: Millis,
    /// The exit code that `run` ends with.
    pub exit: u8,
    /// The signal that ended the command, where one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why Hornero ended it, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOff>,
    /// Why there is no exit code of the command, where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A secret that `secret set` or `secret rotate` set.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SecretReport {
    /// Its name.
    pub name: SecretLabel,
    /// Its newest value.
    pub version: SecretVersion,
    /// Values that went because no release needs them.
    pub dropped: Vec<SecretVersion>,
    /// Services of which a release has an earlier value.
    pub services: Vec<ServiceName>,
}

/// A secret of `secret ls`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ListedSecret {
    /// Its name.
    pub name: SecretLabel,
    /// Its newest value.
    pub version: SecretVersion,
    /// When that was set.
    pub created: Timestamp,
    /// How many values are kept.
    pub versions: usize,
    /// Releases that are kept and have one of them.
    pub releases: Vec<ReleaseRef>,
}

/// What `secret rm` removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RemovedSecret {
    /// Its name.
    pub name: SecretLabel,
    /// How many values it had.
    pub versions: usize,
}

#[cfg(test)]
mod tests {
    use hornero_api::message::{
        AuditReport, HistoryEntry, JobStatus, LogLine, PlanReport, ResumeReport, StatusReport,
        VerifyReport,
    };
    use hornero_doctor::DoctorReport;
    use hornero_model::{Event, Receipt};
    use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::{
        command::{diff, format, init, upgrade, validate},
        failure::ErrorReport,
    };

    type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

    fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }

    /// Commands, whether each prints a value a line, and what the values are.
    const REPORTS: &[(&str, bool, SchemaOf)] = &[
        ("audit", true, schema::<Event>),
        ("audit verify", false, schema::<AuditReport>),
        ("build", false, schema::<BuildReport>),
        ("cancel", false, schema::<OperationReport>),
        ("cancel RUN", false, schema::<RunReport>),
        ("churn", false, schema::<ChurnReport>),
        ("doctor", false, schema::<DoctorReport>),
        ("down", false, schema::<OperationReport>),
        ("fmt", false, schema::<format::FormatReport>),
        ("history", false, schema::<Vec<HistoryEntry>>),
        ("home check", false, schema::<HomeCheckReport<'_>>),
        ("image diff", false, schema::<diff::Difference>),
        ("image pin", false, schema::<PinReport>),
        ("image unpin", false, schema::<PinReport>),
        ("image untag", false, schema::<UntagReport<'_>>),
        ("init", false, schema::<init::InitReport>),
        ("job ls", false, schema::<Vec<JobStatus>>),
        ("job run", false, schema::<RunReport>),
        ("logs", true, schema::<LogLine>),
        ("plan", false, schema::<PlanReport>),
        ("recycle", false, schema::<OperationReport>),
        ("receipt", false, schema::<Vec<Receipt>>),
        ("receipt ID", false, schema::<Receipt>),
        ("resume", false, schema::<ResumeReport>),
        ("rollout abort", false, schema::<OperationReport>),
        ("rollout pause", false, schema::<OperationReport>),
        ("rollout promote", false, schema::<OperationReport>),
        ("rollout resume", false, schema::<OperationReport>),
        ("run", false, schema::<RunReport>),
        ("secret ls", false, schema::<Vec<ListedSecret>>),
        ("secret rm", false, schema::<RemovedSecret>),
        ("secret rotate", false, schema::<SecretReport>),
        ("secret set", false, schema::<SecretReport>),
        ("status", false, schema::<StatusReport>),
        ("up", false, schema::<OperationReport>),
        ("upgrade", false, schema::<upgrade::UpgradeReport>),
        ("validate", false, schema::<validate::ValidationReport>),
        ("verify", false, schema::<VerifyReport>),
    ];

    fn document() -> Value {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let mut generator = SchemaGenerator::new(settings);
        let mut commands = Map::new();
        for (command, lines, schema) in REPORTS {
            let schema = schema(&mut generator);
            commands.insert((*command).to_owned(), json!({ "lines": lines, "schema": schema }));
        }
        let error = generator.subschema_for::<ErrorReport<'_>>();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "description": "What commands print with --json; `lines`: a value a line. A failure prints `error`, beside \
                            what there is to tell all the same",
            "commands": commands,
            "error": error,
            "$defs": generator.take_definitions(true),
        })
    }

    #[test]
    fn the_page_of_schemas_is_what_the_code_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference/reports.json");
        let mut text = serde_json::to_string_pretty(&document()).unwrap();
        text.push('\n');
        expect_test::expect_file![path].assert_eq(&text);
    }

    #[test]
    fn a_report_is_of_its_schema() {
        let pin = PinReport { image: Digest::of(b"x"), pinned: true, changed: false };
        let document = document();
        let schema = &document["commands"]["image pin"]["schema"]["$ref"];
        let name = schema.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
        let required = document["$defs"][name]["required"].as_array().unwrap();
        let printed = serde_json::to_value(&pin).unwrap();
        let keys: Vec<&String> = printed.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), required.len());
        assert!(required.iter().all(|key| keys.iter().any(|known| *known == key)));
    }
}
