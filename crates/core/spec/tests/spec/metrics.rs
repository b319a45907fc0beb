//! What inventories and metrics tell of a service.

use expect_test::expect;
use hornero_model::{Digest, MetricsEndpoint, ServiceName, ServiceSpec};

use crate::check::{check, good};

const IMAGE: &str = "image \"app\" {\n debian = \"bookworm\"\n command = [\"/app\"]\n}\n";

fn service(lines: &str) -> ServiceSpec {
    let text = format!("{IMAGE}service \"app\" {{\n image = image.app\n {lines}\n}}");
    let spec = good(&text);
    let service = spec.services[&ServiceName::new("app").unwrap()].clone();
    service.into_service_spec(Digest::of(b"image"))
}

#[test]
fn labels_and_the_place_of_figures_are_read() {
    let ports = "port \"http\" { container = 8080 }\n port \"admin\" { container = 9000 }\n";
    for (lines, port, path) in [
        ("metrics {}", 8080, "/metrics"),
        ("metrics {\n port = \"admin\"\n path = \"/m?x=1\"\n}", 9000, "/m?x=1"),
        ("metrics = { port = 9100 }", 9100, "/metrics"),
    ] {
        let spec = service(&format!("{ports}{lines}"));
        assert_eq!(spec.metrics, Some(MetricsEndpoint { port, path: path.to_owned() }), "{lines}");
    }
    let spec = service("labels = { owner = \"shop\", tier_1 = \"ü = 2\" }");
    let labels: Vec<_> = spec.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(labels, [("owner", "shop"), ("tier_1", "ü = 2")]);
    // A release of before has the digest that it had.
    let json = serde_json::to_string(&service("")).unwrap();
    assert!(!json.contains("labels") && !json.contains("metrics"), "{json}");
}

#[test]
fn labels_and_places_that_cannot_be() {
    check(
        &format!(
            "{IMAGE}service \"app\" {{\n image = image.app\n labels = {{ \"a-b\" = \"x\", ok = \"two\\nlines\", n = 3 }}\n metrics {{\n  \
             port = \"web\"\n  path = \"metrics\"\n }}\n}}"
        ),
        expect![[r#"
            error[invalid-name]: `a-b` is no name of a label
             --> hornero.hcl:7:13
              |
            7 |  labels = { "a-b" = "x", ok = "two\nlines", n = 3 }
              |             ^^^^^
              |
              = hint: use letters, digits and `_`, beginning with a letter

            error[invalid-value]: `labels.ok` is longer than a line of a table can show
             --> hornero.hcl:7:31
              |
            7 |  labels = { "a-b" = "x", ok = "two\nlines", n = 3 }
              |                               ^^^^^^^^^^^^
              |
              = hint: use at most 128 bytes, without line feeds and the like

            error[wrong-type]: `labels.n` must be a string, not a number
             --> hornero.hcl:7:49
              |
            7 |  labels = { "a-b" = "x", ok = "two\nlines", n = 3 }
              |                                                 ^ this is a number

            error[unknown-reference]: the service has no port `web`
             --> hornero.hcl:9:10
              |
            9 |   port = "web"
              |          ^^^^^
              |
              = hint: declare it: `port "web" { container = 8080 }`

            error[invalid-value]: the path of `metrics` is not a request path: `metrics`
              --> hornero.hcl:10:10
               |
            10 |   path = "metrics"
               |          ^^^^^^^^^
               |
               = hint: begin it with `/`

            there are 5 errors in `hornero.hcl`
        "#]],
    );
}
