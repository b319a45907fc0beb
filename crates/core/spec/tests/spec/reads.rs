//! Files that must be read, and what they come to.

use expect_test::expect;
use hornero_model::{Check, Digest, ImageName, Millis, Protocol, ServiceKind, ServiceName};
use hornero_spec::{AtPath, Base, SourceKind, Spec, Variables, defaults, parse};

use crate::check::{Beside, check_with, good};

/// The example of the design.
pub const DESIGN: &str = r#"
image "base" {
  debian   = "bookworm"            # suite
  packages = ["ca-certificates"]
}

image "site" {
  from     = image.base
  packages = ["nginx-light"]
  copy "public/"    { to = "/srv/site/" }
  copy "nginx.conf" { to = "/etc/nginx/nginx.conf" }
  run      = ["nginx -t"]
  user     = "www-data"
  command  = ["/usr/sbin/nginx", "-g", "daemon off;"]
  env      = { LANG = "C.UTF-8" }
  scratch  = ["/run", "/var/lib/nginx", "/var/log/nginx"]
  test "serves" { http = { port = 8080, path = "/", status = 200 } }
}

volume "orders" {
  size            = "10GiB"
  prevent_destroy = true
}

service "site" {
  image     = image.site
  kind      = "stateless"
  instances = 3
  port "http" { container = 8080 }
  health {
    http     = { port = "http", path = "/" }
    interval = "500ms"
    timeout  = "1s"
  }
  route {
    listen = 8000
    port   = "http"
  }
  rollout {
    strategy      = "blue_green"
    drain_timeout = "30s"
    keep_warm     = "10m"
  }
  max_age   = "72h"
  resources = { memory = "256MiB", cpus = 1 }
}
"#;

fn service<'a>(spec: &'a Spec, name: &str) -> &'a hornero_spec::ServiceDefinition {
    &spec.services[&ServiceName::new(name).unwrap()]
}

fn image<'a>(spec: &'a Spec, name: &str) -> &'a hornero_spec::ImageDefinition {
    &spec.images[&ImageName::new(name).unwrap()]
}

#[test]
fn the_example_of_the_design() {
    let spec = good(DESIGN);
    let site = service(&spec, "site").clone().into_service_spec(Digest::of(b"site"));
    expect![[r#"
        {
          "name": "site",
          "image_name": "site",
          "image": "sha256:fbae041b02c41ed0fd8a4efb039bc780dd6af4a1f0c420f42561ae705dda43fe",
          "kind": "stateless",
          "instances": 3,
          "ports": [
            {
              "name": "http",
              "container": 8080,
              "protocol": "http"
            }
          ],
          "health": {
            "check": {
              "http": {
                "port": 8080,
                "path": "/"
              }
            },
            "interval": 500,
            "timeout": 1000,
            "unhealthy_after": 3,
            "start_timeout": 30000
          },
          "routes": [
            {
              "listen": 8000,
              "port": "http",
              "protocol": "http"
            }
          ],
          "rollout": {
            "strategy": "blue_green",
            "drain_timeout": 30000,
            "keep_warm": 600000,
            "watch": 2000
          },
          "resources": {
            "memory_bytes": 268435456,
            "cpu_millis": 1000,
            "pids": 256
          },
          "egress": true,
          "depends_on": [],
          "max_age": 259200000
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&site).unwrap());
    expect![[r#"
        ImageDefinition {
            name: ImageName(
                "site",
            ),
            base: Image(
                ImageName(
                    "base",
                ),
            ),
            archives: [],
            packages: [
                "nginx-light",
            ],
            copies: [
                CopySource {
                    from: "public",
                    kind: Directory,
                    to: "/srv/site",
                    mode: None,
                    owner: CopyOwner {
                        user: "root",
                        group: None,
                    },
                },
                CopySource {
                    from: "nginx.conf",
                    kind: File,
                    to: "/etc/nginx/nginx.conf",
                    mode: None,
                    owner: CopyOwner {
                        user: "root",
                        group: None,
                    },
                },
            ],
            provisions: [],
            secrets: {},
            run: [
                "nginx -t",
            ],
            network: false,
            max_size_bytes: None,
            config: ImageConfig {
                user: "www-data",
                command: [
                    "/usr/sbin/nginx",
                    "-g",
                    "daemon off;",
                ],
                env: {
                    "LANG": "C.UTF-8",
                },
                workdir: "",
                scratch: [
                    Scratch {
                        path: "/run",
                        size_bytes: 67108864,
                    },
                    Scratch {
                        path: "/var/lib/nginx",
                        size_bytes: 67108864,
                    },
                    Scratch {
                        path: "/var/log/nginx",
                        size_bytes: 67108864,
                    },
                ],
                tests: [
                    ImageTest {
                        name: "serves",
                        check: Server(
                            Http(
                                HttpCheck {
                                    port: 8080,
                                    path: "/",
                                    status: Some(
                                        200,
                                    ),
                                    contains: None,
                                },
                            ),
                        ),
                        timeout: Millis(
                            30000,
                        ),
                    },
                ],
            },
        }
    "#]]
    .assert_debug_eq(image(&spec, "site"));
    let order = spec.order();
    let names: Vec<&str> = order.images.iter().map(ImageName::as_str).collect();
    assert_eq!(names, ["base", "site"]);
}

#[test]
fn the_examples() {
    let site = include_bytes!("../../../../../examples/site/hornero.hcl");
    let beside = Beside::usual();
    let spec = parse("hornero.hcl", site, &Variables::new(), &beside);
    assert_eq!(spec.unwrap().services.len(), 1);
    let shop = include_bytes!("../../../../../examples/shop/hornero.hcl");
    let beside = ["api", "web"].iter().fold(beside, |beside, dir| {
        let files = ["nginx.conf", "goods.json", "index.html"];
        let beside = beside.with(dir, AtPath::Directory);
        files.iter().fold(beside, |all, file| all.with(&format!("{dir}/{file}"), AtPath::File))
    });
    let spec = parse("hornero.hcl", shop, &Variables::new(), &beside).unwrap();
    assert_eq!(spec.order().services.len(), 2);
}

/// A file with one image and one service that say no more than they must.
fn least(image: &str, service: &str) -> String {
    format!(
        "image \"a\" {{\n  debian = \"bookworm\"\n  command = [\"/bin/a\"]\n  {image}\n}}\n\
         service \"a\" {{\n  image = image.a\n  {service}\n}}\n"
    )
}

#[test]
fn what_is_left_out_has_its_default() {
    let spec = good(&least("", ""));
    let a = service(&spec, "a");
    assert_eq!(a.kind, ServiceKind::Stateless);
    assert_eq!(a.instances, defaults::INSTANCES);
    assert_eq!(a.resources.memory_bytes, defaults::MEMORY_BYTES);
    assert_eq!(a.resources.cpu_millis, defaults::CPU_MILLIS);
    assert_eq!(a.resources.pids, defaults::PIDS);
    assert_eq!(a.rollout.watch, defaults::WATCH);
    assert_eq!((a.health.as_ref(), a.max_age, a.egress), (None, None, true));
    let Base::Debian { suite, mirror, keyring } = &image(&spec, "a").base else { panic!() };
    assert_eq!((suite.as_str(), mirror, keyring), ("bookworm", &None, &None));
}

#[test]
fn ports_find_their_protocol_and_health() {
    let spec = good(&least(
        "",
        "port \"z\" { container = 1 }\n port \"http-admin\" { container = 2 }\n\
         port \"web\" { container = 3 }\n port \"routed\" { container = 4 }\n\
         route {\n listen = 80\n port = \"routed\"\n host = \"WWW.Example.org\"\n }\n\
         route {\n listen = 81\n port = \"z\"\n }\n\
         health {\n http = { port = \"web\" }\n unhealthy_after = 5\n }",
    ));
    let a = service(&spec, "a");
    let ports: Vec<_> = a.ports.iter().map(|port| (port.name.as_str(), port.protocol)).collect();
    assert_eq!(
        ports,
        [
            ("http-admin", Protocol::Http),
            ("routed", Protocol::Http),
            ("web", Protocol::Http),
            ("z", Protocol::Tcp)
        ]
    );
    assert_eq!(a.routes[0].host.as_deref(), Some("www.example.org"));
    assert_eq!((a.routes[0].protocol, a.routes[1].protocol), (Protocol::Http, Protocol::Tcp));
    let health = a.health.as_ref().unwrap();
    let Check::Http(check) = &health.check else { panic!() };
    assert_eq!((check.port, check.path.as_str(), check.status), (3, "/", None));
    assert_eq!((health.unhealthy_after, health.interval), (5, defaults::HEALTH_INTERVAL));

    let spec = good(&least("", "port \"x\" { container = 9 }"));
    let health = service(&spec, "a").health.clone().unwrap();
    assert!(matches!(health.check, Check::Tcp(check) if check.port == 9));
}

#[test]
fn parts_may_be_blocks_or_objects() {
    let spec = good(&least(
        "",
        "port \"http\" { container = 8080 }\n\
         health {\n http {\n port = 8080\n path = \"/up\"\n }\n }\n\
         rollout = { keep_warm = \"0s\", watch = \"5s\" }\n\
         resources {\n memory = \"1GiB\"\n cpus = 0.25\n pids = 32\n }",
    ));
    let a = service(&spec, "a");
    assert_eq!((a.rollout.keep_warm, a.rollout.watch), (Millis(0), Millis(5_000)));
    assert_eq!((a.resources.memory_bytes, a.resources.cpu_millis), (1 << 30, 250));
    assert!(matches!(&a.health.as_ref().unwrap().check, Check::Http(c) if c.path == "/up"));
}

#[test]
fn images_inherit_what_they_leave_out() {
    let spec = good(
        r#"
        image "leaf" {
          from = image.base
          env  = { B = 2, D = true }
          scratch = [{ path = "/run", size = "1MiB" }]
        }
        image "base" {
          debian  = "bookworm"
          user    = "app"
          workdir = "/srv//app/./"
          command = ["/app"]
          env     = { A = "a", B = "b" }
          scratch = ["/run", "/tmp/x"]
          test "runs" { run = ["/app", "--check"] }
        }
        "#,
    );
    expect![[r#"
        ImageConfig {
            user: "app",
            command: [
                "/app",
            ],
            env: {
                "A": "a",
                "B": "2",
                "D": "true",
            },
            workdir: "/srv/app",
            scratch: [
                Scratch {
                    path: "/run",
                    size_bytes: 1048576,
                },
                Scratch {
                    path: "/tmp/x",
                    size_bytes: 67108864,
                },
            ],
            tests: [],
        }
    "#]]
    .assert_debug_eq(&image(&spec, "leaf").config);
}

#[test]
fn copies_are_resolved() {
    let spec = good(
        r#"
        image "a" {
          debian = "bookworm"
          copy "current"          { to = "/srv/" }
          copy "./public//up"     { to = "/etc/x" }
          copy "."                { to = "/" }
          copy "nginx.conf" {
            to    = "/etc/nginx/"
            mode  = "0600"
            owner = "www-data:33"
          }
        }
        "#,
    );
    let copies = &image(&spec, "a").copies;
    let seen: Vec<_> =
        copies.iter().map(|c| (c.from.as_str(), c.kind, c.to.as_str(), c.mode)).collect();
    assert_eq!(
        seen,
        [
            ("public/index.html", SourceKind::File, "/srv/current", None),
            ("nginx.conf", SourceKind::File, "/etc/x", None),
            (".", SourceKind::Directory, "/", None),
            ("nginx.conf", SourceKind::File, "/etc/nginx/nginx.conf", Some(0o600)),
        ]
    );
    assert_eq!(
        (copies[3].owner.user.as_str(), copies[3].owner.group.as_deref()),
        ("www-data", Some("33"))
    );
}

/// The elements of `run`, which can be any list of strings.
fn evaluated(expression: &str) -> Vec<String> {
    let text = format!(
        "variable \"words\" {{ default = [\"a\", \"b\", \"c\"] }}\n\
         variable \"sizes\" {{ default = {{ small = 1, large = 10 }} }}\n\
         variable \"site\" {{ default = \"Lima\" }}\n\
         image \"a\" {{\n  debian = \"bookworm\"\n  run = {expression}\n}}\n"
    );
    image(&good(&text), "a").run.clone()
}

#[test]
fn expressions() {
    for (expression, expected) in [
        (r#"["${var.site}-${1 + 2 * 3}"]"#, vec!["Lima-7"]),
        (r#"[upper(var.site), lower("ÄB")]"#, vec!["LIMA", "äb"]),
        (r#"var.words"#, vec!["a", "b", "c"]),
        (r#"concat(var.words, [var.words[0], var.words.1])"#, vec!["a", "b", "c", "a", "b"]),
        (r#"[for w in var.words : upper(w) if w != "b"]"#, vec!["A", "C"]),
        (r#"[for k, v in var.sizes : "${k}=${v}"]"#, vec!["large=10", "small=1"]),
        (r#"keys({for w in var.words : w => 1})"#, vec!["a", "b", "c"]),
        (r#"[join(",", {for w in var.words : "all" => w...}.all)]"#, vec!["a,b,c"]),
        (r#"[var.sizes.large > 5 && !false ? "big" : "small"]"#, vec!["big"]),
        (
            r#"[format("%s:%03d|%-4s|%.1f|%q|%%|%x", "a", 7, "b", 2.25, "c", 255)]"#,
            vec!["a:007|b   |2.2|\"c\"|%|ff"],
        ),
        (r#"[join("-", sort(["b", "a"])), split(",", "x,y")[1]]"#, vec!["a-b", "y"]),
        (r#"[tostring(length(var.words)), tostring(length("äö"))]"#, vec!["3", "2"]),
        (
            r#"[lookup({ a = "x" }, "b", "none"), merge({ a = "1" }, { a = "2" }).a]"#,
            vec!["none", "2"],
        ),
        (r#"[tostring(max(1, 3, 2)), tostring(7 % 4), tostring(-1.5)]"#, vec!["3", "3", "-1.5"]),
        (
            r#"[replace("a.b.c", ".", "/"), trimsuffix("x.conf", ".conf"), substr("hello", 1, 3)]"#,
            vec!["a/b/c", "x", "ell"],
        ),
        (r#"flatten([["a", ["b"]], "c"])"#, vec!["a", "b", "c"]),
        (r#"[{ n = "x" }, { n = "y" }][*].n"#, vec!["x", "y"]),
        (
            r#"["%{ for w in var.words }${w}.%{ endfor }", "%{ if true ~}  x %{ else }y%{ endif }"]"#,
            vec!["a.b.c.", "x "],
        ),
        (r#"["$${kept}", "tab\there"]"#, vec!["${kept}", "tab\there"]),
        (r#"[element(var.words, 4), coalesce("", "z"), trimspace("  t ")]"#, vec!["b", "z", "t"]),
        (r#"[for i in range(3) : tostring(i)]"#, vec!["0", "1", "2"]),
        ("[<<-END\n    one\n      two\n    END\n]", vec!["one\n  two\n"]),
    ] {
        assert_eq!(evaluated(expression), expected, "{expression}");
    }
}

#[test]
fn variables_come_from_outside() {
    let text = br#"
        variable "count" { type = number }
        variable "tags" {
          type    = list(string)
          default = []
        }
        variable "name" { default = "a" }
        variable "debug" {
          type        = bool
          description = "Say more."
          default     = false
        }
        image "a" {
          debian  = "bookworm"
          command = concat(["/bin/${var.name}"], var.tags, var.debug ? ["-v"] : [])
        }
        service "a" {
          image     = image.a
          instances = var.count
        }
    "#;
    let mut variables = Variables::new();
    variables.set_environment([
        ("HORNERO_VAR_count".to_owned(), "7".to_owned()),
        ("HORNERO_VAR_debug".to_owned(), "true".to_owned()),
        ("HORNERO_VAR_unused".to_owned(), "x".to_owned()),
        ("PATH".to_owned(), "/bin".to_owned()),
    ]);
    variables.set_argument("count=2").unwrap();
    variables.set_argument("tags=[\"x\", upper(\"y\")]").unwrap();
    assert!(variables.clone().set_argument("nothing").is_err());
    let spec = parse("hornero.hcl", text, &variables, &Beside::default()).unwrap();
    assert_eq!(service(&spec, "a").instances, 2);
    assert_eq!(image(&spec, "a").config.command, ["/bin/a", "x", "Y", "-v"]);

    let mut wrong = Variables::new();
    wrong.set("count", "two");
    wrong.set("tag", "[]");
    check_with(
        text,
        &wrong,
        expect![[r#"
            error[variable]: a value is given for `tag`, but the file has no such variable
             --> hornero.hcl:1:1
              |
            1 |
              | ^
              |
              = hint: did you mean `tags`?

            error[variable]: the value given for variable `count` is not of type `number`: `two`
             --> hornero.hcl:2:18
              |
            2 |         variable "count" { type = number }
              |                  ^^^^^^^
              |
              = hint: write a number such as `3`

            there are 2 errors in `hornero.hcl`
        "#]],
    );
    check_with(
        text,
        &Variables::new(),
        expect![[r#"
        error[variable]: variable `count` has no value
         --> hornero.hcl:2:9
          |
        2 |         variable "count" { type = number }
          |         ^^^^^^^^^^^^^^^^
          |
          = hint: give it one by `--var count=…` or `HORNERO_VAR_count`, or set a `default`

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn services_are_ordered_by_what_they_depend_on() {
    let spec = good(
        r#"
        image "a" {
          debian  = "bookworm"
          command = ["/a"]
        }
        service "a" {
          image      = image.a
          depends_on = [service.z, service.m]
        }
        service "m" {
          image      = image.a
          depends_on = [service.z]
        }
        service "z" { image = image.a }
        "#,
    );
    let order = spec.order();
    let names: Vec<&str> = order.services.iter().map(ServiceName::as_str).collect();
    assert_eq!(names, ["z", "m", "a"]);
}
