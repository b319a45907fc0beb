//! Files whose routes say wrong things of the port that they listen on.

use expect_test::expect;

use crate::check::check;

#[test]
fn proxies_that_are_not_named_can_not_speak_for_others() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image = image.a
  port "http" {
    container      = 80
    proxy_protocol = "v3"
  }
  route {
    listen         = 8000
    proxy_protocol = true
  }
  route {
    listen          = 8001
    trusted_proxies = ["10.0.0.0/8"]
    proxy_protocol  = "v2"
  }
  route {
    listen          = 8002
    host            = "a.example.org"
    trusted_proxies = ["10.0.0.0/8"]
    proxy_protocol  = true
  }
  route {
    listen          = 8002
    host            = "b.example.org"
    trusted_proxies = ["10.0.0.0/8"]
  }
}
"#,
        expect![[r#"
            error[invalid-value]: `proxy_protocol` of port `http` can't be `v3`
              --> hornero.hcl:10:22
               |
            10 |     proxy_protocol = "v3"
               |                      ^^^^
               |
               = hint: did you mean `v1`?

            error[missing-key]: `proxy_protocol` of a route of service `a` needs `trusted_proxies`
              --> hornero.hcl:14:22
               |
            14 |     proxy_protocol = true
               |                      ^^^^
               |
               = hint: name the proxies in front, such as `trusted_proxies = ["10.0.0.0/8"]`: anybody else could say to be somebody else

            error[wrong-type]: `proxy_protocol` of a route of service `a` must be `true` or `false`, not a string
              --> hornero.hcl:19:23
               |
            19 |     proxy_protocol  = "v2"
               |                       ^^^^ this is a string

            error[port-clash]: the routes of `a` and `a` on port 8002 clash: they differ in `proxy_protocol`
              --> hornero.hcl:27:3
               |
            21 |   route {
               |   ----- the other route
            ...
            27 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            there are 4 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn limits_that_no_port_can_have() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "a" {
  image = image.a
  port "http" { container = 80 }
  port "sql"  { container = 5432 }
  route {
    listen = 8000
    port   = "http"
    limits {
      connections            = 0
      connections_per_source = "many"
      head_timeout           = "10"
      idle_timeout           = "8d"
      conections             = 1
    }
  }
  route {
    listen = 8001
    port   = "http"
    limits = {
      connections            = 10
      connections_per_source = 11
      head_timeout           = "50ms"
    }
  }
  route {
    listen = 8002
    port   = "sql"
    limits {
      head_timeout = "5s"
      idle_timeout = "5m"
    }
  }
  route {
    listen = 8003
    port   = "http"
    host   = "a.example.org"
    limits { connections = 10 }
  }
  route {
    listen = 8003
    port   = "http"
    host   = "b.example.org"
  }
}
"#,
        expect![[r#"
            error[out-of-range]: `connections` of `limits` of a route of service `a` must be from 1 to 1000000, not 0
              --> hornero.hcl:14:32
               |
            14 |       connections            = 0
               |                                ^
               |
               = hint: none at all would be no route, and one process has files for some ten thousand

            error[wrong-type]: `connections_per_source` of `limits` of a route of service `a` must be a whole number, not a string
              --> hornero.hcl:15:32
               |
            15 |       connections_per_source = "many"
               |                                ^^^^^^ this is a string

            error[invalid-value]: `head_timeout` of `limits` of a route of service `a` must be a span of time, not `10`
              --> hornero.hcl:16:32
               |
            16 |       head_timeout           = "10"
               |                                ^^^^
               |
               = hint: write a whole number and a unit: `500ms`, `30s`, `10m`, `72h` or `1h30m`

            error[out-of-range]: `idle_timeout` of `limits` of a route of service `a` must be at most 7days, not 8days
              --> hornero.hcl:17:32
               |
            17 |       idle_timeout           = "8d"
               |                                ^^^^
               |
               = hint: whoever is waited for so long holds a place that others need

            error[unknown-key]: `limits` of a route of service `a` has no key `conections`
              --> hornero.hcl:18:7
               |
            18 |       conections             = 1
               |       ^^^^^^^^^^
               |
               = hint: did you mean `connections`?

            error[conflict]: `connections_per_source` of `limits` of a route of service `a` is more than its `connections`
              --> hornero.hcl:26:32
               |
            26 |       connections_per_source = 11
               |                                ^^
               |
               = hint: one source can't have more than all, 10

            error[out-of-range]: `head_timeout` of `limits` of a route of service `a` must be at least 100ms, not `50ms`
              --> hornero.hcl:27:32
               |
            27 |       head_timeout           = "50ms"
               |                                ^^^^^^

            error[conflict]: a route that speaks TCP has no heads, so no `head_timeout`
              --> hornero.hcl:34:22
               |
            34 |       head_timeout = "5s"
               |                      ^^^^
               |
               = hint: `idle_timeout` says how long a connection may be silent

            error[port-clash]: the routes of `a` and `a` on port 8003 clash: they differ in `limits`
              --> hornero.hcl:44:3
               |
            38 |   route {
               |   ----- the other route
            ...
            44 |   route {
               |   ^^^^^
               |
               = hint: give one of them another `listen`, or HTTP routes a different `host` or `path_prefix`

            there are 9 errors in `hornero.hcl`
        "#]],
    );
}
