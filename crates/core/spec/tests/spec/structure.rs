//! Files whose blocks, keys and names are wrong.

use expect_test::expect;

use crate::check::check;

#[test]
fn unknown_keys_and_blocks() {
    check(
        r#"
image "base" {
  debian  = "bookworm"
  pakages = ["nginx"]
  zzz     = 1
  coppy "x" { to = "/x" }
  test "t" { htp = { port = 1 } }
}
servise "site" {
}
listen = 80
image = "x"
"#,
        expect![[r#"
            error[unknown-key]: image `base` has no key `pakages`
             --> hornero.hcl:4:3
              |
            4 |   pakages = ["nginx"]
              |   ^^^^^^^
              |
              = hint: did you mean `packages`?

            error[unknown-key]: image `base` has no key `zzz`
             --> hornero.hcl:5:3
              |
            5 |   zzz     = 1
              |   ^^^
              |
              = hint: it has `archive`, `command`, `copy`, `debian`, `env`, `from`, `keyring`, `max_size`, `mirror`, `network`, `packages`, `provision`, `run`, `scratch`, `secret`, `test`, `user`, `workdir`

            error[unknown-block]: image `base` has no block `coppy`
             --> hornero.hcl:6:3
              |
            6 |   coppy "x" { to = "/x" }
              |   ^^^^^^^^^
              |
              = hint: did you mean `copy`?

            error[missing-key]: test `t` needs `http`, `tcp` or `run`
             --> hornero.hcl:7:3
              |
            7 |   test "t" { htp = { port = 1 } }
              |   ^^^^^^^^
              |
              = hint: write `http = { port = 8080 }`

            error[unknown-key]: test `t` has no key `htp`
             --> hornero.hcl:7:14
              |
            7 |   test "t" { htp = { port = 1 } }
              |              ^^^
              |
              = hint: did you mean `http`?

            error[unknown-block]: there is no block `servise`
             --> hornero.hcl:9:1
              |
            9 | servise "site" {
              | ^^^^^^^^^^^^^^
              |
              = hint: did you mean `service`?

            error[unknown-key]: key `listen` stands outside of any block
              --> hornero.hcl:11:1
               |
            11 | listen = 80
               | ^^^^^^
               |
               = hint: at the top of the file stand blocks: `image`, `service`, `job`, `schedule`, `freeze`, `volume`, `variable` or `trust`

            error[unknown-key]: key `image` stands outside of any block
              --> hornero.hcl:12:1
               |
            12 | image = "x"
               | ^^^^^
               |
               = hint: `image` is a block: write `image "NAME" { … }`

            there are 8 errors in `hornero.hcl`
        "#]],
    );
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
  copy    = "x"
}
service "a" {
  image = image.a
  port  = 8080
  instances { count = 3 }
  health {
    interval = "1s"
    http     = { port = 1, pth = "/" }
  }
}
"#,
        expect![[r#"
            error[unknown-key]: image `a` has no key `copy`
             --> hornero.hcl:5:3
              |
            5 |   copy    = "x"
              |   ^^^^
              |
              = hint: `copy` is a block: write it without `=`

            error[unknown-key]: service `a` has no key `port`
             --> hornero.hcl:9:3
              |
            9 |   port  = 8080
              |   ^^^^
              |
              = hint: `port` is a block: write it without `=`

            error[unknown-block]: service `a` has no block `instances`
              --> hornero.hcl:10:3
               |
            10 |   instances { count = 3 }
               |   ^^^^^^^^^
               |
               = hint: `instances` is a key: write `instances = …`

            error[unknown-key]: `http` of `health` of service `a` has no key `pth`
              --> hornero.hcl:13:28
               |
            13 |     http     = { port = 1, pth = "/" }
               |                            ^^^
               |
               = hint: did you mean `path`?

            there are 4 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn wrong_types() {
    check(
        r#"
image "a" {
  debian   = 12
  packages = "nginx"
  run      = ["true", 3, ["x"]]
  network  = "yes"
  command  = { a = 1 }
  env      = ["A=1"]
  scratch  = [true]
}
service "a" {
  image     = "a"
  instances = "3"
  egress    = 1
  health    = 5
  resources = { memory = 256, cpus = "one" }
  depends_on = [image.a, "b"]
}
"#,
        expect![[r#"
            error[wrong-type]: `debian` of image `a` must be a string, not a number
             --> hornero.hcl:3:14
              |
            3 |   debian   = 12
              |              ^^ this is a number

            error[wrong-type]: `packages` of image `a` must be a list of strings, not a string
             --> hornero.hcl:4:14
              |
            4 |   packages = "nginx"
              |              ^^^^^^^ this is a string

            error[wrong-type]: an element of `run` of image `a` must be a string, not a number
             --> hornero.hcl:5:23
              |
            5 |   run      = ["true", 3, ["x"]]
              |                       ^ this is a number

            error[wrong-type]: an element of `run` of image `a` must be a string, not a list
             --> hornero.hcl:5:26
              |
            5 |   run      = ["true", 3, ["x"]]
              |                          ^^^^^ this is a list

            error[wrong-type]: `network` of image `a` must be `true` or `false`, not a string
             --> hornero.hcl:6:14
              |
            6 |   network  = "yes"
              |              ^^^^^ this is a string

            error[wrong-type]: `command` of image `a` must be a list of strings such as `["/usr/bin/app"]`, not an object
             --> hornero.hcl:7:14
              |
            7 |   command  = { a = 1 }
              |              ^^^^^^^^^ this is an object

            error[wrong-type]: `env` of image `a` must be an object such as `{ LANG = "C.UTF-8" }`, not a list
             --> hornero.hcl:8:14
              |
            8 |   env      = ["A=1"]
              |              ^^^^^^^ this is a list

            error[wrong-type]: an element of `scratch` of image `a` must be a path or an object, not a bool
             --> hornero.hcl:9:15
              |
            9 |   scratch  = [true]
              |               ^^^^ this is a bool

            error[wrong-type]: `image` of service `a` must be a reference such as `image.NAME`, not a string
              --> hornero.hcl:12:15
               |
            12 |   image     = "a"
               |               ^^^ this is a string
               |
               = hint: write it without quotes: `image.a`

            error[wrong-type]: `instances` of service `a` must be a whole number, not a string
              --> hornero.hcl:13:15
               |
            13 |   instances = "3"
               |               ^^^ this is a string

            error[wrong-type]: `egress` of service `a` must be `true` or `false`, not a number
              --> hornero.hcl:14:15
               |
            14 |   egress    = 1
               |               ^ this is a number

            error[wrong-type]: `health` of service `a` must be an object such as `{ … }`, not a number
              --> hornero.hcl:15:15
               |
            15 |   health    = 5
               |               ^ this is a number

            error[wrong-type]: `memory` of `resources` of service `a` must be a size in quotes, not a number
              --> hornero.hcl:16:26
               |
            16 |   resources = { memory = 256, cpus = "one" }
               |                          ^^^ this is a number
               |
               = hint: write a whole number and a unit: `64KiB`, `256MiB`, `10GiB` or `1TB`

            error[wrong-type]: `cpus` of `resources` of service `a` must be a number of cores, not a string
              --> hornero.hcl:16:38
               |
            16 |   resources = { memory = 256, cpus = "one" }
               |                                      ^^^^^ this is a string

            error[wrong-type]: an element of `depends_on` of service `a` must refer to a service, not to `image.a`
              --> hornero.hcl:17:17
               |
            17 |   depends_on = [image.a, "b"]
               |                 ^^^^^^^

            error[wrong-type]: an element of `depends_on` of service `a` must be a reference such as `service.NAME`, not a string
              --> hornero.hcl:17:26
               |
            17 |   depends_on = [image.a, "b"]
               |                          ^^^ this is a string
               |
               = hint: write it without quotes: `service.b`

            there are 16 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn missing_and_duplicate_names() {
    check(
        r#"
image {
  debian = "bookworm"
}
image "a" "b" { debian = "bookworm" }
image "base" { debian = "bookworm" }
image "base" { debian = "trixie" }
image "Base_1" { debian = "bookworm" }
variable "x" { default = 1 }
variable "x" { default = 2 }
image "c" {
  debian = "bookworm"
  copy { to = "/x" }
  test "t" { tcp = { port = 1 } }
  test "t" { tcp = { port = 2 } }
}
"#,
        expect![[r#"
            error[missing-name]: an image needs a name
             --> hornero.hcl:2:1
              |
            2 | image {
              | ^^^^^
              |
              = hint: write `image "site" { … }`

            error[missing-name]: an image needs one name, not 2
             --> hornero.hcl:5:1
              |
            5 | image "a" "b" { debian = "bookworm" }
              | ^^^^^^^^^^^^^
              |
              = hint: write `image "site" { … }`

            error[duplicate-name]: there are two images `base`
             --> hornero.hcl:7:7
              |
            6 | image "base" { debian = "bookworm" }
              |       ------ the first is here
            7 | image "base" { debian = "trixie" }
              |       ^^^^^^

            error[invalid-name]: `Base_1` is not a valid image name
             --> hornero.hcl:8:7
              |
            8 | image "Base_1" { debian = "bookworm" }
              |       ^^^^^^^^
              |
              = hint: use 1 to 40 lower-case letters, digits and `-`, beginning with a letter and not ending in `-`

            error[duplicate-name]: there are two variables `x`
              --> hornero.hcl:10:10
               |
             9 | variable "x" { default = 1 }
               |          --- the first is here
            10 | variable "x" { default = 2 }
               |          ^^^

            error[missing-name]: a copy needs a source
              --> hornero.hcl:13:3
               |
            13 |   copy { to = "/x" }
               |   ^^^^
               |
               = hint: write `copy "public/" { … }`

            error[duplicate-name]: image `c` has two tests `t`
              --> hornero.hcl:15:8
               |
            14 |   test "t" { tcp = { port = 1 } }
               |        --- the first is here
            15 |   test "t" { tcp = { port = 2 } }
               |        ^^^

            there are 7 errors in `hornero.hcl`
        "#]],
    );
    check(
        "image \"a\" {\n  debian = \"bookworm\"\n  debian = \"trixie\"\n}\n",
        expect![[r#"
        error[duplicate-name]: key `debian` is set twice in one block
         --> hornero.hcl:3:3
          |
        3 |   debian = "trixie"
          |   ^^^^^^
          |
          = hint: keep one of the two

        there is 1 error in `hornero.hcl`
    "#]],
    );
    check(
        "image \"a\" {\n}\nservice \"a\" {\n}\nvolume \"v\" {\n}\n",
        expect![[r#"
        error[missing-key]: image `a` needs `debian` or `from`
         --> hornero.hcl:1:1
          |
        1 | image "a" {
          | ^^^^^^^^^
          |
          = hint: write `debian = "bookworm"`, or `from = image.NAME` for one on another image

        error[missing-key]: service `a` needs `image`
         --> hornero.hcl:3:1
          |
        3 | service "a" {
          | ^^^^^^^^^^^
          |
          = hint: write `image = image.NAME`

        error[missing-key]: volume `v` needs `size`
         --> hornero.hcl:5:1
          |
        5 | volume "v" {
          | ^^^^^^^^^^
          |
          = hint: write `size = "10GiB"`

        there are 3 errors in `hornero.hcl`
    "#]],
    );
}
