//! `plan`: what `up` would do, in which order and why, and what guards say.

use std::path::Path;

use hornero_api::{
    Client,
    message::{PlanReport, PlannedPreview, StatusReport},
};
use hornero_model::{Share, Timestamp};

use crate::{
    arguments::PlanArguments,
    command::{
        bake, calls, configuration, doctor, foreseen, names, plan_file, problems, state_lint, whole,
    },
    daemon,
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
    project,
};

/// `hornero plan`: changes nothing.
pub async fn plan(
    home: &Path,
    json_wanted: bool,
    arguments: &PlanArguments,
) -> Result<(), Failure> {
    let source = &arguments.source;
    let project = project::read(source, json_wanted)?;
    configuration::check_secrets(home, &project.spec)?;
    for remark in doctor::remarks(home) {
        tell!("note: {remark}");
    }
    if source.locked {
        bake::check_lock(home, &project)?;
    }
    let directory = whole::directory(&project.dir)?;
    let request = foreseen::request(home, &project, directory)?;
    let client = Client::new(daemon::socket(home));
    let status = client.get::<StatusReport>("/v1/status").await.ok();
    if status.is_none() && home.join("ledger.db").exists() {
        tell!("note: the control process does not run, so what serves healthy is not known");
    }
    let mut report = foreseen::ask(home, &request).await?;
    let (routes, serving) =
        status.map(|status| (status.routes, status.services)).unwrap_or_default();
    let known = names::all(home).unwrap_or_default();
    let places = project.places();
    problems::locate(&mut report.problems, &places);
    report.problems.extend(problems::of_routes(&request.services, &routes, &places));
    let packages = bake::foresee_packages(home, &project)?;
    problems::of_packages(&packages, &places, &mut report);
    for taken in problems::taken_over(&known, &project.dir, &request.services, &serving) {
        tell!("warning: {taken}");
    }
    let services = request.services.iter();
    state_lint::warn(home, &project, |name| {
        services.clone().find(|service| service.image_name == *name).map(|service| service.image)
    });
    let mut adopt = Vec::new();
    whole::release_dead(&mut report, &mut adopt);
    if let Some(file) = &arguments.out {
        plan_file::write(file, source, request, &report, adopt)?;
    }
    // Of use in a file only.
    report.standings.clear();
    tell(&report, json_wanted)?;
    match arguments.detailed_exitcode && !report.changes.is_empty() {
        true => Err(Failure::reported(exit::CHANGES)),
        false => Ok(()),
    }
}

fn tell(report: &PlanReport, json_wanted: bool) -> Result<(), Failure> {
    if json_wanted {
        return print_json(report);
    }
    problems::tell(report);
    for PlannedPreview { name, service, share, until } in &report.previews {
        let gets = match share {
            0 => String::new(),
            share => format!(" with {} of its requests", Share::percent(*share)),
        };
        tell!("note: preview `{name}` of `{service}` stays beside it{gets} until {until}");
    }
    crate::output::write_stderr(&calls::undeclared(&report.undeclared_calls, Timestamp::now()));
    if report.changes.is_empty() {
        return print_text("nothing to change\n");
    }
    let mut table = Table::with_head(&["OBJECT", "ACTION", "WHY"]);
    for change in &report.changes {
        let tone = if change.action == "remove" { Tone::Bad } else { Tone::Passing };
        table.row(vec![
            (format!("{}.{}", change.kind, change.object), Tone::Plain),
            (change.action.clone(), tone),
            (change.reason.clone(), Tone::Plain),
        ]);
    }
    table.print()
}
