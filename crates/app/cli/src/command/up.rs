//! `up`, `plan` and `down`: the commands that join a directory with what runs.

use std::path::Path;

use hornero_api::{
    Client, ClientError,
    message::{ApplyRequest, Intent, PlanImage, PlanReport, PlanRequest},
};
use hornero_bake::BakedImage;
use hornero_doctor::Need;
use hornero_model::{Digest, ImageName, ServiceKind, ServiceSpec};
use hornero_spec::Spec;
use hornero_store::Store;
use serde_json::json;

use crate::{
    arguments::Source,
    command::{bake, doctor, named, operation},
    commit, daemon,
    failure::{Failure, exit},
    output::{Table, Tone, print_json, print_text},
    project,
};

/// `hornero up`: bake, test, release, roll out, wait, read back.
pub async fn up(
    home: &Path,
    json_wanted: bool,
    source: &Source,
    reason: String,
    base: Option<&str>,
) -> Result<(), Failure> {
    doctor::before(home, Need::Run, true)?;
    let store = bake::store(home)?;
    let base = base.map(|base| named::image_in(home, &store, &source.dir, base)).transpose()?;
    let how = bake::How { base, ..bake::How::default() };
    roll_out(home, json_wanted, source, reason, how, json!({})).await
}

/// Bakes and rolls out; `data` is what else a script is told.
pub async fn roll_out(
    home: &Path,
    json_wanted: bool,
    source: &Source,
    reason: String,
    how: bake::How,
    mut data: serde_json::Value,
) -> Result<(), Failure> {
    let project = project::read(source, json_wanted)?;
    refuse_stateful(&project.spec)?;
    for service in project.spec.services.values().filter(|service| service.max_age.is_some()) {
        // Said rather than silently left undone.
        eprintln!(
            "note     service.{}: `max_age` is recorded, but this version recycles nothing",
            service.name
        );
    }
    // Nothing of it is collected before control holds it: a long drain keeps no collection waiting.
    let store = bake::store(home)?;
    let lease = store.lease()?;
    let mut baked = bake::bake(home, source, &project, None, how)?;
    let client = daemon::ensure(home).await?;
    let mut services = specs(&store, &project.spec, digests(&baked))?;
    let mut plan = changes(&client, &services).await?;
    if !plan.changes.is_empty() && !bake::are_whole(home, &baked)? {
        let how = bake::How { verify: true, ..how };
        baked = bake::bake(home, source, &project, None, how)?;
        services = specs(&store, &project.spec, digests(&baked))?;
        plan = changes(&client, &services).await?;
    }
    for change in &plan.changes {
        eprintln!(
            "plan     {}.{}: {}: {}",
            change.kind, change.object, change.action, change.reason
        );
    }
    let intent = Intent { why: reason, commit: commit::commit(&project.dir) };
    let request = ApplyRequest { services, intent };
    let outcome = operation::follow(&client, "/v1/apply", &request, move || drop(lease)).await?;
    data["services"] = json!(outcome.services);
    operation::checked(&outcome).map_err(|failure| failure.with_data(data.clone()))?;
    if json_wanted {
        return print_json(&data);
    }
    outcome.services.iter().try_for_each(operation::tell)?;
    for service in project.spec.services.values() {
        for route in &service.routes {
            let address = route.address.map_or_else(|| "localhost".to_owned(), in_url);
            let scheme = match (route.protocol, &route.tls) {
                (hornero_model::Protocol::Tcp, _) => "tcp",
                (hornero_model::Protocol::Http, None) => "http",
                (hornero_model::Protocol::Http, Some(_)) => "https",
            };
            let path = route.path_prefix.as_deref().unwrap_or("/");
            print_text(&format!(
                "{} answers at {scheme}://{address}:{}{path}\n",
                service.name, route.listen
            ))?;
        }
    }
    Ok(())
}

/// An address as URLs have it (RFC 3986, 3.2.2).
fn in_url(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// What rolling out `services` would change.
async fn changes(client: &Client, services: &[ServiceSpec]) -> Result<PlanReport, Failure> {
    let request = PlanRequest { images: Vec::new(), services: services.to_vec() };
    Ok(client.post("/v1/plan", &request).await?)
}

/// The digests of images that were baked, by name.
fn digests(baked: &[BakedImage]) -> impl Fn(&ImageName) -> Option<Digest> {
    |name| baked.iter().find(|image| image.name == *name).map(|image| image.digest)
}

/// Volumes can be declared, but nothing here can move one to a new server yet: better said before than half done.
fn refuse_stateful(spec: &Spec) -> Result<(), Failure> {
    let stateful = spec
        .services
        .values()
        .find(|service| service.kind == ServiceKind::Stateful || !service.mounts.is_empty());
    match stateful {
        None => Ok(()),
        Some(service) => Err(Failure::new(
            exit::FAILED,
            format!("service `{}` is stateful, and this version rolls out stateless services only", service.name),
        )
        .hint("nothing was changed; run the database as you do today and let its clients be services here")),
    }
}

/// The services in the order they go, those without a digest left out.
fn specs(
    store: &Store,
    spec: &Spec,
    digest_of: impl Fn(&ImageName) -> Option<Digest>,
) -> Result<Vec<ServiceSpec>, Failure> {
    let order = spec.order().services;
    let services = order.iter().filter_map(|name| spec.services.get(name));
    services
        .filter_map(|service| Some((service, digest_of(&service.image)?)))
        .map(|(service, image)| {
            let base = named::base_of(store, &image)?;
            Ok(ServiceSpec { base, ..service.clone().into_service_spec(image) })
        })
        .collect()
}

/// `hornero plan`: what `up` would do, and why; changes nothing.
pub async fn plan(home: &Path, json_wanted: bool, source: &Source) -> Result<(), Failure> {
    let project = project::read(source, json_wanted)?;
    refuse_stateful(&project.spec)?;
    for remark in doctor::remarks(home) {
        eprintln!("note: {remark}");
    }
    let images = bake::foresee(home, &project)?;
    // What is still to be baked has no digest yet; zeros differ from every image there is.
    let digest_of = |name: &ImageName| {
        let image = images.iter().find(|image| image.name == *name);
        Some(image.and_then(|image| image.digest).unwrap_or_else(|| Digest::from_bytes([0; 32])))
    };
    let request = PlanRequest {
        images: images
            .iter()
            .map(|image| PlanImage { name: image.name.clone(), bake: image.why.clone() })
            .collect(),
        services: specs(&bake::store(home)?, &project.spec, digest_of)?,
    };
    let client = Client::new(daemon::socket(home));
    let report = match client.post("/v1/plan", &request).await {
        Ok(report) => report,
        // Nothing runs, so everything is new; the ledger is read where there is one.
        Err(ClientError::Unreachable { .. }) => {
            if home.join("ledger.db").exists() {
                eprintln!(
                    "note: the control process does not run, so what serves healthy is not known"
                );
            }
            hornero_control::plan_offline(home, &request).map_err(|error| Failure::of(&*error))?
        }
        Err(error) => return Err(error.into()),
    };
    if json_wanted {
        return print_json(&report);
    }
    if report.changes.is_empty() {
        return print_text("nothing to change\n");
    }
    let mut table = Table::with_head(&["OBJECT", "ACTION", "WHY"]);
    for change in report.changes {
        table.row(vec![
            (format!("{}.{}", change.kind, change.object), Tone::Plain),
            (change.action, Tone::Passing),
            (change.reason, Tone::Plain),
        ]);
    }
    table.print()
}

/// `hornero down`: what a directory declares, or everything.
pub async fn down(
    home: &Path,
    json_wanted: bool,
    dir: Option<&Path>,
    variables: Vec<(String, String)>,
    reason: String,
) -> Result<(), Failure> {
    let services = match dir {
        None => None,
        Some(dir) => {
            let source = Source { dir: dir.to_owned(), variables, locked: false };
            Some(project::read(&source, json_wanted)?.spec.services.into_keys().collect())
        }
    };
    operation::down(home, json_wanted, services, reason).await
}
