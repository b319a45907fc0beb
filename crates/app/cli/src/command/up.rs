//! `up` and `down`: the commands that join a directory with what runs.

use std::path::{Path, PathBuf};

use hornero_api::{
    Client,
    message::{ApplyRequest, Intent, PlanChange, PlanReport, PlanRequest, StatusReport},
};
use hornero_bake::BakedImage;
use hornero_doctor::Need;
use hornero_model::{Digest, Directory, ImageName, Protocol, Route, ServiceKind, ServiceSpec};
use hornero_spec::{FILE_NAME, Spec};
use serde_json::json;

use crate::{
    arguments::{Source, UpArguments},
    command::{
        bake,
        configuration::{self, Kept},
        doctor, named, names, operation, plan_file, problems,
        whole::{self, Agreed, Consent},
    },
    commit, daemon,
    failure::{Failure, exit},
    output::{print_json, print_text},
    project,
};

/// `hornero up`: bake, test, release, roll out, wait, read back.
pub async fn up(home: &Path, json_wanted: bool, arguments: UpArguments) -> Result<(), Failure> {
    doctor::before(home, Need::Run, true)?;
    if arguments.source.dir.is_file() {
        return plan_file::apply(home, json_wanted, &arguments).await;
    }
    let consent = Consent::of(&arguments, json_wanted);
    let UpArguments { source, reason, base, .. } = arguments;
    let store = bake::store(home)?;
    let base = base.map(|base| named::image_in(home, &store, &source.dir, &base)).transpose()?;
    let how = bake::How { base, ..bake::How::default() };
    roll_out(home, json_wanted, (&source, how), consent, reason, json!({})).await
}

/// Bakes and rolls out; `data` is what else a script is told.
pub async fn roll_out(
    home: &Path,
    json_wanted: bool,
    (source, how): (&Source, bake::How),
    consent: Consent,
    reason: String,
    data: serde_json::Value,
) -> Result<(), Failure> {
    let project = project::read(source, json_wanted)?;
    refuse_stateful(&project.spec)?;
    configuration::check_secrets(home, &project.spec)?;
    let agreed = whole::agree(home, &project, consent).await?;
    // Nothing of it is collected before control holds it: a long drain keeps no collection waiting.
    let store = bake::store(home)?;
    let lease = store.lease()?;
    let known = names::all(home).unwrap_or_default();
    let mut baked = bake::bake(home, source, &project, None, how)?;
    let client = daemon::ensure(home).await?;
    let mut services = specs(Some(Kept { home, store: &store }), &project.spec, digests(&baked))?;
    let serving = client.get::<StatusReport>("/v1/status").await?.services;
    for taken in problems::taken_over(&known, &project.dir, &services, &serving) {
        eprintln!("warning: {taken}");
    }
    let directory = &agreed.directory;
    let mut plan = changes(&client, directory, &services).await?;
    if !plan.changes.is_empty() && !bake::are_whole(home, &baked)? {
        let how = bake::How { verify: true, ..how };
        baked = bake::bake(home, source, &project, None, how)?;
        services = specs(Some(Kept { home, store: &store }), &project.spec, digests(&baked))?;
        plan = changes(&client, directory, &services).await?;
    }
    let is_left = |change: &PlanChange| {
        change.action == "remove"
            && !agreed.remove.iter().any(|name| name.as_str() == change.object)
    };
    for change in plan.changes.iter().filter(|change| !is_left(change)) {
        eprintln!(
            "plan     {}.{}: {}: {}",
            change.kind, change.object, change.action, change.reason
        );
    }
    let Agreed { directory, adopt, remove, retry_failed } = agreed;
    let intent = Intent { why: reason, commit: commit::commit(&project.dir) };
    let directory = Some(directory);
    let planned = Vec::new();
    let request =
        ApplyRequest { services, directory, adopt, remove, planned, retry_failed, intent };
    carry_out(&client, json_wanted, request, data, move || drop(lease)).await
}

/// Has control do what is asked, and tells what came of it; `data` is what else a script is told.
pub async fn carry_out(
    client: &Client,
    json_wanted: bool,
    request: ApplyRequest,
    mut data: serde_json::Value,
    accepted: impl FnOnce(),
) -> Result<(), Failure> {
    let outcome = operation::follow(client, "/v1/apply", &request, accepted).await?;
    data["services"] = json!(outcome.services);
    operation::checked(&outcome).map_err(|failure| failure.with_data(data.clone()))?;
    if json_wanted {
        return print_json(&data);
    }
    outcome.services.iter().try_for_each(operation::tell)?;
    let routes = request
        .services
        .iter()
        .flat_map(|service| service.routes.iter().map(move |route| (&service.name, route)));
    routes.into_iter().try_for_each(|(service, route)| {
        let url = url(route);
        print_text(&match route.redirect_to {
            Some(port) => format!("{service} redirects {url} to port {port}\n"),
            None => format!("{service} answers at {url}\n"),
        })
    })
}

/// Where a route answers: by its own host name where it has one, since it answers to no other.
fn url(route: &Route) -> String {
    let address = match (&route.host, route.address) {
        // Any name fits; `NAME` is none that anybody takes for one.
        (Some(host), _) => host.replacen('*', "NAME", 1),
        (None, Some(address)) if !address.is_unspecified() => in_url(address),
        (None, Some(_) | None) => "localhost".to_owned(),
    };
    let scheme = match (route.protocol, &route.tls) {
        (Protocol::Tcp, _) => "tcp",
        (Protocol::Http, None) => "http",
        (Protocol::Http, Some(_)) => "https",
    };
    let path = match route.protocol {
        Protocol::Tcp => "",
        Protocol::Http => route.path_prefix.as_deref().unwrap_or("/"),
    };
    format!("{scheme}://{address}:{}{path}", route.listen)
}

/// An address as URLs have it (RFC 3986, 3.2.2).
fn in_url(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => address.to_string(),
        std::net::IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// What rolling out `services` would change.
async fn changes(
    client: &Client,
    directory: &Directory,
    services: &[ServiceSpec],
) -> Result<PlanReport, Failure> {
    let directory = Some(directory.clone());
    let request = PlanRequest { images: Vec::new(), services: services.to_vec(), directory };
    Ok(client.post("/v1/plan", &request).await?)
}

/// The digests of images that were baked, by name.
fn digests(baked: &[BakedImage]) -> impl Fn(&ImageName) -> Option<Digest> {
    |name| baked.iter().find(|image| image.name == *name).map(|image| image.digest)
}

/// Volumes can be declared, but nothing here can move one to a new server yet: better said before than half done.
pub fn refuse_stateful(spec: &Spec) -> Result<(), Failure> {
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

/// The services in the order they go, those without a digest left out; without the store, what their images are made on is
/// left out too.
pub fn specs(
    kept: Option<Kept<'_>>,
    spec: &Spec,
    digest_of: impl Fn(&ImageName) -> Option<Digest>,
) -> Result<Vec<ServiceSpec>, Failure> {
    let order = spec.order().services;
    let services = order.iter().filter_map(|name| spec.services.get(name));
    services
        .filter_map(|service| Some((service, digest_of(&service.image)?)))
        .map(|(service, image)| {
            let base = kept.map(|kept| named::base_of(kept.store, &image)).transpose()?.flatten();
            configuration::complete(
                kept,
                service,
                ServiceSpec { base, ..service.clone().into_service_spec(image) },
            )
        })
        .collect()
}

/// What to take down.
pub enum Which {
    /// What this directory declares; everything, where it declares nothing.
    Here,
    /// What a directory declares.
    Declared(PathBuf),
    /// Everything in the home.
    Everything,
}

/// `hornero down`.
pub async fn down(
    home: &Path,
    json_wanted: bool,
    which: Which,
    reason: String,
) -> Result<(), Failure> {
    // Where nothing ever ran there is nothing to find out.
    let here = Path::new(FILE_NAME).is_file() && home.join("ledger.db").exists();
    let (dir, is_named) = match which {
        Which::Declared(dir) => (Some(dir), true),
        Which::Here => (here.then(|| PathBuf::from(".")), false),
        Which::Everything => (None, true),
    };
    let services = match dir {
        None => None,
        Some(dir) => {
            let services = project::services(&dir, json_wanted).inspect_err(|_| {
                if !is_named {
                    eprintln!("hint: `hornero down --all` takes down everything in this home");
                }
            })?;
            Some((whole::directory(&dir)?, services))
        }
    };
    operation::down(home, json_wanted, services, reason).await
}

#[cfg(test)]
mod tests {
    use hornero_model::PortName;

    use super::*;

    #[test]
    fn a_url_is_one_that_the_route_answers_to() {
        let url = |address: Option<&str>, host: Option<&str>, path: Option<&str>| {
            url(&Route {
                listen: 8080,
                address: address.map(|address| address.parse().unwrap()),
                port: PortName::new("http").unwrap(),
                host: host.map(str::to_owned),
                path_prefix: path.map(str::to_owned),
                protocol: Protocol::Http,
                tls: None,
                redirect_to: None,
                trusted_proxies: Vec::new(),
                proxy_protocol: false,
                limits: hornero_model::ListenerLimits::default(),
            })
        };
        assert_eq!(url(None, None, None), "http://localhost:8080/");
        assert_eq!(url(Some("::"), None, None), "http://localhost:8080/");
        assert_eq!(url(Some("2001:db8::1"), None, Some("/api")), "http://[2001:db8::1]:8080/api");
        assert_eq!(url(None, Some("shop.example.org"), None), "http://shop.example.org:8080/");
        let wild = url(Some("127.0.0.1"), Some("*.example.org"), None);
        assert_eq!(wild, "http://NAME.example.org:8080/");
    }
}
