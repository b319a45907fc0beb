//! Facts about a host go in; what is wrong, and what to do about it, comes out.

use expect_test::{Expect, expect};
use hornero_model::{ImageName, PortName, Protocol, Route, RouteTls, ServiceName, Timestamp};
use hornero_plan::{
    About, CertificateFact, MissingPackage, PackagesFact, PortFact, Problem, RouteKey,
    of_certificate, of_packages, of_port,
};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

fn route() -> Route {
    let tls = RouteTls { certificate: "/c.pem".to_owned(), key: "/k.pem".to_owned() };
    Route {
        address: Some([192, 0, 2, 1].into()),
        host: Some("a.example".to_owned()),
        tls: Some(tls),
        ..Route::new(8443, PortName::new("http").unwrap(), Protocol::Http)
    }
}

fn check(problems: &[Problem], expected: &Expect) {
    let line = |problem: &Problem| {
        let about = match &problem.about {
            About::Package(package) => format!("package {package}"),
            About::Route { index, key } => format!("route {index} {}", key.path().join(".")),
        };
        let Problem { kind, object, reason, remedy, .. } = problem;
        format!("{kind}.{object}, {about}: {reason}\n  {remedy}\n")
    };
    expected.assert_eq(&problems.iter().map(line).collect::<String>());
}

fn port(fact: &PortFact) -> Vec<Problem> {
    of_port(&ServiceName::new("site").unwrap(), 1, &route(), fact).into_iter().collect()
}

fn certificate(fact: &CertificateFact) -> Vec<Problem> {
    let now = Timestamp(20_000 * DAY_MS);
    of_certificate(&ServiceName::new("site").unwrap(), 0, &route(), fact, now)
}

fn days(from: u64, until: u64) -> Option<(Timestamp, Timestamp)> {
    Some((Timestamp(from * DAY_MS), Timestamp(until * DAY_MS)))
}

#[test]
fn a_place_that_another_program_has_is_named_with_the_way_to_find_it() {
    check(&port(&PortFact::Free), &expect![[""]]);
    check(
        &port(&PortFact::Taken),
        &expect![[r#"
            service.site, route 1 listen: another program listens on `192.0.2.1:8443`
              write another port as `listen`, or end that program: `ss -ltnp 'sport = :8443'` names it
        "#]],
    );
    check(
        &port(&PortFact::NoSuchAddress),
        &expect![[r#"
            service.site, route 1 address: `192.0.2.1:8443` is no address of this host
              write one that `ip address` shows, or leave `address` out for all of them
        "#]],
    );
}

#[test]
fn a_certificate_that_clients_would_refuse_is_named() {
    let usable = |holds, other_names| CertificateFact::Usable { holds, other_names };
    check(&certificate(&usable(days(19_999, 20_001), None)), &expect![[""]]);
    check(&certificate(&usable(None, None)), &expect![[""]]);
    let other = vec!["b.example".to_owned(), "*.c.example".to_owned()];
    check(
        &certificate(&usable(days(19_000, 19_999), Some(other))),
        &expect![[r#"
            service.site, route 0 tls.certificate: the certificate `/c.pem` expired on 2024-10-03
              renew it; the edge serves a new file a moment after it is there
            service.site, route 0 tls.certificate: the certificate `/c.pem` is for `b.example`, `*.c.example`, not for `a.example`
              name a certificate of that host, or the host that it is for
        "#]],
    );
    check(
        &certificate(&usable(days(20_001, 20_002), Some(Vec::new()))),
        &expect![[r#"
            service.site, route 0 tls.certificate: the certificate `/c.pem` holds from 2024-10-05 on only
              name one that holds now, and look whether the host's clock is right
            service.site, route 0 tls.certificate: the certificate `/c.pem` is for no name, not for `a.example`
              name a certificate of that host, or the host that it is for
        "#]],
    );
    let reason = "can't use `/k.pem` for TLS: it is not the key of `/c.pem`".to_owned();
    check(
        &certificate(&CertificateFact::Unusable { file: RouteKey::Key, reason }),
        &expect![[r#"
            service.site, route 0 tls.key: can't use `/k.pem` for TLS: it is not the key of `/c.pem`
              put a PEM file there that control can read, certificate and key of one pair, or name where it is
        "#]],
    );
}

#[test]
fn a_package_that_no_list_has_is_named_and_what_nobody_knows_is_said() {
    let image = ImageName::new("web").unwrap();
    let missing = |package: &str, suggestions: &[&str]| MissingPackage {
        package: package.to_owned(),
        reason: format!("there is no package `{package}`"),
        suggestions: suggestions.iter().map(|name| (*name).to_owned()).collect(),
    };
    let fact = PackagesFact::Known(vec![missing("ngnix", &["nginx"]), missing("zzz", &[])]);
    let (problems, gap) = of_packages(&image, &fact);
    assert_eq!(gap, None);
    check(
        &problems,
        &expect![[r#"
            image.web, package ngnix: there is no package `ngnix`
              did you mean `nginx`?
            image.web, package zzz: there is no package `zzz`
              look for its name in the archive, or declare the archive that has it: `archive "NAME" { … }`
        "#]],
    );
    let (problems, gap) = of_packages(&image, &PackagesFact::Unknown("nobody looked".to_owned()));
    assert_eq!(problems, []);
    let gap = gap.unwrap();
    assert_eq!(
        (gap.object.as_str(), gap.what, gap.reason.as_str()),
        ("web", "packages", "nobody looked")
    );
    assert!(gap.remedy.contains("hornero lock"), "{}", gap.remedy);
}
