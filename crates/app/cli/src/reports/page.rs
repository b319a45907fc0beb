//! The page of schemas of what `--json` prints, made from the code, and held against the commands that there are.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory as _};
use hornero_api::message::{AlertsReport, LoginReport};
use hornero_api::message::{
    AuditReport, ChurnReport, FigureHistory, FiguresReport, GlassStatus, GuardsReport,
    HistoryEntry, ImageDifference, JobStatus, LogLine, PlanReport, PreviewStatus, QuarantineStatus,
    RehearsalStatus, ResumeReport, ScheduleStatus, StatusReport, VerifyReport, VolumeReport,
    VolumeStatus,
};
use hornero_bake::Rebased;
use hornero_doctor::DoctorReport;
use hornero_model::{Event, Receipt};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    arguments::Arguments,
    command::{format, init, upgrade, validate},
    failure::ErrorReport,
};

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Commands, whether each prints a value a line, and what the values are. A word more is an argument with which a command
/// prints something else.
const REPORTS: &[(&str, bool, SchemaOf)] = &[
    ("alerts ls", false, schema::<AlertsReport>),
    ("audit", true, schema::<Event>),
    ("audit verify", false, schema::<AuditReport>),
    ("autopsy", false, schema::<AutopsyReport<'_>>),
    ("break-glass", false, schema::<GlassReport>),
    ("break-glass ls", false, schema::<Vec<GlassStatus>>),
    ("break-glass replay", false, schema::<ReplayReport>),
    ("build", false, schema::<BuildReport>),
    ("bundle export", false, schema::<ExportedBundle>),
    ("bundle ls", false, schema::<Vec<ListedBundle>>),
    ("cancel", false, schema::<OperationReport>),
    ("cancel RUN", false, schema::<RunReport>),
    ("churn", false, schema::<ChurnReport>),
    ("doctor", false, schema::<DoctorReport>),
    ("dashboard", false, schema::<LoginReport>),
    ("down", false, schema::<OperationReport>),
    ("fmt", false, schema::<format::FormatReport>),
    ("guard check", false, schema::<GuardsReport>),
    ("history", false, schema::<Vec<HistoryEntry>>),
    ("home accept-ledger", false, schema::<AcceptedLedger>),
    ("home backup", false, schema::<HomeBackupReport<'_>>),
    ("home check", false, schema::<HomeCheckReport<'_>>),
    ("home move", false, schema::<HomeMoveReport<'_>>),
    ("home restore", false, schema::<HomeRestoreReport<'_>>),
    ("image diff", false, schema::<ImageDifference>),
    ("image du", false, schema::<StoreUseReport<'_>>),
    ("image export", false, schema::<ExportReport<'_>>),
    ("image fsck", false, schema::<FsckReport<'_>>),
    ("image gc", false, schema::<CollectionReport<'_>>),
    ("image import", false, schema::<ImportReport<'_>>),
    ("image inspect", false, schema::<InspectedImage<'_>>),
    ("image ls", false, schema::<ImageList<'_>>),
    ("image pin", false, schema::<PinReport>),
    ("image pull", false, schema::<PullReport<'_>>),
    ("image push", false, schema::<PushReport>),
    ("image rebase", false, schema::<Rebased>),
    ("image unpin", false, schema::<PinReport>),
    ("image untag", false, schema::<UntagReport<'_>>),
    ("image verify", false, schema::<ImageVerifyReport>),
    ("image why-kept", false, schema::<WhyKeptReport<'_>>),
    ("init", false, schema::<init::InitReport>),
    ("inventory", false, schema::<InventoryReport>),
    ("rehearse", false, schema::<RehearsalStatus>),
    ("job ls", false, schema::<Vec<JobStatus>>),
    ("schedule ls", false, schema::<Vec<ScheduleStatus>>),
    ("job run", false, schema::<RunReport>),
    ("lock", false, schema::<LockReport<'_>>),
    ("logs", true, schema::<LogLine>),
    ("patch", false, schema::<PatchOutcome<'_>>),
    ("plan", false, schema::<PlanReport>),
    ("preview ls", false, schema::<Vec<PreviewStatus>>),
    ("preview rm", false, schema::<OperationReport>),
    ("quarantine", false, schema::<QuarantineStatus>),
    ("quarantine ls", false, schema::<Vec<QuarantineStatus>>),
    ("quarantine release", false, schema::<QuarantineStatus>),
    ("receipt", false, schema::<Vec<Receipt>>),
    ("receipt ID", false, schema::<Receipt>),
    ("recycle", false, schema::<OperationReport>),
    ("reproduce", false, schema::<ReproductionReport<'_>>),
    ("resume", false, schema::<ResumeReport>),
    ("rollback", false, schema::<RollbackReport<'_>>),
    ("rollout abort", false, schema::<OperationReport>),
    ("rollout pause", false, schema::<OperationReport>),
    ("rollout promote", false, schema::<OperationReport>),
    ("rollout resume", false, schema::<OperationReport>),
    ("run", false, schema::<RunReport>),
    ("secret ls", false, schema::<Vec<ListedSecret>>),
    ("secret rm", false, schema::<RemovedSecret>),
    ("secret rotate", false, schema::<SecretReport>),
    ("secret set", false, schema::<SecretReport>),
    ("settings", false, schema::<SettingsReport>),
    ("state-lint", false, schema::<StateLintReport>),
    ("status", false, schema::<StatusReport>),
    ("token new", false, schema::<TokenReport>),
    ("top", false, schema::<FiguresReport>),
    ("top --since", false, schema::<FigureHistory>),
    ("up", false, schema::<OperationReport>),
    ("up --preview", false, schema::<PreviewReport>),
    ("upgrade", false, schema::<upgrade::UpgradeReport>),
    ("validate", false, schema::<validate::ValidationReport>),
    ("volume adopt", false, schema::<VolumeReport>),
    ("volume clone", false, schema::<VolumeReport>),
    ("volume grow", false, schema::<VolumeReport>),
    ("volume inspect", false, schema::<VolumeStatus>),
    ("volume ls", false, schema::<Vec<VolumeStatus>>),
    ("volume restore", false, schema::<VolumeReport>),
    ("volume rm", false, schema::<VolumeReport>),
    ("volume snapshot", false, schema::<VolumeReport>),
    ("verify", false, schema::<VerifyReport>),
    ("verify --tree", false, schema::<TreeReport<'_>>),
];

/// What a failure has beside its `error`, where that is not what the command prints otherwise.
const BESIDE_ERRORS: &[(&str, SchemaOf)] = &[
    ("build", schema::<TwiceReport<'_>>),
    ("image rebase", schema::<RefusedBase<'_>>),
    ("up", schema::<RefusedBase<'_>>),
];

/// Commands that print the same with and without `--json`, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("alerts rules", "a file for Prometheus"),
    ("completions", "a script for a shell"),
    ("edge", "a process"),
    ("editor", "documents of editors' formats"),
    ("image sbom", "documents of SPDX and CycloneDX"),
    ("manual", "pages for `man`"),
    ("openapi", "a document of OpenAPI"),
    ("serve", "a process"),
    ("shim", "a process"),
];

fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = SchemaGenerator::new(settings);
    let mut commands = Map::new();
    for (command, lines, schema) in REPORTS {
        let schema = schema(&mut generator);
        commands.insert((*command).to_owned(), json!({ "lines": lines, "schema": schema }));
    }
    for (command, schema) in BESIDE_ERRORS {
        commands[*command]["beside_error"] = json!(schema(&mut generator));
    }
    let error = generator.subschema_for::<ErrorReport<'_>>();
    let mistakes = generator.subschema_for::<MistakesReport<'_>>();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "What commands print with --json; `lines`: a value a line. A failure prints `error`, beside what \
                        there is to tell all the same: nothing, what the command prints otherwise, or its \
                        `beside_error`. Of mistakes in a `hornero.hcl` every command prints `mistakes`",
        "commands": commands,
        "error": error,
        "mistakes": mistakes,
        "$defs": generator.take_definitions(true),
    })
}

/// Every command that does something, by the words that it is called with, and what can be typed behind them.
fn commands() -> Vec<(String, Command)> {
    let mut root = Arguments::command();
    root.build();
    let mut pending: Vec<(String, Command)> = vec![(String::new(), root)];
    let mut found = Vec::new();
    while let Some((path, command)) = pending.pop() {
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let path = format!("{path} {}", below.get_name()).trim_start().to_owned();
            pending.push((path, below.clone()));
        }
        if !path.is_empty() && !command.is_subcommand_required_set() {
            found.push((path, command));
        }
    }
    found
}

/// The words of an argument, such as `--tree` and `ID`.
fn words_of(command: &Command) -> Vec<String> {
    let positional = command.get_positionals().flat_map(|one| one.get_value_names());
    let options = command.get_arguments().filter_map(|one| one.get_long());
    let options = options.map(|word| format!("--{word}"));
    let positional = positional.flatten().flat_map(|name| name.as_str().split('|'));
    positional.map(str::to_uppercase).chain(options).collect()
}

#[test]
fn the_page_of_schemas_is_what_the_code_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference/reports.json");
    let mut text = serde_json::to_string_pretty(&document()).unwrap();
    text.push('\n');
    expect_test::expect_file![path].assert_eq(&text);
}

#[test]
fn every_command_has_its_schema() {
    let commands = commands();
    let without: Vec<&str> = WITHOUT.iter().map(|(command, _)| *command).collect();
    for (path, _) in &commands {
        let has = REPORTS.iter().any(|(command, ..)| command == path);
        assert!(
            has != without.contains(&path.as_str()),
            "`{path}`: give what it prints with `--json` a struct and an entry in REPORTS, or say in WITHOUT why not"
        );
    }
    let is_command = |words: &str| commands.iter().any(|(path, _)| path == words);
    for (entry, ..) in REPORTS {
        let with_argument = entry.rsplit_once(' ').is_some_and(|(command, word)| {
            let command = commands.iter().find(|(path, _)| path == command);
            command.is_some_and(|(_, command)| words_of(command).iter().any(|one| one == word))
        });
        assert!(is_command(entry) || with_argument, "`{entry}` is no command");
    }
    assert!(without.iter().all(|command| is_command(command)), "{without:?}");
    let mut seen = BTreeSet::new();
    assert!(REPORTS.iter().all(|(entry, ..)| seen.insert(entry)));
}
