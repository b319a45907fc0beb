//! Route tables of a few worlds.

use std::{collections::BTreeMap, net::IpAddr};

use expect_test::{Expect, expect};
use hornero_model::{Millis, Port, PortName, Protocol, ServiceName, ServiceSpec};

use super::{Bench, root, site, spec};
use crate::{Phase, clash, start_down, start_forward, table};

fn check(bench: &Bench, expected: Expect) {
    let internal: BTreeMap<ServiceName, IpAddr> =
        BTreeMap::from([(site(), IpAddr::from([10, 8, 0, 1]))]);
    let table = table(&bench.world, &bench.facts, &internal, 9);
    let mut lines = Vec::new();
    for listener in &table.listeners {
        for rule in &listener.rules {
            let host = rule.host.as_deref().unwrap_or("*");
            let path = rule.path_prefix.as_deref().unwrap_or("/");
            lines.push(format!("{} {host} {path} -> {}", listener.address, rule.pool));
        }
    }
    for pool in &table.pools {
        let active = pool.active.map_or_else(|| "nothing".to_owned(), |of| of.to_string());
        let backends = pool.backends.iter().map(|of| format!(" {}={}", of.instance, of.address));
        lines.push(format!("{}: {active} of{}", pool.name, backends.collect::<String>()));
    }
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn every_running_set_is_in_the_pool_and_one_is_active() {
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
    next.ports.push(Port { name: admin.clone(), container: 81, protocol: Protocol::Tcp });
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
        of.routes[0].tls =
            Some(hornero_model::RouteTls { certificate: "/c".to_owned(), key: "/k".to_owned() });
    });
    assert_eq!(tls, refused("with another certificate"));
}
