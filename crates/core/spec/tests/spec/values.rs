//! Files whose numbers, sizes and spans of time are wrong.

use expect_test::expect;

use crate::check::{check, read};

#[test]
fn instance_counts() {
    for count in ["0", "-1", "1001", "1.5", "1e300", "99999999999999999999"] {
        let text = format!(
            "image \"a\" {{\n  debian = \"bookworm\"\n  command = [\"/a\"]\n}}\n\
             service \"a\" {{\n  image = image.a\n  instances = {count}\n}}\n"
        );
        let errors = read(&text).unwrap_err();
        assert_eq!(errors.iter().count(), 1, "{count}");
        assert_eq!(errors.iter().next().unwrap().place.line, 7, "{count}");
    }
    check(
        "image \"a\" {\n  debian = \"bookworm\"\n  command = [\"/a\"]\n}\n\
         service \"a\" {\n  image = image.a\n  instances = 0\n}\n\
         service \"b\" {\n  image = image.a\n  instances = 40000\n}\n",
        expect![[r#"
            error[out-of-range]: `instances` of service `a` must be from 1 to 1000, not 0
             --> hornero.hcl:7:15
              |
            7 |   instances = 0
              |               ^
              |
              = hint: a service runs at least one instance, and one machine carries no more than a thousand; to stop a service, take it down

            error[out-of-range]: `instances` of service `b` must be from 1 to 1000, not 40000
              --> hornero.hcl:11:15
               |
            11 |   instances = 40000
               |               ^^^^^
               |
               = hint: a service runs at least one instance, and one machine carries no more than a thousand; to stop a service, take it down

            there are 2 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn sizes_and_durations_that_do_not_parse() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
  scratch = [{ path = "/run", size = "64 mib" }]
  test "t" {
    tcp     = { port = 1 }
    timeout = "soon"
  }
}
volume "v" { size = "10G" }
volume "w" { size = "99999999999999999999TiB" }
volume "x" { size = "2000TiB" }
service "a" {
  image   = image.a
  max_age = "3 fortnights"
  port "http" { container = 80 }
  health {
    http          = { port = "http" }
    interval      = 500
    timeout       = "0s"
    start_timeout = "9999999w"
  }
  rollout   = { drain_timeout = "18446744073709551615h", keep_warm = "-1s" }
  resources = { memory = "1KiB", cpus = 0, pids = 0 }
}
"#,
        expect![[r#"
            error[invalid-value]: `size` of a scratch directory of image `a` must be a size, not `64 mib`
             --> hornero.hcl:5:38
              |
            5 |   scratch = [{ path = "/run", size = "64 mib" }]
              |                                      ^^^^^^^^
              |
              = hint: did you mean `64MiB`?

            error[invalid-value]: `timeout` of test `t` must be a span of time, not `soon`
             --> hornero.hcl:8:15
              |
            8 |     timeout = "soon"
              |               ^^^^^^
              |
              = hint: write a whole number and a unit: `500ms`, `30s`, `10m`, `72h` or `1h30m`

            error[invalid-value]: `size` of volume `v` must be a size, not `10G`
              --> hornero.hcl:11:21
               |
            11 | volume "v" { size = "10G" }
               |                     ^^^^^
               |
               = hint: did you mean `10GiB`?

            error[out-of-range]: `size` of volume `w` must be at most 1024TiB, not `99999999999999999999TiB`
              --> hornero.hcl:12:21
               |
            12 | volume "w" { size = "99999999999999999999TiB" }
               |                     ^^^^^^^^^^^^^^^^^^^^^^^^^

            error[out-of-range]: `size` of volume `x` must be at most 1024TiB, not `2000TiB`
              --> hornero.hcl:13:21
               |
            13 | volume "x" { size = "2000TiB" }
               |                     ^^^^^^^^^

            error[invalid-value]: `max_age` of service `a` must be a span of time, not `3 fortnights`
              --> hornero.hcl:16:13
               |
            16 |   max_age = "3 fortnights"
               |             ^^^^^^^^^^^^^^
               |
               = hint: write a whole number and a unit: `500ms`, `30s`, `10m`, `72h` or `1h30m`

            error[wrong-type]: `interval` of `health` of service `a` must be a span of time in quotes, not a number
              --> hornero.hcl:20:21
               |
            20 |     interval      = 500
               |                     ^^^ this is a number
               |
               = hint: write a whole number and a unit: `500ms`, `30s`, `10m`, `72h` or `1h30m`

            error[out-of-range]: `timeout` of `health` of service `a` must be at least 10ms, not `0s`
              --> hornero.hcl:21:21
               |
            21 |     timeout       = "0s"
               |                     ^^^^

            error[out-of-range]: `start_timeout` of `health` of service `a` must be at most ten years, not `9999999w`
              --> hornero.hcl:22:21
               |
            22 |     start_timeout = "9999999w"
               |                     ^^^^^^^^^^

            error[out-of-range]: `drain_timeout` of `rollout` of service `a` must be at most ten years, not `18446744073709551615h`
              --> hornero.hcl:24:33
               |
            24 |   rollout   = { drain_timeout = "18446744073709551615h", keep_warm = "-1s" }
               |                                 ^^^^^^^^^^^^^^^^^^^^^^^

            error[invalid-value]: `keep_warm` of `rollout` of service `a` must be a span of time, not `-1s`
              --> hornero.hcl:24:70
               |
            24 |   rollout   = { drain_timeout = "18446744073709551615h", keep_warm = "-1s" }
               |                                                                      ^^^^^
               |
               = hint: write a whole number and a unit: `500ms`, `30s`, `10m`, `72h` or `1h30m`

            error[out-of-range]: `memory` of `resources` of service `a` must be at least 4MiB, not `1KiB`
              --> hornero.hcl:25:26
               |
            25 |   resources = { memory = "1KiB", cpus = 0, pids = 0 }
               |                          ^^^^^^

            error[out-of-range]: `cpus` of `resources` of service `a` must be from 0.01 to 1024 cores, not 0
              --> hornero.hcl:25:41
               |
            25 |   resources = { memory = "1KiB", cpus = 0, pids = 0 }
               |                                         ^

            error[out-of-range]: `pids` of `resources` of service `a` must be from 1 to 4194304, not 0
              --> hornero.hcl:25:51
               |
            25 |   resources = { memory = "1KiB", cpus = 0, pids = 0 }
               |                                                   ^
               |
               = hint: an instance is at least one process, and the kernel numbers no more than that

            there are 14 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn volumes_have_one_writer() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
  scratch = ["/data"]
}
volume "v" { size = "1GiB" }
service "a" {
  image     = image.a
  kind      = "stateful"
  instances = 2
  mount "/data" { volume = volume.v }
}
service "b" {
  image = image.a
  mount "/var" { volume = volume.v }
  mount "/x"   { }
}
service "c" {
  image = image.a
  kind  = "statefull"
}
"#,
        expect![[r#"
            error[conflict]: `/data` is both a mount and scratch of the image
              --> hornero.hcl:12:3
               |
            12 |   mount "/data" { volume = volume.v }
               |   ^^^^^^^^^^^^^
               |
               = hint: take it out of `scratch`: what is scratch is lost with the instance

            error[conflict]: service `a` has a volume and 2 instances, but a volume has one writer
              --> hornero.hcl:12:3
               |
            12 |   mount "/data" { volume = volume.v }
               |   ^^^^^^^^^^^^^
               |
               = hint: set `instances = 1`

            error[conflict]: service `b` is stateless and can't have volumes
              --> hornero.hcl:16:3
               |
            16 |   mount "/var" { volume = volume.v }
               |   ^^^^^^^^^^^^
               |
               = hint: set `kind = "stateful"`

            error[conflict]: volume `v` is mounted twice
              --> hornero.hcl:16:3
               |
            12 |   mount "/data" { volume = volume.v }
               |   ------------- first mounted here
            ...
            16 |   mount "/var" { volume = volume.v }
               |   ^^^^^^^^^^^^
               |
               = hint: a volume has one writer: declare a second one

            error[missing-key]: mount `/x` needs `volume`
              --> hornero.hcl:17:3
               |
            17 |   mount "/x"   { }
               |   ^^^^^^^^^^
               |
               = hint: write `volume = volume.NAME`

            error[conflict]: service `b` is stateless and can't have volumes
              --> hornero.hcl:17:3
               |
            17 |   mount "/x"   { }
               |   ^^^^^^^^^^
               |
               = hint: set `kind = "stateful"`

            error[invalid-value]: `kind` of service `c` can't be `statefull`
              --> hornero.hcl:21:11
               |
            21 |   kind  = "statefull"
               |           ^^^^^^^^^^^
               |
               = hint: did you mean `stateful`?

            there are 7 errors in `hornero.hcl`
        "#]],
    );
}
