//! How many servers Hornero may make by itself.

use expect_test::expect;
use hornero_model::{Budget, Digest, ServiceName};

use crate::check::{check, good};

const IMAGE: &str = "image \"app\" {\n debian = \"bookworm\"\n command = [\"/app\"]\n}\n";

#[test]
fn a_budget_is_read_and_follows_from_the_size_where_it_is_not_declared() {
    for (lines, instances, expected) in [
        ("", 1, (60, 300)),
        ("", 40, (400, 2_000)),
        ("budget {\n per_hour = 5\n per_day = 9\n}", 1, (5, 9)),
        ("budget {\n per_hour = 5\n}", 40, (5, 25)),
        ("budget = { per_day = 9 }", 1, (2, 9)),
    ] {
        let text = format!(
            "{IMAGE}service \"app\" {{\n image = image.app\n instances = {instances}\n {lines}\n}}"
        );
        let spec = good(&text);
        let service = spec.services[&ServiceName::new("app").unwrap()].clone();
        let (per_hour, per_day) = expected;
        let read = service.into_service_spec(Digest::of(b"image")).budget();
        assert_eq!(read, Budget { per_hour, per_day }, "{lines}");
    }
}

#[test]
fn budgets_that_cannot_be() {
    check(
        &format!(
            "{IMAGE}service \"app\" {{\n image = image.app\n budget {{\n  per_hour = 9\n  per_day = 5\n }}\n}}\n\
             service \"b\" {{\n image = image.app\n budget {{\n  per_hour = 0\n  per_week = 5\n }}\n}}"
        ),
        expect![[r#"
            error[conflict]: `budget` of service `app` allows 9 servers in an hour and 5 in a whole day
             --> hornero.hcl:9:13
              |
            9 |   per_day = 5
              |             ^
              |
              = hint: `per_day` is at least `per_hour`

            error[out-of-range]: `per_hour` of `budget` of service `b` must be from 1 to 1000000, not 0
              --> hornero.hcl:15:14
               |
            15 |   per_hour = 0
               |              ^
               |
               = hint: a service whose servers are never replaced needs no budget, and one is the least

            error[unknown-key]: `budget` of service `b` has no key `per_week`
              --> hornero.hcl:16:3
               |
            16 |   per_week = 5
               |   ^^^^^^^^
               |
               = hint: it has `per_day`, `per_hour`

            there are 3 errors in `hornero.hcl`
        "#]],
    );
}
