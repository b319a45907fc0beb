//! What would keep a rollout from being made, as far as this host tells before it begins.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
};

use hornero_api::message::{NotChecked, PlanProblem, PlanReport, RouteStatus, ServiceStatus};
use hornero_bake::PackagesForecast;
use hornero_edge::{CertificateFacts, TlsFile, look_at_certificate};
use hornero_model::{ImageName, Route, ServiceName, ServiceSpec, Timestamp};
use hornero_plan::{
    About, CertificateFact, MissingPackage, PackagesFact, PortFact, Problem, RouteKey,
    of_certificate, of_port,
};

use crate::{command::names::Known, harmless::harmless, project::DeclaredPlaces};

/// What is wrong with the ways into these services; `routes` are those that the home's own edge serves.
pub fn of_routes(
    services: &[ServiceSpec],
    routes: &[RouteStatus],
    places: &DeclaredPlaces<'_>,
) -> Vec<PlanProblem> {
    let now = Timestamp::now();
    let mut problems = Vec::new();
    for service in services {
        for (index, route) in service.routes.iter().enumerate() {
            problems.extend(of_port(&service.name, index, route, &port_fact(route, routes)));
            let fact = certificate_fact(route);
            problems.extend(
                fact.iter().flat_map(|fact| of_certificate(&service.name, index, route, fact, now)),
            );
        }
    }
    problems.into_iter().map(|problem| in_report(problem, places)).collect()
}

/// What is wrong with the packages of images, and of which nothing could tell.
pub fn of_packages(
    forecasts: &BTreeMap<ImageName, PackagesForecast>,
    places: &DeclaredPlaces<'_>,
    report: &mut PlanReport,
) {
    for (image, forecast) in forecasts {
        let fact = match forecast {
            PackagesForecast::Known(missing) => {
                PackagesFact::Known(missing.iter().map(missing_package).collect())
            }
            PackagesForecast::Unknown(reason) => PackagesFact::Unknown(reason.clone()),
        };
        let (problems, gap) = hornero_plan::of_packages(image, &fact);
        report.problems.extend(problems.into_iter().map(|problem| in_report(problem, places)));
        report.not_checked.extend(gap.map(|gap| NotChecked {
            kind: gap.kind.as_str().to_owned(),
            object: gap.object,
            what: gap.what.to_owned(),
            reason: gap.reason,
            hint: gap.remedy,
        }));
    }
}

/// Finds where control's problems are declared; it knows no file.
pub fn locate(problems: &mut [PlanProblem], places: &DeclaredPlaces<'_>) {
    for problem in problems {
        let service = ServiceName::new(&*problem.object).ok();
        if let (Some(service), Some(route)) = (service, problem.route) {
            let place = places.places.as_ref();
            let place = place.and_then(|file| file.route(&service, route, &["listen"]));
            put(problem, places.file, place);
        }
    }
}

/// Tells it to people.
pub fn tell(report: &PlanReport) {
    for problem in &report.problems {
        tell!("problem: {}.{}: {}", problem.kind, problem.object, harmless(&problem.reason));
        if let (Some(file), Some(line), Some(column)) =
            (&problem.file, problem.line, problem.column)
        {
            tell!("  at {file}:{line}:{column}");
        }
        if let Some(hint) = &problem.hint {
            tell!("  hint: {}", harmless(hint));
        }
    }
    for gap in &report.not_checked {
        tell!("not checked: {}.{}: {}: {}", gap.kind, gap.object, gap.what, harmless(&gap.reason));
        tell!("  hint: {}", gap.hint);
    }
}

fn in_report(problem: Problem, places: &DeclaredPlaces<'_>) -> PlanProblem {
    let file = places.places.as_ref();
    let (route, place) = match &problem.about {
        About::Package(package) => {
            let image = ImageName::new(&*problem.object).ok();
            (None, image.and_then(|image| file?.package(&image, package)))
        }
        About::Route { index, key } => {
            let service = ServiceName::new(&*problem.object).ok();
            let place = service.and_then(|service| file?.route(&service, *index, key.path()));
            (Some(*index), place)
        }
    };
    let mut told = PlanProblem {
        kind: problem.kind.as_str().to_owned(),
        object: problem.object,
        reason: problem.reason,
        hint: Some(problem.remedy),
        route,
        ..PlanProblem::default()
    };
    put(&mut told, places.file, place);
    told
}

fn put(problem: &mut PlanProblem, file: &str, place: Option<hornero_spec::Place>) {
    if let Some(place) = place {
        problem.file = Some(file.to_owned());
        problem.line = Some(place.line);
        problem.column = Some(place.column);
    }
}

fn missing_package((package, problem): &(String, hornero_bake::Unsatisfiable)) -> MissingPackage {
    MissingPackage {
        package: package.clone(),
        reason: problem.to_string(),
        suggestions: problem.suggestions.clone(),
    }
}

/// Whether another program listens where a route is to be; what the edge of this home has is its own.
fn port_fact(route: &Route, routes: &[RouteStatus]) -> PortFact {
    let port = route.listen;
    if routes.iter().any(|own| own.listen.port() == port) {
        return PortFact::Free;
    }
    let address =
        SocketAddr::new(route.address.unwrap_or(IpAddr::from(Ipv4Addr::UNSPECIFIED)), port);
    match TcpListener::bind(address) {
        // Closed at once: nobody ever saw it.
        Ok(_) => PortFact::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => PortFact::Taken,
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => PortFact::NoSuchAddress,
        // Such as a port that only root may listen on: control may.
        Err(_) => PortFact::Free,
    }
}

/// What the files of a route's certificate say; none where it has none.
fn certificate_fact(route: &Route) -> Option<CertificateFact> {
    let files = route.tls.as_ref()?;
    Some(match look_at_certificate(files, route.host.as_deref()) {
        Ok(CertificateFacts { holds, other_names }) => {
            CertificateFact::Usable { holds, other_names }
        }
        Err(fault) => {
            let file = match fault.file {
                TlsFile::Certificate => RouteKey::Certificate,
                TlsFile::Key => RouteKey::Key,
            };
            CertificateFact::Unusable { file, reason: fault.reason }
        }
    })
}

/// Services that another directory brought up last, and that this one is about to take over, by the names that images had
/// before this one was baked.
pub fn taken_over(
    known: &Known,
    directory: &Path,
    services: &[ServiceSpec],
    serving: &[ServiceStatus],
) -> Vec<String> {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mut told = Vec::new();
    for service in services {
        let status = serving.iter().find(|status| status.name == service.name);
        // Of those whose directory is recorded, the guard tells.
        let status = status.filter(|status| status.directory.is_none());
        let Some(image) = status.and_then(|status| status.image) else { continue };
        let made = || known.names.iter().filter(|named| named.image == image);
        let other = made().find(|named| named.directory != directory && named.is_live());
        if let (Some(other), false) = (other, made().any(|named| named.directory == directory)) {
            told.push(format!(
                "`{}` was brought up from `{}` before: this directory takes it over",
                service.name,
                other.directory.display()
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use hornero_model::{PortName, Protocol};

    use super::*;

    #[test]
    fn a_port_of_another_program_is_a_problem_and_one_of_the_edge_is_none() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = other.local_addr().unwrap();
        let route = Route {
            listen: address.port(),
            address: Some(address.ip()),
            port: PortName::new("http").unwrap(),
            host: None,
            path_prefix: None,
            protocol: Protocol::Http,
            tls: None,
            redirect_to: None,
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            limits: hornero_model::ListenerLimits::default(),
        };
        let name = ServiceName::new("site").unwrap();
        let told = |route: &Route, routes: &[RouteStatus]| {
            of_port(&name, 0, route, &port_fact(route, routes)).map(|problem| problem.reason)
        };
        let taken = told(&route, &[]).unwrap();
        assert_eq!(taken, format!("another program listens on `{address}`"));
        let own = RouteStatus {
            listen: address,
            protocol: Protocol::Http,
            host: None,
            path_prefix: None,
            pool: "site/http".to_owned(),
            release: None,
            shares: Vec::new(),
            fault: None,
            redirect_to: None,
        };
        assert_eq!(told(&route, &[own]), None);
        let elsewhere = Route { address: Some("192.0.2.1".parse().unwrap()), ..route.clone() };
        assert!(told(&elsewhere, &[]).unwrap().contains("no address of this host"));
        drop(other);
        assert_eq!(told(&route, &[]), None);
    }
}
