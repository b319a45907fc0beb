//! Previews: what a directory or a release shows beside what serves.

use std::path::{Path, PathBuf};

use hornero_api::{
    Client,
    message::{
        Intent, PreviewRequest, PreviewSource, PreviewStatus, RemovePreviewRequest, StatusReport,
    },
};
use hornero_model::{Millis, PreviewName, ServiceName, ServiceSpec, Share, Timestamp};

use crate::{
    arguments::{PreviewCommand, PreviewWords, Source, UpArguments},
    command::{
        absent, bake,
        configuration::{self, Kept},
        desired, following, operation, stores,
    },
    commit, daemon,
    failure::{Failure, exit},
    output::{Table, Tone, age, print_json, print_list, print_text, short},
    project,
    reports::{OperationReport, PreviewReport},
};

/// `hornero preview`.
pub async fn run(home: &Path, json: bool, command: PreviewCommand) -> Result<(), Failure> {
    match command {
        PreviewCommand::Ls => list(home, json).await,
        PreviewCommand::Rm { name, reason } => remove(home, json, &name, reason).await,
    }
}

/// `hornero up --preview`.
pub async fn up(
    home: &Path,
    json: bool,
    name: PreviewName,
    arguments: UpArguments,
) -> Result<(), Failure> {
    let UpArguments { source, reason, preview, .. } = arguments;
    let PreviewWords { release, dir, share, lasts, services, .. } = preview;
    let named = named(&source.dir, services)?;
    let share = share.unwrap_or(0);
    let lasts = Millis(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
    let client = operation::client_of(home).await?;
    let request = |source, commit| {
        let intent = Intent { why: reason, commit };
        PreviewRequest { name: name.clone(), source, share, lasts, intent }
    };
    let Some(number) = release else {
        let dir = dir.unwrap_or_else(|| PathBuf::from("."));
        let source = Source { dir, ..source };
        let project = project::read(&source, json)?;
        configuration::check_secrets(home, &project.spec)?;
        let status: StatusReport = client.get("/v1/status").await?;
        let chosen = chosen(&named, project.spec.services.keys(), &status)?;
        let store = stores::store(home)?;
        let lease = store.lease()?;
        let baked = bake::bake(home, &source, &project, None, bake::How::default())?;
        let kept = Some(Kept { home, store: &store });
        let mut services: Vec<ServiceSpec> =
            desired::specs(kept, &project.spec, bake::digests(&baked))?;
        services.retain(|spec| chosen.contains(&spec.name));
        let request = request(PreviewSource::Services(services), commit::commit(&project.dir));
        return show(&client, json, &request, move || drop(lease)).await;
    };
    let [service] = &named[..] else {
        let text = "a release is one service\'s: name it, as in `hornero up --preview old --release 16 site`";
        return Err(Failure::new(exit::USAGE, text));
    };
    let source = PreviewSource::Release { service: service.clone(), number };
    show(&client, json, &request(source, None), || ()).await
}

/// The services that were named; the first stands where a plain `up` has its directory.
fn named(first: &Path, services: Vec<ServiceName>) -> Result<Vec<ServiceName>, Failure> {
    if first == Path::new(".") {
        return Ok(services);
    }
    let name = first.to_string_lossy();
    let first = ServiceName::new(&*name).map_err(|error| {
        let hint = "with `--preview` a directory comes behind `--dir`";
        Failure::new(exit::USAGE, error).hint(hint)
    })?;
    Ok([first].into_iter().chain(services).collect())
}

/// The services to show: those that were named, or all that are declared and serve.
fn chosen<'s>(
    named: &[ServiceName],
    declared: impl Iterator<Item = &'s ServiceName>,
    status: &StatusReport,
) -> Result<Vec<ServiceName>, Failure> {
    let declared: Vec<&ServiceName> = declared.collect();
    if let Some(unknown) = named.iter().find(|name| !declared.contains(name)) {
        let text = format!("the directory declares no service `{unknown}`");
        return Err(Failure::new(exit::NO_SUCH_OBJECT, text));
    }
    let serves = |name: &ServiceName| {
        status.services.iter().any(|service| service.name == *name && service.release.is_some())
    };
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let (serving, absent): (Vec<&ServiceName>, Vec<_>) =
        declared.into_iter().partition(|name| serves(name));
    for name in absent {
        tell!("note: `{name}` does not serve, so there is nothing that it could be shown beside");
    }
    match serving.is_empty() {
        true => Err(Failure::new(
            exit::NO_SUCH_OBJECT,
            "none of what the directory declares serves: a preview stands beside what does",
        )),
        false => Ok(serving.into_iter().cloned().collect()),
    }
}

async fn show(
    client: &Client,
    json: bool,
    request: &PreviewRequest,
    accepted: impl FnOnce(),
) -> Result<(), Failure> {
    let outcome = following::follow(client, "/v1/previews", request, accepted).await?;
    let status: StatusReport = client.get("/v1/status").await?;
    let previews = status.previews.into_iter().filter(|of| of.name == request.name).collect();
    let report = PreviewReport { previews };
    operation::checked(&outcome).map_err(|failure| failure.with_data(&report))?;
    if json {
        return print_json(&report);
    }
    print_text(&table(&report.previews, Timestamp::now(), crate::output::coloured()))
}

async fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let previews = absent::status(home).await?.previews;
    print_list(json, &previews, "no previews; `hornero up --preview NAME` shows one", table)
}

/// Previews for people.
pub fn table(previews: &[PreviewStatus], now: Timestamp, colour: bool) -> String {
    let heads = ["PREVIEW", "OF", "SHOWS", "STATE", "HEALTHY", "SHARE", "ENDS", "BY", "REACHED BY"];
    let mut table = Table::with_head(&heads);
    for preview in previews {
        let shows = match preview.release {
            Some(number) => format!("release {number}"),
            None => short(preview.image.as_ref()),
        };
        let tone = match preview.state.as_str() {
            "serving" => Tone::Good,
            "unhealthy" => Tone::Bad,
            _ => Tone::Passing,
        };
        let share = match preview.share {
            0 => "-".to_owned(),
            share => Share::percent(share),
        };
        let ways = preview.hosts.iter().map(String::as_str).chain([preview.header.as_str()]);
        table.row(vec![
            (preview.name.to_string(), Tone::Plain),
            (preview.service.to_string(), Tone::Plain),
            (shows, Tone::Plain),
            (preview.state.clone(), tone),
            (format!("{}/{}", preview.healthy, preview.wanted), tone),
            (share, Tone::Plain),
            (format!("in {}", age(preview.until, now)), Tone::Quiet),
            (preview.by.who.clone(), Tone::Quiet),
            (ways.collect::<Vec<_>>().join(", "), Tone::Plain),
        ]);
    }
    table.render(colour)
}

async fn remove(home: &Path, json: bool, name: &PreviewName, why: String) -> Result<(), Failure> {
    let client = daemon::ensure(home).await?;
    let request = RemovePreviewRequest { intent: Intent { why, commit: None } };
    let path = format!("/v1/previews/{name}/remove");
    let outcome = following::follow(&client, &path, &request, || ()).await?;
    operation::checked(&outcome)?;
    if json {
        return print_json(&OperationReport::of(outcome.services));
    }
    print_text(&format!("preview `{name}` is gone\n"))
}
