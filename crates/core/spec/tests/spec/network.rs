//! Files whose ports, routes and checks are wrong.

use expect_test::expect;

use crate::check::{check, good};

#[test]
fn ports_that_clash() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image = image.a
  port "http"  { container = 80 }
  port "admin" { container = 80 }
  port "http"  { container = 81 }
  port "sql"   { container = 5432 }
  route {
    listen = 8000
    port   = "http"
  }
  route {
    listen = 8000
    port   = "http"
  }
  route {
    listen = 8000
    port   = "sql"
  }
}
service "b" {
  image = image.a
  port "http" { container = 80 }
  route {
    listen      = 8000
    path_prefix = "/"
  }
  route {
    listen  = 8000
    address = "127.0.0.1"
    host    = "b.example.org"
  }
  route {
    listen = 8000
    host   = "b.example.org"
  }
}
service "c" {
  image = image.a
  port "http" { container = 80 }
  route {
    listen = 8000
    host   = "c.example.org"
    tls    = { certificate = "/etc/c.pem", key = "/etc/c.key" }
  }
}
"#,
        expect![[r#"
            error[port-clash]: service `a` has port 80 twice
             --> hornero.hcl:9:30
              |
            8 |   port "http"  { container = 80 }
              |                              -- first used here
            9 |   port "admin" { container = 80 }
              |                              ^^

            error[duplicate-name]: service `a` has two ports `http`
              --> hornero.hcl:10:8
               |
             8 |   port "http"  { container = 80 }
               |        ------ the first is here
             9 |   port "admin" { container = 80 }
            10 |   port "http"  { container = 81 }
               |        ^^^^^^

            error[port-clash]: the routes of `a` and `a` on port 8000 clash: both take the same requests
              --> hornero.hcl:16:3
               |
            12 |   route {
               |   ----- the other route
            ...
            16 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            error[port-clash]: the routes of `a` and `a` on port 8000 clash: one speaks HTTP, the other TCP
              --> hornero.hcl:20:3
               |
            12 |   route {
               |   ----- the other route
            ...
            20 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            error[port-clash]: the routes of `a` and `b` on port 8000 clash: both take the same requests
              --> hornero.hcl:28:3
               |
            12 |   route {
               |   ----- the other route
            ...
            28 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            error[port-clash]: the routes of `a` and `b` on port 8000 clash: one listens on every address, the other on one of them
              --> hornero.hcl:32:3
               |
            12 |   route {
               |   ----- the other route
            ...
            32 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            error[port-clash]: the routes of `a` and `b` on port 8000 clash: one speaks HTTP, the other TCP
              --> hornero.hcl:37:3
               |
            20 |   route {
               |   ----- the other route
            ...
            37 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            error[port-clash]: the routes of `a` and `c` on port 8000 clash: one has `tls`, the other has not
              --> hornero.hcl:45:3
               |
            12 |   route {
               |   ----- the other route
            ...
            45 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            there are 8 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn ports_out_of_range_and_routes_without_one() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image = image.a
  port "http" { container = 0 }
  port "x"    { container = 65536 }
  port "y" {
    container = 9
    protocol  = "udp"
  }
  port "z" { }
  route { listen = 80 }
}
service "b" {
  image = image.a
  route { listen = 81 }
}
service "c" {
  image = image.a
  port "sql" {
    container = 5432
    protocol  = "tcp"
  }
  route {
    listen  = 82
    host    = "*.example.org:80"
    address = "localhost"
  }
  route {
    listen   = 83
    protocol = "http"
  }
  route {
    listen      = 84
    protocol    = "tcp"
    path_prefix = "x y"
    tls         = { certificate = "cert.pem" }
  }
}
"#,
        expect![[r#"
            error[out-of-range]: `container` of port `http` must be from 1 to 65535, not 0
             --> hornero.hcl:8:29
              |
            8 |   port "http" { container = 0 }
              |                             ^
              |
              = hint: ports go from 1 to 65535

            error[out-of-range]: `container` of port `x` must be from 1 to 65535, not 65536
             --> hornero.hcl:9:29
              |
            9 |   port "x"    { container = 65536 }
              |                             ^^^^^
              |
              = hint: ports go from 1 to 65535

            error[invalid-value]: `protocol` of port `y` can't be `udp`
              --> hornero.hcl:12:17
               |
            12 |     protocol  = "udp"
               |                 ^^^^^
               |
               = hint: `protocol` is `http`, `h2c` or `tcp`

            error[missing-key]: port `z` needs `container`
              --> hornero.hcl:14:3
               |
            14 |   port "z" { }
               |   ^^^^^^^^
               |
               = hint: write the port inside the instance: `container = 8080`

            error[missing-key]: a route of service `b` needs `port`
              --> hornero.hcl:19:3
               |
            19 |   route { listen = 81 }
               |   ^^^^^
               |
               = hint: declare a `port` block and name it here

            error[conflict]: port `sql` speaks TCP, but a route to it speaks HTTP
              --> hornero.hcl:25:17
               |
            25 |     protocol  = "tcp"
               |                 ^^^^^
               |
               = hint: write `protocol = "http"` here, or `protocol = "tcp"` in the route

            error[invalid-value]: `*.example.org:80` is not a host name
              --> hornero.hcl:29:15
               |
            29 |     host    = "*.example.org:80"
               |               ^^^^^^^^^^^^^^^^^^
               |
               = hint: leave out the port: `listen` says it

            error[invalid-value]: `localhost` is not an IP address
              --> hornero.hcl:30:15
               |
            30 |     address = "localhost"
               |               ^^^^^^^^^^^
               |
               = hint: write one of the host's own, such as `127.0.0.1`, or leave it out for all of them

            error[invalid-value]: `path_prefix` is not a request path: `x y`
              --> hornero.hcl:39:19
               |
            39 |     path_prefix = "x y"
               |                   ^^^^^
               |
               = hint: begin it with `/`

            error[missing-key]: `tls` of a route of service `c` needs `key`
              --> hornero.hcl:40:19
               |
            40 |     tls         = { certificate = "cert.pem" }
               |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = hint: write the absolute path of a PEM file on the host

            error[invalid-value]: `certificate` must be an absolute path, not `cert.pem`
              --> hornero.hcl:40:35
               |
            40 |     tls         = { certificate = "cert.pem" }
               |                                   ^^^^^^^^^^
               |
               = hint: it is a PEM file on the host, outside the image

            there are 11 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn health_and_tests_that_ask_nothing_or_too_much() {
    check(
        r#"
image "base" { debian = "bookworm" }
image "a" {
  from    = image.base
  command = ["/a"]
  test "none" { timeout = "1s" }
  test "two" {
    tcp = { port = 1 }
    run = ["true"]
  }
  test "named" { http = { port = "http" } }
  test "odd" { http = { port = 80, path = "index.html", status = 99 } }
}
service "a" {
  image = image.a
  health { interval = "1s" }
  rollout { strategy = "in_turn" }
}
service "b" {
  image = image.base
  port "http" { container = 80 }
  health {
    http            = { port = 80 }
    tcp             = { port = 80 }
    unhealthy_after = 0
  }
  health { tcp = { port = 80 } }
}
"#,
        expect![[r#"
            error[missing-key]: test `none` needs `http`, `tcp` or `run`
             --> hornero.hcl:6:3
              |
            6 |   test "none" { timeout = "1s" }
              |   ^^^^^^^^^^^
              |
              = hint: write `http = { port = 8080 }`

            error[conflict]: test `two` tries more than one thing
             --> hornero.hcl:7:3
              |
            7 |   test "two" {
              |   ^^^^^^^^^^
              |
              = hint: a test has one of `http`, `tcp` and `run`

            error[wrong-type]: `port` of `http` of test `named` must be a port number, not a string
              --> hornero.hcl:11:34
               |
            11 |   test "named" { http = { port = "http" } }
               |                                  ^^^^^^ this is a string

            error[invalid-value]: the path of a check is not a request path: `index.html`
              --> hornero.hcl:12:43
               |
            12 |   test "odd" { http = { port = 80, path = "index.html", status = 99 } }
               |                                           ^^^^^^^^^^^^
               |
               = hint: begin it with `/`

            error[out-of-range]: `status` of `http` of test `odd` must be from 100 to 599, not 99
              --> hornero.hcl:12:66
               |
            12 |   test "odd" { http = { port = 80, path = "index.html", status = 99 } }
               |                                                                  ^^
               |
               = hint: HTTP has statuses from 100 to 599

            error[missing-key]: `health` of service `a` needs `http` or `tcp`
              --> hornero.hcl:16:3
               |
            16 |   health { interval = "1s" }
               |   ^^^^^^
               |
               = hint: write `http = { port = 8080, path = "/" }`

            error[invalid-value]: `strategy` of `rollout` of service `a` can't be `in_turn`
              --> hornero.hcl:17:24
               |
            17 |   rollout { strategy = "in_turn" }
               |                        ^^^^^^^^^
               |
               = hint: `strategy` is `blue_green`, `canary`, `rolling` or `replace`

            error[missing-key]: service `b` can't run image `base`, which has no command
              --> hornero.hcl:20:11
               |
            20 |   image = image.base
               |           ^^^^^^^^^^
               |
               = hint: set `command` in the image, or in the one it is made from

            error[conflict]: `health` of service `b` has both `http` and `tcp`
              --> hornero.hcl:24:32
               |
            24 |     tcp             = { port = 80 }
               |                                ^^
               |
               = hint: a service has one health check

            error[out-of-range]: `unhealthy_after` of `health` of service `b` must be from 1 to 1000, not 0
              --> hornero.hcl:25:23
               |
            25 |     unhealthy_after = 0
               |                       ^
               |
               = hint: one failure is the least that can count

            error[duplicate-name]: `health` of service `b` is set twice
              --> hornero.hcl:27:3
               |
            22 |   health {
               |   ------ first set here
            ...
            27 |   health { tcp = { port = 80 } }
               |   ^^^^^^

            there are 11 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn hosts_of_one_port_have_their_own_certificates() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image = image.a
  port "http" { container = 80 }
  route {
    listen = 443
    host   = "a.example.org"
    tls    = { certificate = "/etc/a.pem", key = "/etc/a.key" }
  }
  route {
    listen = 443
    host   = "*.example.org"
    tls    = { certificate = "/etc/all.pem", key = "/etc/all.key" }
  }
  route {
    listen      = 443
    host        = "a.example.org"
    path_prefix = "/api"
    tls         = { certificate = "/etc/all.pem", key = "/etc/all.key" }
  }
}
"#,
        expect![[r#"
            error[port-clash]: the routes of `a` and `a` on port 443 clash: they have the same `host` and differ in `tls`
              --> hornero.hcl:19:3
               |
             9 |   route {
               |   ----- the other route
            ...
            19 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            there is 1 error in `hornero.hcl`
        "#]],
    );
}

#[test]
fn redirects_lead_from_cleartext_to_another_port() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image = image.a
  port "sql"   { container = 5432 }
  port "admin" { container = 81 }
  route {
    listen      = 80
    redirect_to = 443
  }
  route {
    listen      = 81
    redirect_to = 81
  }
  route {
    listen      = 82
    redirect_to = 443
    protocol    = "tcp"
  }
  route {
    listen      = 83
    redirect_to = 443
    tls         = { certificate = "/etc/all.pem", key = "/etc/all.key" }
  }
  route {
    listen      = 84
    redirect_to = 0
  }
}
"#,
        expect![[r#"
            error[conflict]: a route of service `a` redirects to itself
              --> hornero.hcl:14:3
               |
            14 |   route {
               |   ^^^^^
               |
               = hint: name the port of a route with `tls`, such as 443

            error[conflict]: a route of service `a` speaks TCP, which knows no redirects
              --> hornero.hcl:18:3
               |
            18 |   route {
               |   ^^^^^
               |
               = hint: leave out `protocol`

            error[conflict]: a route of service `a` has both `tls` and `redirect_to`
              --> hornero.hcl:23:3
               |
            23 |   route {
               |   ^^^^^
               |
               = hint: give the route on the other port the `tls`

            error[out-of-range]: `redirect_to` of a route of service `a` must be from 1 to 65535, not 0
              --> hornero.hcl:30:19
               |
            30 |     redirect_to = 0
               |                   ^
               |
               = hint: ports go from 1 to 65535

            there are 4 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn how_instances_end_and_when_they_count() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image       = image.a
  stop_signal = "SIGKILL"
  stop_grace  = "11m"
  port "http" { container = 80 }
  health {
    healthy_after = 0
  }
}
"#,
        expect![[r#"
            error[invalid-value]: `stop_signal` of service `a` can't be `SIGKILL`
             --> hornero.hcl:8:17
              |
            8 |   stop_signal = "SIGKILL"
              |                 ^^^^^^^^^
              |
              = hint: `stop_signal` is `SIGTERM`, `SIGINT`, `SIGQUIT`, `SIGHUP`, `SIGUSR1`, `SIGUSR2` or `SIGWINCH`

            error[out-of-range]: `stop_grace` of service `a` must be at most 10m, not 11m
             --> hornero.hcl:9:17
              |
            9 |   stop_grace  = "11m"
              |                 ^^^^^
              |
              = hint: `down` and replacing wait for it: let the server end sooner

            error[out-of-range]: `healthy_after` of `health` of service `a` must be from 1 to 1000, not 0
              --> hornero.hcl:12:21
               |
            12 |     healthy_after = 0
               |                     ^
               |
               = hint: one pass is the least that can count

            there are 3 errors in `hornero.hcl`
        "#]],
    );
    let spec = good(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image       = image.a
  stop_signal = "SIGQUIT"
  stop_grace  = "10m"
  port "http" { container = 80 }
  health {
    healthy_after = 2
  }
}
"#,
    );
    let service = spec.services.values().next().unwrap();
    assert_eq!(service.stop_signal, Some(hornero_model::StopSignal::Quit));
    assert_eq!(service.stop_grace, Some(hornero_model::Millis(600_000)));
    assert_eq!(service.health.as_ref().unwrap().healthy_after, 2);
}

#[test]
fn a_port_of_http2_is_not_asked_by_http1() {
    let file = |health: &str| {
        format!(
            r#"
image "a" {{
  debian  = "bookworm"
  command = ["/a"]
}}
service "a" {{
  image  = image.a
  health = {{ {health} }}
  port "grpc" {{
    container = 50051
    protocol  = "h2c"
  }}
  route {{ listen = 8000 }}
}}
"#
        )
    };
    check(
        &file("http = { port = 50051 }"),
        expect![[r#"
        error[conflict]: port `grpc` speaks HTTP/2, but the health check asks by HTTP/1.1
          --> hornero.hcl:11:17
           |
        11 |     protocol  = "h2c"
           |                 ^^^^^
           |
           = hint: write `tcp = { port = … }` in `health`, or ask another port

        there is 1 error in `hornero.hcl`
    "#]],
    );
    let spec = good(&file("tcp = { port = 50051 }"));
    let service = spec.services.values().next().unwrap();
    assert!(service.ports[0].http2);
    assert_eq!(service.ports[0].protocol, hornero_model::Protocol::Http);
    assert_eq!(service.routes[0].protocol, hornero_model::Protocol::Http);
}
