//! `plan`: what `up` would do, in which order and why, and what guards say.

use std::path::Path;

use hornero_api::{
    Client, ClientError,
    message::{PlanImage, PlanReport, PlanRequest, StatusReport},
};
use hornero_model::{Digest, Directory, ImageName};

use crate::{
    arguments::PlanArguments,
    command::{
        bake,
        configuration::{self, Kept},
        doctor, names, plan_file, problems, up, whole,
    },
    daemon,
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
    project::{self, Project},
};

/// `hornero plan`: changes nothing.
pub async fn plan(
    home: &Path,
    json_wanted: bool,
    arguments: &PlanArguments,
) -> Result<(), Failure> {
    let source = &arguments.source;
    let project = project::read(source, json_wanted)?;
    up::refuse_stateful(&project.spec)?;
    configuration::check_secrets(home, &project.spec)?;
    for remark in doctor::remarks(home) {
        eprintln!("note: {remark}");
    }
    if source.locked {
        bake::check_lock(home, &project)?;
    }
    let directory = whole::directory(&project.dir)?;
    let request = foreseen(home, &project, directory)?;
    let client = Client::new(daemon::socket(home));
    let status = client.get::<StatusReport>("/v1/status").await.ok();
    if status.is_none() && home.join("ledger.db").exists() {
        eprintln!("note: the control process does not run, so what serves healthy is not known");
    }
    let mut report = ask(home, &request).await?;
    let (routes, serving) =
        status.map(|status| (status.routes, status.services)).unwrap_or_default();
    let known = names::all(home).unwrap_or_default();
    let places = project.places();
    problems::locate(&mut report.problems, &places);
    report.problems.extend(problems::of_routes(&request.services, &routes, &places));
    let packages = bake::foresee_packages(home, &project)?;
    problems::of_packages(&packages, &places, &mut report);
    for taken in problems::taken_over(&known, &project.dir, &request.services, &serving) {
        eprintln!("warning: {taken}");
    }
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

/// What bringing up a directory would be asked with, as far as it can be told without baking.
pub fn foreseen(
    home: &Path,
    project: &Project,
    directory: Directory,
) -> Result<PlanRequest, Failure> {
    let images = bake::foresee(home, project)?;
    // What is still to be baked has no digest yet; zeros differ from every image there is.
    let digest_of = |name: &ImageName| {
        let image = images.iter().find(|image| image.name == *name);
        Some(image.and_then(|image| image.digest).unwrap_or_else(|| Digest::from_bytes([0; 32])))
    };
    let store = bake::store(home)?;
    Ok(PlanRequest {
        images: images
            .iter()
            .map(|image| PlanImage { name: image.name.clone(), bake: image.why.clone() })
            .collect(),
        services: up::specs(Some(Kept { home, store: &store }), &project.spec, digest_of)?,
        directory: Some(directory),
    })
}

/// Asks control what would change; the ledger, where control does not run.
pub async fn ask(home: &Path, request: &PlanRequest) -> Result<PlanReport, Failure> {
    let client = Client::new(daemon::socket(home));
    match client.post("/v1/plan", request).await {
        Ok(report) => Ok(report),
        Err(ClientError::Unreachable { .. }) => {
            hornero_control::plan_offline(home, request).map_err(|error| Failure::of(&*error))
        }
        Err(error) => Err(error.into()),
    }
}

fn tell(report: &PlanReport, json_wanted: bool) -> Result<(), Failure> {
    if json_wanted {
        return print_json(report);
    }
    problems::tell(report);
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
