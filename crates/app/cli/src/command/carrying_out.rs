//! The end of `up`: control does what is asked, and where services answer is told.

use std::net::IpAddr;

use hornero_api::{
    Client,
    message::{ApplyRequest, ServiceOutcome},
};
use hornero_model::{Protocol, Route};
use serde::Serialize;

use crate::{
    command::{
        declared_jobs::{self, DirectoryJobs},
        declared_volumes,
        following::{Followed, Until, follow_until},
        operation,
        timings::{self, Stopwatch},
    },
    failure::Failure,
    output::{print_json, print_text},
    reports::{GoingOn, OperationReport, Timing},
};

/// What came of what was asked.
pub struct CarriedOut {
    /// The services.
    pub services: Vec<ServiceOutcome>,
    /// What goes on.
    pub goes_on: Option<GoingOn>,
    /// Where the time went, where that is wanted.
    pub timings: Option<Vec<Timing>>,
}

impl From<CarriedOut> for OperationReport {
    fn from(done: CarriedOut) -> Self {
        let CarriedOut { services, goes_on, timings } = done;
        Self { goes_on, timings, ..Self::of(services) }
    }
}

/// Has control do what is asked, and tells what came of it; jobs change once services are as they are declared; `report` is
/// what a script is told of the services.
pub async fn carry_out<R: Serialize>(
    client: &Client,
    json_wanted: bool,
    (request, jobs): (ApplyRequest, DirectoryJobs),
    (until, mut stopwatch): (Until, Stopwatch),
    report: impl FnOnce(CarriedOut) -> R,
    accepted: impl FnOnce(),
) -> Result<(), Failure> {
    // A server that starts finds its volume.
    if let Some(volumes) = jobs.volumes.clone() {
        declared_volumes::declare(client, &jobs.directory, volumes, &jobs.intent).await?;
    }
    let followed = follow_until(client, "/v1/apply", &request, accepted, until).await?;
    let outcome = &followed.outcome;
    stopwatch.operation(&followed);
    if let Err(failure) = operation::checked(outcome) {
        let timings = stopwatch.end();
        let told = timings.as_deref().map(timings::table).unwrap_or_default();
        let (services, goes_on) = (outcome.services.clone(), None);
        if !json_wanted {
            print_text(&told)?;
        }
        return Err(failure.with_data(report(CarriedOut { services, goes_on, timings })));
    }
    declared_jobs::declare(client, jobs).await?;
    stopwatch.lap("declare");
    let timings = stopwatch.end();
    let goes_on = going_on(&followed);
    if json_wanted {
        let services = outcome.services.clone();
        return print_json(&report(CarriedOut { services, goes_on, timings }));
    }
    for service in &outcome.services {
        match goes_on.as_ref().filter(|of| service.rollout == Some(of.rollout)) {
            Some(of) => tell_going_on(service, of)?,
            None => operation::tell(service)?,
        }
    }
    tell_urls(&request)?;
    print_text(&timings.as_deref().map(timings::table).unwrap_or_default())
}

/// What goes on without the command.
fn going_on(followed: &Followed) -> Option<GoingOn> {
    let rollout = followed.outcome.services.last().filter(|_| followed.goes_on)?.rollout?;
    let see = format!("hornero receipt {rollout} --wait");
    Some(GoingOn { operation: followed.operation, rollout, see })
}

fn tell_going_on(service: &ServiceOutcome, going_on: &GoingOn) -> Result<(), Failure> {
    let release = service.release.map_or_else(String::new, |release| format!("@{release}"));
    print_text(&format!(
        "{}{release} serves; it is watched while the old servers drain: `{}` shows how that ends\n",
        service.name, going_on.see
    ))
}

/// Tells where services answer.
fn tell_urls(request: &ApplyRequest) -> Result<(), Failure> {
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
fn in_url(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
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
