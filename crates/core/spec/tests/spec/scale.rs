//! How the number of servers follows from the load.

use expect_test::expect;
use hornero_model::{Budget, Digest, Millis, Scale, ServiceName, ServiceSpec, ToZero};

use crate::check::{check, good};

const IMAGE: &str = "image \"app\" {\n debian = \"bookworm\"\n command = [\"/app\"]\n}\n";

fn service(lines: &str) -> ServiceSpec {
    let text = format!(
        "{IMAGE}service \"app\" {{\n image = image.app\n port \"http\" {{\n  container = 80\n }}\n {lines}\n}}"
    );
    let spec = good(&text);
    let service = spec.services[&ServiceName::new("app").unwrap()].clone();
    service.into_service_spec(Digest::of(b"image"))
}

#[test]
fn it_is_read_with_what_holds_where_nothing_is_said() {
    let spec = service("scale {\n maximum = 8\n in_flight = 10\n}");
    let expected = Scale {
        minimum: 1,
        maximum: 8,
        in_flight: Some(10),
        requests_per_second: None,
        cpu_percent: None,
        stabilise: Millis(60_000),
        to_zero: None,
    };
    assert_eq!((spec.instances, spec.scale.as_ref()), (1, Some(&expected)));
    let spec = service(
        "scale = { minimum = 3, maximum = 40, requests_per_second = 50, cpu = \"70%\", stabilise = \"5s\" }",
    );
    let expected = Scale {
        minimum: 3,
        maximum: 40,
        in_flight: None,
        requests_per_second: Some(50),
        cpu_percent: Some(70),
        stabilise: Millis(5_000),
        to_zero: None,
    };
    assert_eq!((spec.instances, spec.scale.as_ref()), (3, Some(&expected)));
    // It may have as many as it may be scaled to, so its budget is that of so many.
    assert_eq!(spec.budget(), Budget { per_hour: 400, per_day: 2_000 });
    let spec = service("scale {\n minimum = 0\n maximum = 2\n in_flight = 10\n idle = \"30s\"\n}");
    let to_zero = ToZero { idle: Millis(30_000), hold: Millis(30_000), hold_requests: 1_000 };
    assert_eq!((spec.instances, spec.to_zero()), (1, Some(to_zero)));
    assert_eq!(service("instances = 2").scale, None);
}

#[test]
fn scales_that_cannot_be() {
    check(
        &format!(
            "{IMAGE}service \"app\" {{\n image = image.app\n instances = 2\n port \"http\" {{\n  container = 80\n }}\n \
             scale {{\n  minimum = 1\n  idle = \"30s\"\n  maximum = 8\n  in_flight = 0\n  cpu = \"110%\"\n  stabilise = \"2h\"\n }}\n}}\n\
             service \"b\" {{\n image = image.app\n scale {{\n  minimum = 4\n  maximum = 2\n  in_flight = 5\n  speed = 5\n }}\n}}\n\
             service \"c\" {{\n image = image.app\n scale {{\n  minimum = 2\n }}\n}}\n\
             service \"d\" {{\n image = image.app\n scale {{\n  minimum = 0\n  maximum = 1\n  cpu = \"50%\"\n  hold = \"2h\"\n }}\n}}"
        ),
        expect![[r#"
            error[conflict]: service `app` has both `instances` and `scale`
              --> hornero.hcl:7:14
               |
             7 |  instances = 2
               |              ^
            ...
            11 |  scale {
               |  ----- the other is here
               |
               = hint: `scale` says between how many servers the load decides; leave `instances` out

            error[conflict]: `idle` of `scale` of service `app` says nothing with a `minimum` of 1
              --> hornero.hcl:13:10
               |
            13 |   idle = "30s"
               |          ^^^^^
               |
               = hint: write `minimum = 0` where nothing has to run while no request comes

            error[out-of-range]: `in_flight` of `scale` of service `app` must be from 1 to 10000000, not 0
              --> hornero.hcl:15:15
               |
            15 |   in_flight = 0
               |               ^
               |
               = hint: a server that has nothing to do is not needed

            error[invalid-value]: `cpu` of `scale` of service `app` can't be `110%`
              --> hornero.hcl:16:9
               |
            16 |   cpu = "110%"
               |         ^^^^^^
               |
               = hint: write a part of each server's processor limit, from `"1%"` to `"100%"`

            error[out-of-range]: `stabilise` of `scale` of service `app` must be at most 1h, not 2h
              --> hornero.hcl:17:15
               |
            17 |   stabilise = "2h"
               |               ^^^^

            error[conflict]: `scale` of service `b` has a `maximum` of 2 below its `minimum` of 4
              --> hornero.hcl:24:13
               |
            24 |   maximum = 2
               |             ^

            error[conflict]: `scale` of service `b` counts requests by `in_flight`, and the service has no ports
              --> hornero.hcl:25:15
               |
            25 |   in_flight = 5
               |               ^
               |
               = hint: without ports there is only `cpu`

            error[unknown-key]: `scale` of service `b` has no key `speed`
              --> hornero.hcl:26:3
               |
            26 |   speed = 5
               |   ^^^^^
               |
               = hint: it has `cpu`, `hold`, `hold_requests`, `idle`, `in_flight`, `maximum`, `minimum`, `requests_per_second`, `stabilise`

            error[missing-key]: `scale` of service `c` needs `maximum`
              --> hornero.hcl:31:2
               |
            31 |  scale {
               |  ^^^^^
               |
               = hint: write how many servers it may have at most: `maximum = 8`

            error[missing-key]: `scale` of service `c` says nothing of how many servers are wanted
              --> hornero.hcl:31:2
               |
            31 |  scale {
               |  ^^^^^
               |
               = hint: write `in_flight = 10`, `requests_per_second = 50` or `cpu = "70%"`, for each server

            error[conflict]: `scale` of service `d` has a `minimum` of 0, and the service has no ports
              --> hornero.hcl:38:13
               |
            38 |   minimum = 0
               |             ^
               |
               = hint: a server is started when a request comes, and none can: write `minimum = 1`

            error[out-of-range]: `hold` of `scale` of service `d` must be at most 10m, not 2h
              --> hornero.hcl:41:10
               |
            41 |   hold = "2h"
               |          ^^^^

            there are 12 errors in `hornero.hcl`
        "#]],
    );
}
