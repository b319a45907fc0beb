//! Route tables of a few worlds.

use expect_test::{Expect, expect};
use hornero_model::{
    Check, Millis, Port, PortName, Protocol, ProxyProtocol, RouteTable, RouteTls, ServiceName,
    ServiceSpec, Share, TcpCheck,
};

use super::{Bench, root, site, spec};
use crate::{Effect, Phase, clash, start_down, start_forward, table};

/// The table without addresses of services' own.
fn outside(bench: &Bench) -> RouteTable {
    let mut facts = bench.facts.clone();
    facts.addresses.clear();
    table(&bench.world, &facts, 9)
}

#[test]
fn a_service_has_an_address_until_nothing_of_it_is_left_and_nobody_listens_there() {
    let mut bench = Bench::new();
    bench.facts.addresses.clear();
    bench.forward(&spec("one", 1));
    let gives = |effect: &Effect| matches!(effect, Effect::GiveAddress { .. });
    let takes = |effect: &Effect| matches!(effect, Effect::TakeAddress { .. });
    assert_eq!(bench.wanted().iter().filter(|of| gives(of)).count(), 1);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    let address = bench.facts.addresses[&site()];
    assert!(bench.facts.listened_on(address), "its port answers there");

    let down = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
    bench.record(down.records);
    for _ in 0..20 {
        bench.settle();
        for effect in bench.wanted() {
            assert!(!takes(&effect) || !bench.facts.listened_on(address), "in use");
            bench.done(effect);
        }
    }
    assert!(bench.world.services[&site()].removed);
    assert!(bench.facts.addresses.is_empty());
}

fn check(bench: &Bench, expected: Expect) {
    let table = table(&bench.world, &bench.facts, 9);
    let mut lines = Vec::new();
    for listener in &table.listeners {
        for rule in &listener.rules {
            let host = rule.host.as_deref().unwrap_or("*");
            let path = rule.path_prefix.as_deref().unwrap_or("/");
            lines.push(format!("{} {host} {path} -> {}", listener.address, rule.pool));
        }
    }
    for pool in &table.pools {
        let share = |of: &Share| match of.weight {
            Share::WHOLE => of.release.to_string(),
            weight => format!("{}*{weight}", of.release),
        };
        let shares: Vec<String> = pool.traffic.iter().map(share).collect();
        let traffic = if shares.is_empty() { "nothing".to_owned() } else { shares.join("+") };
        let backends = pool.backends.iter().map(|of| format!(" {}={}", of.instance, of.address));
        lines.push(format!("{}: {traffic} of{}", pool.name, backends.collect::<String>()));
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn every_running_set_is_in_the_pool_and_one_gets_its_requests() {
    check(&Bench::new(), expect![""]);
    let mut bench = Bench::new();
    bench.forward(&spec("one", 1));
    check(
        &bench,
        expect![[r#"
        0.0.0.0:8000 * / -> site/http
        10.8.0.1:80 * / -> site/http
        [::]:8000 * / -> site/http
        site/http: nothing of"#]],
    );
    check(
        &Bench::serving(1),
        expect![[r#"
        0.0.0.0:8000 * / -> site/http
        10.8.0.1:80 * / -> site/http
        [::]:8000 * / -> site/http
        site/http: 1 of site-1-t1=10.9.0.1:80"#]],
    );
    let mut bench = Bench::preparing();
    bench.comply_once();
    check(
        &bench,
        expect![[r#"
        0.0.0.0:8000 * / -> site/http
        10.8.0.1:80 * / -> site/http
        [::]:8000 * / -> site/http
        site/http: 1 of site-1-t1=10.9.0.1:80 site-1-t2=10.9.0.2:80 site-2-t3=10.9.0.3:80 site-2-t4=10.9.0.4:80"#]],
    );
    check(
        &Bench::at(Phase::Switching, 0),
        expect![[r#"
        0.0.0.0:8000 * / -> site/http
        10.8.0.1:80 * / -> site/http
        [::]:8000 * / -> site/http
        site/http: 2 of site-1-t1=10.9.0.1:80 site-1-t2=10.9.0.2:80 site-2-t3=10.9.0.3:80 site-2-t4=10.9.0.4:80"#]],
    );
    // Kept warm.
    let mut bench = Bench::at(Phase::Watching, 0);
    bench.pass(Millis(1_000));
    bench.settle();
    check(
        &bench,
        expect![[r#"
        0.0.0.0:8000 * / -> site/http
        10.8.0.1:80 * / -> site/http
        [::]:8000 * / -> site/http
        site/http: 2 of site-1-t1=10.9.0.1:80 site-1-t2=10.9.0.2:80 site-2-t3=10.9.0.3:80 site-2-t4=10.9.0.4:80"#]],
    );
}

#[test]
fn a_service_that_goes_down_has_no_listeners_and_drains() {
    let mut bench = Bench::serving(1);
    let begun = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
    bench.record(begun.records);
    check(&bench, expect!["site/http: nothing of site-1-t1=10.9.0.1:80"]);
}

#[test]
fn a_new_release_opens_its_ports_before_the_switch() {
    let mut bench = Bench::serving(1);
    let mut next = spec("two", 1);
    let admin = PortName::new("admin").unwrap();
    next.ports.push(Port::new(admin.clone(), 81, Protocol::Tcp));
    next.routes.push(hornero_model::Route { listen: 8001, port: admin, ..next.routes[0].clone() });
    bench.forward(&next);
    bench.comply_once();
    check(
        &bench,
        expect![[r#"
        0.0.0.0:8000 * / -> site/http
        0.0.0.0:8001 * / -> site/admin
        10.8.0.1:80 * / -> site/http
        10.8.0.1:81 * / -> site/admin
        [::]:8000 * / -> site/http
        [::]:8001 * / -> site/admin
        site/admin: 1 of site-2-t2=10.9.0.2:81
        site/http: 1 of site-1-t1=10.9.0.1:80 site-2-t2=10.9.0.2:80"#]],
    );
}

fn other(listen: u16) -> ServiceSpec {
    let mut other = spec("other", 1);
    other.name = ServiceName::new("other").unwrap();
    other.routes[0].listen = listen;
    other
}

#[test]
fn services_share_a_port_by_host_and_path() {
    let mut bench = Bench::serving(1);
    let mut by_path = other(8000);
    by_path.routes[0].path_prefix = Some("/api".to_owned());
    let (world, facts) = (bench.world.clone(), bench.facts.clone());
    let begun = start_forward(&world, &facts, &by_path, &root(), &mut || bench.tail());
    bench.record(begun.unwrap().records);
    check(
        &bench,
        expect![[r#"
        0.0.0.0:8000 * /api -> other/http
        0.0.0.0:8000 * / -> site/http
        10.8.0.1:80 * / -> site/http
        [::]:8000 * /api -> other/http
        [::]:8000 * / -> site/http
        other/http: nothing of
        site/http: 1 of site-1-t1=10.9.0.1:80"#]],
    );
}

#[test]
fn what_cannot_be_shared_clashes() {
    let world = Bench::serving(1).world;
    assert_eq!(clash(&world, &other(8001)), Ok(()));
    assert_eq!(clash(&world, &spec("two", 1)), Ok(()), "a service does not clash with itself");
    let said = |change: &dyn Fn(&mut ServiceSpec)| {
        let mut other = other(8000);
        change(&mut other);
        clash(&world, &other).map_err(|clash| clash.to_string())
    };
    let refused = |why: &str| {
        Err(format!("`other` can't listen on `0.0.0.0:8000`: `site` does already, {why}"))
    };
    assert_eq!(said(&|_| {}), refused("for the same host and path"));
    assert_eq!(said(&|of| of.routes[0].host = Some("a.example".to_owned())), Ok(()));
    let tcp = said(&|of| of.routes[0].protocol = Protocol::Tcp);
    assert_eq!(tcp, refused("and a TCP port has one service"));
    let tls = said(&|of| {
        of.routes[0].tls = Some(RouteTls { certificate: "/c".to_owned(), key: "/k".to_owned() });
    });
    assert_eq!(tls, refused("and either all of a port is TLS or nothing"));
}

fn tls(name: &str) -> Option<RouteTls> {
    Some(RouteTls { certificate: format!("/{name}.pem"), key: format!("/{name}.key") })
}

#[test]
fn hosts_of_a_port_have_certificates_of_their_own() {
    let with_tls = |mut spec: ServiceSpec, host: Option<&str>, name: &str| {
        spec.routes[0].tls = tls(name);
        spec.routes[0].host = host.map(str::to_owned);
        spec
    };
    let shown = |specs: &[ServiceSpec]| {
        let mut bench = Bench::new();
        for spec in specs {
            bench.forward(spec);
        }
        let table = outside(&bench);
        let listener = &table.listeners[0];
        assert_eq!(listener.rules.len(), specs.len());
        let name = |tls: &RouteTls| tls.certificate.clone();
        let own = listener.certificates.iter();
        let own: Vec<String> = own.map(|own| format!("{} {}", own.host, name(&own.tls))).collect();
        (listener.tls.as_ref().map(name), own.join(", "))
    };
    let site = with_tls(spec("one", 1), Some("a.example"), "a");
    assert_eq!(shown(std::slice::from_ref(&site)), (Some("/a.pem".to_owned()), String::new()));
    let same = with_tls(other(8000), Some("b.example"), "a");
    assert_eq!(shown(&[site.clone(), same]), (Some("/a.pem".to_owned()), String::new()));
    let differs = with_tls(other(8000), Some("b.example"), "b");
    let mut bench = Bench::new();
    bench.forward(&site);
    let mut clashes = with_tls(other(8000), Some("a.example"), "b");
    clashes.routes[0].path_prefix = Some("/api".to_owned());
    let why = clash(&bench.world, &clashes).unwrap_err().why;
    assert_eq!(why, "for the same host with another certificate");
    assert_eq!(clash(&bench.world, &differs), Ok(()));
    let own = "a.example /a.pem, b.example /b.pem".to_owned();
    assert_eq!(shown(&[site.clone(), differs.clone()]), (Some("/b.pem".to_owned()), own));
    let rest = with_tls(other(8000), None, "rest");
    let own = "a.example /a.pem".to_owned();
    assert_eq!(shown(&[site, rest]), (Some("/rest.pem".to_owned()), own));
}

#[test]
fn a_server_is_told_by_headers_as_its_own_release_says() {
    let mut first = spec("one", 1);
    first.ports[0].proxy_protocol = Some(ProxyProtocol::V1);
    let mut bench = Bench::new();
    bench.forward(&first);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    let mut second = spec("two", 1);
    second.ports[0].proxy_protocol = Some(ProxyProtocol::V2);
    // Its checks ask a port that takes none.
    second.ports.push(Port::new(PortName::new("status").unwrap(), 81, Protocol::Http));
    let health = second.health.as_mut().unwrap();
    health.check = Check::Tcp(TcpCheck { port: 81 });
    bench.forward(&second);
    bench.comply_once();
    let table = outside(&bench);
    let pool = table.pools.iter().find(|pool| pool.name.port.as_str() == "http").unwrap();
    let told = |release: u32| {
        let backend = pool.backends.iter().find(|of| of.release.0 == release).unwrap();
        (backend.proxy_protocol, backend.health_proxy_protocol)
    };
    assert_eq!(told(1), (Some(ProxyProtocol::V1), Some(ProxyProtocol::V1)));
    assert_eq!(told(2), (Some(ProxyProtocol::V2), None));
}

#[test]
fn services_that_share_a_port_get_the_tighter_of_their_limits() {
    let mut bench = Bench::new();
    let mut first = spec("one", 1);
    first.routes[0].host = Some("a.example.org".to_owned());
    first.routes[0].limits.connections = Some(10);
    first.routes[0].limits.idle_timeout = Some(Millis(5_000));
    bench.forward(&first);
    let mut second = other(8000);
    second.routes[0].host = Some("b.example.org".to_owned());
    second.routes[0].limits.connections = Some(20);
    second.routes[0].limits.head_timeout = Some(Millis(2_000));
    assert_eq!(clash(&bench.world, &second), Ok(()), "it may change before or after the other");
    bench.forward(&second);
    let table = outside(&bench);
    for listener in &table.listeners {
        assert_eq!(listener.rules.len(), 2);
        let tighter = hornero_model::ListenerLimits {
            connections: Some(10),
            connections_per_source: None,
            head_timeout: Some(Millis(2_000)),
            idle_timeout: Some(Millis(5_000)),
        };
        assert_eq!(listener.limits, tighter);
    }
}
