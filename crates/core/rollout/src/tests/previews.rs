//! Previews in the small world: how they are reached, what they get, and how they end.

use hornero_model::{
    Digest, EventBody, Health, Keep, Millis, Preview, PreviewName, ReleaseNumber, Route, RouteTls,
    ServiceKind, ServiceName, ServiceSpec, Share,
};

use super::{Bench, root, site, spec};
use crate::{
    Effect, KeepOverride, PreviewError, down_order, preview_spec, retained, start_down,
    start_preview, table,
};

fn runs_as() -> ServiceName {
    "new.site".parse().unwrap()
}

impl Bench {
    fn preview(&self, share: u32) -> Preview {
        Preview {
            name: PreviewName::new("new").unwrap(),
            service: site(),
            release: None,
            share,
            until: self.facts.now.after(Millis(60_000)),
        }
    }

    fn show(&mut self, preview: &Preview, spec: &ServiceSpec) -> Result<(), PreviewError> {
        let (world, facts) = (self.world.clone(), self.facts.clone());
        let step = start_preview(&world, &facts, (preview, spec), &root(), &mut || self.tail())?;
        self.record(step.records);
        Ok(())
    }

    /// A preview with a share that serves beside `site@1`.
    fn shown(share: u32) -> Self {
        let mut bench = Self::serving(2);
        bench.show(&bench.preview(share), &spec("two", 4)).unwrap();
        bench.comply();
        bench.pass(Millis(1_000));
        bench.comply();
        bench.log.clear();
        bench
    }

    fn pool(&self, service: &str) -> hornero_model::Pool {
        let pools = table(&self.world, &self.facts, 9).pools;
        let own = pools.iter().find(|pool| pool.name.service.as_str() == service);
        (**own.unwrap()).clone()
    }
}

#[test]
fn it_is_a_set_of_its_own_that_touches_nothing_of_its_service() {
    let bench = Bench::shown(0);
    let (shown, own) = (&bench.world.services[&runs_as()], &bench.world.services[&site()]);
    let number = ReleaseNumber::FIRST_OF_PREVIEWS;
    assert_eq!(shown.serving.as_ref().map(|set| set.release), Some(number));
    assert_eq!((own.releases.len(), own.proven.len()), (1, 1));
    assert_eq!(own.serving.as_ref().map(|set| set.release), Some(ReleaseNumber(1)));
    assert_eq!(bench.world.previews[&runs_as()].shows[&number], None);
    let pool = bench.pool("site");
    assert!(pool.previews.is_empty());
    assert!(pool.backends.iter().all(|of| !of.release.is_of_preview()));
}

#[test]
fn what_it_runs_has_no_ways_in_of_its_own_and_as_many_servers_as_its_share_asks_for() {
    let bench = Bench::serving(1);
    for (share, instances) in [(0, 1), (100, 1), (2_500, 3), (5_000, 5)] {
        let own = preview_spec(runs_as(), &bench.preview(share), &spec("two", 10));
        assert_eq!((own.instances, own.routes.len()), (instances, 0), "{share}");
    }
}

#[test]
fn it_is_reached_by_a_field_and_by_its_name_before_each_host() {
    let mut bench = Bench::serving(1);
    let mut with_hosts = spec("one", 1);
    with_hosts.routes[0].host = Some("shop.example.org".to_owned());
    let tls = RouteTls { certificate: "/a".to_owned(), key: "/b".to_owned() };
    let mut wild = with_hosts.routes[0].clone();
    (wild.host, wild.listen, wild.tls) =
        (Some("*.example.org".to_owned()), 8443, Some(tls.clone()));
    let mut secure = wild.clone();
    (secure.host, secure.path_prefix) = (Some("pay.example.org".to_owned()), Some("/x".to_owned()));
    secure.tls = Some(RouteTls { certificate: "/c".to_owned(), ..tls });
    with_hosts.routes.extend([wild, secure]);
    bench.forward(&with_hosts);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    bench.show(&bench.preview(0), &spec("two", 1)).unwrap();
    // Nothing leads to it before it serves.
    assert!(
        table(&bench.world, &bench.facts, 9)
            .listeners
            .iter()
            .all(|listener| { listener.rules.iter().all(|rule| rule.previews.is_empty()) })
    );
    bench.comply();
    let table = table(&bench.world, &bench.facts, 9);
    let mut lines = Vec::new();
    for listener in
        table.listeners.iter().filter(|of| of.address.ip().is_unspecified() && of.address.is_ipv4())
    {
        for rule in &listener.rules {
            let names: Vec<String> =
                rule.previews.iter().map(|of| format!(" [{} -> {}]", of.name, of.pool)).collect();
            let certificate =
                listener.certificate_of(rule.host.as_deref()).map(|tls| tls.certificate.clone());
            lines.push(format!(
                "{} {}{} -> {}{} {}",
                listener.address.port(),
                rule.host.as_deref().unwrap_or("*"),
                rule.path_prefix.as_deref().unwrap_or("/"),
                rule.pool,
                names.concat(),
                certificate.unwrap_or_default()
            ));
        }
    }
    lines.sort();
    expect_test::expect![[r#"
        8000 new.shop.example.org/ -> new.site/http 
        8000 shop.example.org/ -> site/http [new -> new.site/http] 
        8443 *.example.org/ -> site/http [new -> new.site/http] /a
        8443 new.pay.example.org/x -> new.site/http /c
        8443 pay.example.org/x -> site/http [new -> new.site/http] /c"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn whoever_has_its_host_already_keeps_it() {
    let mut bench = Bench::serving(1);
    let mut own = spec("one", 1);
    own.routes[0].host = Some("example.org".to_owned());
    let mut other = Route::new(8000, own.ports[0].name.clone(), own.routes[0].protocol);
    other.host = Some("new.example.org".to_owned());
    own.routes.push(other);
    bench.forward(&own);
    bench.comply();
    bench.pass(Millis(1_000));
    bench.comply();
    bench.show(&bench.preview(0), &spec("two", 1)).unwrap();
    bench.comply();
    for listener in &table(&bench.world, &bench.facts, 9).listeners {
        for rule in &listener.rules {
            let is_own = rule.host.as_deref() == Some("new.example.org");
            assert!(!is_own || rule.pool.service == site(), "{rule:?}");
        }
    }
}

#[test]
fn its_share_begins_with_its_switch_and_stays_while_its_servers_are_sick() {
    let mut bench = Bench::serving(2);
    bench.show(&bench.preview(500), &spec("two", 2)).unwrap();
    bench.comply_once();
    assert!(bench.pool("site").previews.is_empty());
    bench.comply();
    let number = ReleaseNumber::FIRST_OF_PREVIEWS;
    let share = Share { release: number, weight: 500 };
    let pool = bench.pool("site");
    assert_eq!((pool.traffic, pool.previews), (vec![Share::whole(ReleaseNumber(1))], vec![share]));
    assert!(pool.backends.iter().any(|of| of.release == number));
    let id = bench.instance(number.0);
    bench.health(&id, Health::Unhealthy);
    assert_eq!(bench.pool("site").previews, [share], "the edge gives it back");
    // More is not given to what is sick.
    bench.show(&bench.preview(4_000), &spec("two", 2)).unwrap();
    assert!(bench.pool("site").previews.is_empty());
    bench.health(&id, Health::Healthy);
    assert_eq!(bench.pool("site").previews, [Share { release: number, weight: 4_000 }]);
}

#[test]
fn it_is_refused_where_nothing_serves_where_data_is_and_where_too_much_would_be_shown() {
    let mut bench = Bench::new();
    let two = spec("two", 1);
    assert_eq!(bench.show(&bench.preview(0), &two), Err(PreviewError::NotServing(site())));
    let mut bench = Bench::shown(3_000);
    let other = Preview { name: PreviewName::new("b").unwrap(), ..bench.preview(2_001) };
    let much = PreviewError::TooMuch { service: site(), sum: 5_001 };
    assert_eq!(bench.show(&other, &two), Err(much));
    let stateful = ServiceSpec { kind: ServiceKind::Stateful, ..two.clone() };
    let other = Preview { share: 0, ..other };
    assert_eq!(bench.show(&other, &stateful), Err(PreviewError::Stateful(site())));
    bench.show(&other, &two).unwrap();
}

#[test]
fn it_goes_when_its_time_is_up_or_its_service_goes_and_nothing_is_left() {
    for by_time in [true, false] {
        let mut bench = Bench::shown(500);
        match by_time {
            true => bench.pass(Millis(60_000)),
            false => {
                let down = start_down(&bench.world, &bench.facts, &site(), &root()).unwrap();
                bench.record(down.records);
            }
        }
        bench.comply();
        assert!(bench.world.previews.is_empty(), "{:?}", bench.log);
        assert!(!bench.world.services.contains_key(&runs_as()));
        assert!(bench.world.instances.values().all(|of| of.service == site()));
        assert!(!bench.facts.addresses.contains_key(&runs_as()));
        assert_eq!(bench.log.last().map(String::as_str), Some("preview new of site removed"));
        // Its number is not used again.
        assert_eq!(bench.world.next_release(&runs_as()).0, ReleaseNumber::FIRST_OF_PREVIEWS.0 + 1);
    }
}

#[test]
fn one_whose_servers_do_not_come_is_gone_without_a_word_of_anybody() {
    let mut bench = Bench::serving(1);
    bench.show(&bench.preview(0), &spec("two", 1)).unwrap();
    bench.comply_once();
    let id = bench.instance(ReleaseNumber::FIRST_OF_PREVIEWS.0);
    bench.exit(&id);
    bench.comply();
    assert!(bench.world.previews.is_empty(), "{:?}", bench.log);
    assert!(bench.world.instances.values().all(|of| of.service == site()));
}

#[test]
fn gc_safe_its_image_is_kept_as_long_as_it_lives_and_no_longer() {
    let holds = |bench: &Bench| {
        let rules = KeepOverride { releases: Some(9), days: Some(99) };
        let image = Digest::of(b"two");
        retained(&bench.world, bench.facts.now, rules).iter().any(|of| of.image == image)
    };
    let mut bench = Bench::shown(0);
    assert!(holds(&bench));
    bench.pass(Millis(60_000));
    bench.comply();
    assert!(!holds(&bench));
    assert_eq!(Keep::default().days, 0);
}

#[test]
fn previews_go_down_before_and_with_what_they_show() {
    let bench = Bench::shown(0);
    for named in [vec![], vec![site()], vec![site(), runs_as()]] {
        assert_eq!(down_order(&bench.world, named), [runs_as(), site()]);
    }
    assert_eq!(down_order(&bench.world, vec![runs_as()]), [runs_as()]);
}

#[test]
fn an_address_that_nobody_has_is_given_back() {
    let mut bench = Bench::serving(1);
    let strange: ServiceName = "gone.site".parse().unwrap();
    bench.facts.addresses.insert(strange.clone(), [10, 8, 0, 9].into());
    let takes = bench.wanted();
    assert!(matches!(&takes[..], [Effect::TakeAddress { service, .. }] if *service == strange));
}

#[test]
fn impossible_histories_are_refused() {
    let mut bench = Bench::serving(1);
    let removed =
        EventBody::PreviewRemoved { preview: PreviewName::new("new").unwrap(), service: site() };
    assert!(bench.append(root(), removed.clone()).is_err());
    let mut bench = Bench::shown(0);
    assert!(bench.append(root(), removed).is_err(), "it serves");
}
