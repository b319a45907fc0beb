//! What would keep a change from being made, as far as the world, this host and its archives tell before it begins.

use hornero_model::{ImageName, Route, ServiceName, ServiceSpec, Timestamp};
use hornero_rollout::{World, clash_with};

use crate::ObjectKind;

/// What is wrong with an image or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub object: String,
    /// What of it.
    pub about: About,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: String,
}

/// Something that was not looked at, because nothing here could tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotChecked {
    /// What kind of object.
    pub kind: ObjectKind,
    /// Its name.
    pub object: String,
    /// What of it, such as `packages`.
    pub what: &'static str,
    /// Why nothing could tell.
    pub reason: String,
    /// What to do, so that it can be.
    pub remedy: String,
}

/// The part of an object that a problem is about, as `hornero.hcl` declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// A package of an image.
    Package(String),
    /// A route of a service.
    Route {
        /// Which of its routes, counted from 0.
        index: usize,
        /// The key of it.
        key: RouteKey,
    },
}

/// A key of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKey {
    /// `listen`
    Listen,
    /// `address`
    Address,
    /// `certificate` of its `tls`
    Certificate,
    /// `key` of its `tls`
    Key,
}

impl RouteKey {
    /// The path of the key within its route.
    pub const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Listen => &["listen"],
            Self::Address => &["address"],
            Self::Certificate => &["tls", "certificate"],
            Self::Key => &["tls", "key"],
        }
    }
}

/// What is known of the place where a route is to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortFact {
    /// Nobody else listens there, or nothing could tell.
    Free,
    /// Another program does.
    Taken,
    /// It is no address of this host.
    NoSuchAddress,
}

/// What is known of a route's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateFact {
    /// One of its files can't be used.
    Unusable {
        /// Which: [`RouteKey::Certificate`] or [`RouteKey::Key`].
        file: RouteKey,
        /// Why.
        reason: String,
    },
    /// It can be served.
    Usable {
        /// From when to when it says that it holds; none where that could not be read.
        holds: Option<(Timestamp, Timestamp)>,
        /// Where it is not for the route's host: the names that it is for.
        other_names: Option<Vec<String>>,
    },
}

/// What is known of the packages of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackagesFact {
    /// They are there, all but these.
    Known(Vec<MissingPackage>),
    /// Nothing here could tell, and why.
    Unknown(String),
}

/// A package that no archive of an image has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingPackage {
    /// As the image asks for it, with its version where it names one.
    pub package: String,
    /// Why it can't be had.
    pub reason: String,
    /// Names that may have been meant, the likeliest first.
    pub suggestions: Vec<String>,
}

/// Ways in that another service of the world has already. Those of `services` are each other's own matter: they change
/// together; those of what is `gone` with them are given over.
pub fn clashes(services: &[ServiceSpec], gone: &[ServiceName], world: &World) -> Vec<Problem> {
    let changes = |name: &ServiceName| services.iter().any(|service| service.name == *name);
    let stays = |name: &ServiceName| !changes(name) && !gone.contains(name);
    let clashing = services.iter().filter_map(|spec| clash_with(world, spec, stays).err());
    clashing
        .map(|clash| {
            let about = About::Route { index: clash.route, key: RouteKey::Listen };
            let remedy = format!("write another port as `listen`, or take `{}` down", clash.other);
            of_service(&clash.service, about, clash.to_string(), remedy)
        })
        .collect()
}

/// What is wrong with the place where a route is to listen.
pub fn of_port(
    service: &ServiceName,
    index: usize,
    route: &Route,
    fact: &PortFact,
) -> Option<Problem> {
    let address = hornero_rollout::socket(route);
    let (key, reason, remedy) = match fact {
        PortFact::Free => return None,
        PortFact::Taken => (
            RouteKey::Listen,
            format!("another program listens on `{address}`"),
            format!(
                "write another port as `listen`, or end that program: `ss -ltnp 'sport = :{}'` names it",
                route.listen
            ),
        ),
        PortFact::NoSuchAddress => (
            RouteKey::Address,
            format!("`{address}` is no address of this host"),
            "write one that `ip address` shows, or leave `address` out for all of them".to_owned(),
        ),
    };
    Some(of_service(service, About::Route { index, key }, reason, remedy))
}

/// What is wrong with a route's certificate at `now`.
pub fn of_certificate(
    service: &ServiceName,
    index: usize,
    route: &Route,
    fact: &CertificateFact,
    now: Timestamp,
) -> Vec<Problem> {
    let Some(tls) = &route.tls else { return Vec::new() };
    let found = |key, reason, remedy: &str| {
        of_service(service, About::Route { index, key }, reason, remedy.to_owned())
    };
    let (holds, other_names) = match fact {
        CertificateFact::Unusable { file, reason } => {
            let remedy = "put a PEM file there that control can read, certificate and key of one \
                          pair, or name where it is";
            return vec![found(*file, reason.clone(), remedy)];
        }
        CertificateFact::Usable { holds, other_names } => (holds, other_names),
    };
    let mut problems = Vec::new();
    let file = &tls.certificate;
    match holds {
        Some((_, until)) if *until < now => problems.push(found(
            RouteKey::Certificate,
            format!("the certificate `{file}` expired on {}", day(*until)),
            "renew it; the edge serves a new file a moment after it is there",
        )),
        Some((from, _)) if now < *from => problems.push(found(
            RouteKey::Certificate,
            format!("the certificate `{file}` holds from {} on only", day(*from)),
            "name one that holds now, and look whether the host's clock is right",
        )),
        Some(_) | None => {}
    }
    if let (Some(names), Some(host)) = (other_names, &route.host) {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let names = if names.is_empty() { "no name".to_owned() } else { names.join(", ") };
        problems.push(found(
            RouteKey::Certificate,
            format!("the certificate `{file}` is for {names}, not for `{host}`"),
            "name a certificate of that host, or the host that it is for",
        ));
    }
    problems
}

/// What is wrong with the packages of an image, or why nobody could tell.
pub fn of_packages(image: &ImageName, fact: &PackagesFact) -> (Vec<Problem>, Option<NotChecked>) {
    match fact {
        PackagesFact::Known(missing) => {
            let problem = |missing: &MissingPackage| Problem {
                kind: ObjectKind::Image,
                object: image.to_string(),
                about: About::Package(missing.package.clone()),
                reason: missing.reason.clone(),
                remedy: match missing.suggestions.as_slice() {
                    [] => "look for its name in the archive, or declare the archive that has it: \
                           `archive \"NAME\" { … }`"
                        .to_owned(),
                    names => format!("did you mean `{}`?", names.join("`, `")),
                },
            };
            (missing.iter().map(problem).collect(), None)
        }
        PackagesFact::Unknown(reason) => {
            let gap = NotChecked {
                kind: ObjectKind::Image,
                object: image.to_string(),
                what: "packages",
                reason: reason.clone(),
                remedy: "`hornero lock` reads the lists and looks".to_owned(),
            };
            (Vec::new(), Some(gap))
        }
    }
}

fn of_service(service: &ServiceName, about: About, reason: String, remedy: String) -> Problem {
    Problem { kind: ObjectKind::Service, object: service.to_string(), about, reason, remedy }
}

/// A date for people; certificates hold for days.
fn day(time: Timestamp) -> String {
    time.to_string().chars().take(10).collect()
}
