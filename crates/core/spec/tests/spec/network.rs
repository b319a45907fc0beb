//! Files whose ports, routes and checks are wrong.

use expect_test::expect;

use crate::check::check;

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

            error[port-clash]: the routes of `a` and `c` on port 8000 clash: they differ in `tls`
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
               = hint: `protocol` is `http` or `tcp`

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
  rollout { strategy = "rolling" }
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

            error[invalid-value]: `strategy` of `rollout` of service `a` can't be `rolling`
              --> hornero.hcl:17:24
               |
            17 |   rollout { strategy = "rolling" }
               |                        ^^^^^^^^^
               |
               = hint: `strategy` is only `blue_green`

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
