//! What a service's release carries beside its image.

use expect_test::expect;
use hornero_model::ServiceName;
use hornero_spec::ServiceDefinition;

use crate::check::{check, good};

/// A service with some lines in it.
fn with(lines: &str) -> String {
    format!(
        r#"
image "a" {{
  debian  = "bookworm"
  command = ["/a"]
  scratch = ["/run", "/var/lib/a"]
}}
service "a" {{
  image = image.a
{lines}
}}
"#
    )
}

fn service(lines: &str) -> ServiceDefinition {
    good(&with(lines)).services.remove(&ServiceName::new("a").unwrap()).unwrap()
}

#[test]
fn the_environment_of_a_service_is_text() {
    let env =
        service(r#"  env = { GREETING = "hi ${1 + 1}", LEVEL = 3, DEBUG = true, NONE = null }"#)
            .env;
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("DEBUG", "true"), ("GREETING", "hi 2"), ("LEVEL", "3")]);
    assert!(service("").env.is_empty());
}

#[test]
fn environments_that_can_not_be_are_refused() {
    check(
        &with(r#"  env = { "A B" = "c", LIST = [1] }"#),
        expect![[r#"
        error[invalid-name]: `A B` is not the name of an environment variable
         --> hornero.hcl:9:11
          |
        9 |   env = { "A B" = "c", LIST = [1] }
          |           ^^^^^
          |
          = hint: use letters, digits and `_`, not beginning with a digit

        error[wrong-type]: `env.LIST` must be a string, not a list
         --> hornero.hcl:9:31
          |
        9 |   env = { "A B" = "c", LIST = [1] }
          |                               ^^^ this is a list

        there are 2 errors in `hornero.hcl`
    "#]],
    );
    check(
        &with(
            r#"  env = { LONG = join("", [for n in range(1000) : "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 01"]) }"#,
        ),
        expect![[r#"
            error[too-large]: `env` of service `a` is 68004 bytes, and at most 65536 are taken
             --> hornero.hcl:9:9
              |
            9 |   env = { LONG = join("", [for n in range(1000) : "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 01"]) }
              |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = hint: put what is larger into a file

            there is 1 error in `hornero.hcl`
        "#]],
    );
}

fn config(lines: &str) -> Vec<(String, String, u32, String)> {
    let files = service(lines).config;
    files.into_iter().map(|it| (it.path, it.content, it.mode, it.owner)).collect()
}

#[test]
fn configuration_files_hold_what_their_templates_come_to() {
    let text = format!(
        "variable \"name\" {{ default = \"shop\" }}\n{}",
        with(
            r#"
  config "/etc/b.conf" {
    content = "x = ${var.name}"
    mode    = "0600"
    owner   = "www-data:adm"
  }
  config "/etc//a.conf" { source = "app.tmpl" }
  config "/run/c/d.conf" { content = "" }
"#
        )
    );
    let spec = good(&text);
    let files = &spec.services.values().next().unwrap().config;
    let files: Vec<_> = files
        .iter()
        .map(|it| (it.path.as_str(), it.content.as_str(), it.mode, it.owner.as_str()))
        .collect();
    assert_eq!(
        files,
        [
            ("/etc/a.conf", "name = shop\nn1\nn2\n${kept} $x \\n\n", 0o644, "root"),
            ("/etc/b.conf", "x = shop", 0o600, "www-data:adm"),
            ("/run/c/d.conf", "", 0o644, "root"),
        ]
    );
    let spec = spec.services.values().next().unwrap().clone();
    let spec = spec.into_service_spec(hornero_model::Digest::of(b"image"));
    assert_eq!(spec.config[1].content, hornero_model::Digest::of(b"x = shop"));
    assert_eq!((spec.config[1].size_bytes, spec.configuration), (8, None));
    assert_eq!(config("").len(), 0);
}

#[test]
fn mistakes_in_templates_point_at_their_line_and_at_who_names_them() {
    check(
        &with(
            r#"
  config "/etc/a" { source = "bad.tmpl" }
  config "/etc/b" { source = "broken.tmpl" }
"#,
        ),
        expect![[r#"
            error[unknown-reference]: `bad.tmpl`, line 2: there is no variable `nam`
              --> hornero.hcl:10:30
               |
            10 |   config "/etc/a" { source = "bad.tmpl" }
               |                              ^^^^^^^^^^
               |
               = hint: the file declares no variable

            error[syntax]: `broken.tmpl`, line 2: unexpected token
              --> hornero.hcl:11:30
               |
            11 |   config "/etc/b" { source = "broken.tmpl" }
               |                              ^^^^^^^^^^^^^
               |
               = hint: `${` and `%{` begin expressions; write `$${` and `%%{` for the letters themselves

            there are 2 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn configuration_files_that_can_not_be_are_refused() {
    check(
        &with(
            r#"
  config "etc/a" { content = "" }
  config "/etc/../b" { content = "" }
  config "/proc/sys/c" { content = "" }
  config "/dev/null" { content = "" }
  config "/etc/hosts" { content = "" }
  config "/" { content = "" }
  config "/etc/d/" { content = "" }
  config "/run" { content = "" }
  config "/var/lib" { content = "" }
"#,
        ),
        expect![[r#"
            error[invalid-value]: a configuration file must be an absolute path, not `etc/a`
              --> hornero.hcl:10:10
               |
            10 |   config "etc/a" { content = "" }
               |          ^^^^^^^
               |
               = hint: begin it with `/`: it is a path inside the image

            error[path-escapes]: a configuration file must not contain `..`: `/etc/../b`
              --> hornero.hcl:11:10
               |
            11 |   config "/etc/../b" { content = "" }
               |          ^^^^^^^^^^^
               |
               = hint: write the path it comes to

            error[invalid-value]: a configuration file must not be in `/proc`, which the kernel fills
              --> hornero.hcl:12:10
               |
            12 |   config "/proc/sys/c" { content = "" }
               |          ^^^^^^^^^^^^^

            error[invalid-value]: a configuration file must not be in `/dev`, which the kernel fills
              --> hornero.hcl:13:10
               |
            13 |   config "/dev/null" { content = "" }
               |          ^^^^^^^^^^^

            error[invalid-value]: a configuration file can't be at `/etc/hosts`, which is made for every instance
              --> hornero.hcl:14:10
               |
            14 |   config "/etc/hosts" { content = "" }
               |          ^^^^^^^^^^^^

            error[invalid-value]: a configuration file can't be at `/`, which is a directory
              --> hornero.hcl:15:10
               |
            15 |   config "/" { content = "" }
               |          ^^^

            error[invalid-value]: a configuration file can't be at `/etc/d/`, which is a directory
              --> hornero.hcl:16:10
               |
            16 |   config "/etc/d/" { content = "" }
               |          ^^^^^^^^^

            error[conflict]: `/run` is a file, and `/run` a writable directory
              --> hornero.hcl:17:10
               |
            17 |   config "/run" { content = "" }
               |          ^^^^^^
               |
               = hint: give the file a path of its own

            error[conflict]: `/var/lib` is a file, and `/var/lib/a` a writable directory
              --> hornero.hcl:18:10
               |
            18 |   config "/var/lib" { content = "" }
               |          ^^^^^^^^^^
               |
               = hint: give the file a path of its own

            there are 9 errors in `hornero.hcl`
        "#]],
    );
    check(
        &with(
            r#"
  config "/etc/a" { content = "" }
  config "/etc/a" { content = "" }
  config "/etc/a/b" { content = "" }
  config "/etc/c" { mode = "4755" }
  config "/etc/d" { source = "../secret" }
  config "/etc/e" { source = "outside" }
  config "/etc/f" { source = "public" }
  config "/etc/g" { source = "binary" }
  config "/etc/h" { source = "large" }
  config "/etc/i" { source = "nginx.conf" }
"#,
        ),
        expect![[r#"
            error[duplicate-name]: service `a` has two files at `/etc/a`
              --> hornero.hcl:11:10
               |
            10 |   config "/etc/a" { content = "" }
               |          -------- the other is here
            11 |   config "/etc/a" { content = "" }
               |          ^^^^^^^^

            error[conflict]: `/etc/a/b` of service `a` can't lie below `/etc/a`, which is a file
              --> hornero.hcl:12:10
               |
            10 |   config "/etc/a" { content = "" }
               |          -------- the other is here
            11 |   config "/etc/a" { content = "" }
            12 |   config "/etc/a/b" { content = "" }
               |          ^^^^^^^^^^

            error[missing-key]: config `/etc/c` needs `source` or `content`
              --> hornero.hcl:13:3
               |
            13 |   config "/etc/c" { mode = "4755" }
               |   ^^^^^^^^^^^^^^^
               |
               = hint: write `source = "shop.conf.tmpl"`

            error[out-of-range]: `mode` of config `/etc/c` has more than permission bits
              --> hornero.hcl:13:28
               |
            13 |   config "/etc/c" { mode = "4755" }
               |                            ^^^^^^
               |
               = hint: the highest is `0777`: what is laid over a root has no set-id bits

            error[path-escapes]: `source` of config `/etc/d` must not contain `..`: `../secret`
              --> hornero.hcl:14:30
               |
            14 |   config "/etc/d" { source = "../secret" }
               |                              ^^^^^^^^^^^
               |
               = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[path-escapes]: `source` of config `/etc/e` leaves the directory: `outside` is a symlink to `/etc/passwd`
              --> hornero.hcl:15:30
               |
            15 |   config "/etc/e" { source = "outside" }
               |                              ^^^^^^^^^
               |
               = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[invalid-value]: `source` of config `/etc/f` must be a file, and `public` is a directory
              --> hornero.hcl:16:30
               |
            16 |   config "/etc/f" { source = "public" }
               |                              ^^^^^^^^

            error[syntax]: `binary` is not UTF-8
              --> hornero.hcl:17:30
               |
            17 |   config "/etc/g" { source = "binary" }
               |                              ^^^^^^^^
               |
               = hint: files that are no text belong into the image: `copy`

            error[too-large]: at most 65536 bytes are taken, and `large` is larger than that
              --> hornero.hcl:18:30
               |
            18 |   config "/etc/h" { source = "large" }
               |                              ^^^^^^^
               |
               = hint: files that are large belong into the image: `copy`

            error[source-missing]: `source` of config `/etc/i` can't be read at `nginx.conf`: permission denied
              --> hornero.hcl:19:30
               |
            19 |   config "/etc/i" { source = "nginx.conf" }
               |                              ^^^^^^^^^^^^

            there are 10 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn secrets_of_a_service_are_named_and_placed() {
    let secrets = service(
        r#"
  secret "token" {
    path  = "/etc/token"
    mode  = "0440"
    owner = "root:adm"
  }
  secret "db-password" { path = "/run/secrets/db" }
"#,
    )
    .secrets;
    let secrets: Vec<_> = secrets
        .iter()
        .map(|it| (it.name.as_str(), it.path.as_str(), it.mode, it.owner.as_str()))
        .collect();
    assert_eq!(
        secrets,
        [("token", "/etc/token", 0o440, "root:adm"), ("db-password", "/run/secrets/db", 0o400, "")]
    );
}

#[test]
fn secrets_that_can_not_be_are_refused() {
    check(
        &with(
            r#"
  config "/etc/a" { content = "" }
  secret "a" { path = "/etc/a" }
  secret "b" { path = "/run" }
  secret "c" { mode = "0400" }
  secret "D" { path = "/etc/d" }
  secret "e" { path = "/etc/e" }
  secret "e" { path = "/etc/f" }
  secret "g" {
    path = "/etc/g"
    env  = "G"
  }
"#,
        ),
        expect![[r#"
            error[duplicate-name]: service `a` has two files at `/etc/a`
              --> hornero.hcl:11:23
               |
            10 |   config "/etc/a" { content = "" }
               |          -------- the other is here
            11 |   secret "a" { path = "/etc/a" }
               |                       ^^^^^^^^

            error[conflict]: `/run` is a file, and `/run` a writable directory
              --> hornero.hcl:12:23
               |
            12 |   secret "b" { path = "/run" }
               |                       ^^^^^^
               |
               = hint: give the file a path of its own

            error[missing-key]: secret `c` needs `path`
              --> hornero.hcl:13:3
               |
            13 |   secret "c" { mode = "0400" }
               |   ^^^^^^^^^^
               |
               = hint: write `path = "/run/secrets/NAME"`

            error[invalid-name]: `D` is not a valid secret name
              --> hornero.hcl:14:10
               |
            14 |   secret "D" { path = "/etc/d" }
               |          ^^^
               |
               = hint: use 1 to 40 lower-case letters, digits and `-`, beginning with a letter and not ending in `-`

            error[duplicate-name]: service `a` has two secrets `e`
              --> hornero.hcl:16:10
               |
            15 |   secret "e" { path = "/etc/e" }
               |          --- the first is here
            16 |   secret "e" { path = "/etc/f" }
               |          ^^^

            error[unknown-key]: secret `g` has no key `env`
              --> hornero.hcl:19:5
               |
            19 |     env  = "G"
               |     ^^^
               |
               = hint: it has `mode`, `owner`, `path`

            there are 6 errors in `hornero.hcl`
        "#]],
    );
}
