//! Files that refer to nothing, or in a circle.

use expect_test::expect;

use crate::check::check;

#[test]
fn an_image_that_is_its_own_ancestor() {
    check(
        r#"
image "c" { from = image.a }
image "b" { from = image.c }
image "a" { from = image.b }
image "self" { from = image.self }
image "leaf" { from = image.a }
"#,
        expect![[r#"
            error[cycle]: image `a` is its own ancestor: `image.a` → `image.b` → `image.c` → `image.a`
             --> hornero.hcl:4:20
              |
            4 | image "a" { from = image.b }
              |                    ^^^^^^^
              |
              = hint: one of them must be made on a Debian suite

            error[cycle]: image `self` is made from itself
             --> hornero.hcl:5:23
              |
            5 | image "self" { from = image.self }
              |                       ^^^^^^^^^^
              |
              = hint: one of them must be made on a Debian suite

            there are 2 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn services_that_wait_for_each_other() {
    check(
        r#"
image "a" {
  debian  = "bookworm"
  command = ["/a"]
}
service "x" {
  image      = image.a
  depends_on = [service.y]
}
service "y" {
  image      = image.a
  depends_on = [service.x]
}
service "z" {
  image      = image.a
  depends_on = [service.z]
}
"#,
        expect![[r#"
            error[cycle]: service `x` depends on itself: `service.x` → `service.y` → `service.x`
             --> hornero.hcl:6:1
              |
            6 | service "x" {
              | ^^^^^^^^^^^
              |
              = hint: services that call each other need no `depends_on`: it only orders their start

            error[cycle]: service `z` depends on itself
              --> hornero.hcl:16:17
               |
            16 |   depends_on = [service.z]
               |                 ^^^^^^^^^

            there are 2 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn references_to_nothing() {
    check(
        r#"
image "base" { debian = "bookworm" }
image "site" {
  from    = image.bse
  command = ["/x", var.missing, uper("x"), "${nothing}"]
}
service "site" {
  image      = image.sites
  kind       = stateless
  depends_on = [service.orders]
  port "http" { container = 80 }
  health { http = { port = "htpp" } }
  route {
    listen = 80
    port   = "web"
  }
}
service "other" { image = service.site }
service "whole" { image = image }
"#,
        expect![[r#"
            error[unknown-reference]: there is no image `bse`
             --> hornero.hcl:4:13
              |
            4 |   from    = image.bse
              |             ^^^^^^^^^
              |
              = hint: did you mean `image.base`?

            error[unknown-reference]: there is no variable `missing`
             --> hornero.hcl:5:20
              |
            5 |   command = ["/x", var.missing, uper("x"), "${nothing}"]
              |                    ^^^^^^^^^^^
              |
              = hint: the file declares no variable

            error[unknown-reference]: there is no function `uper`
             --> hornero.hcl:5:33
              |
            5 |   command = ["/x", var.missing, uper("x"), "${nothing}"]
              |                                 ^^^^
              |
              = hint: did you mean `upper`?

            error[unknown-reference]: nothing is called `nothing`
             --> hornero.hcl:5:47
              |
            5 |   command = ["/x", var.missing, uper("x"), "${nothing}"]
              |                                               ^^^^^^^
              |
              = hint: for a string, quote it: `"nothing"`

            error[unknown-reference]: there is no image `sites`
             --> hornero.hcl:8:16
              |
            8 |   image      = image.sites
              |                ^^^^^^^^^^^
              |
              = hint: did you mean `image.site`?

            error[unknown-reference]: nothing is called `stateless`
             --> hornero.hcl:9:16
              |
            9 |   kind       = stateless
              |                ^^^^^^^^^
              |
              = hint: for a string, quote it: `"stateless"`

            error[unknown-reference]: there is no service `orders`
              --> hornero.hcl:10:17
               |
            10 |   depends_on = [service.orders]
               |                 ^^^^^^^^^^^^^^
               |
               = hint: declared are `service.other`, `service.site`, `service.whole`

            error[unknown-reference]: the service has no port `htpp`
              --> hornero.hcl:12:28
               |
            12 |   health { http = { port = "htpp" } }
               |                            ^^^^^^
               |
               = hint: did you mean `http`?

            error[unknown-reference]: the service has no port `web`
              --> hornero.hcl:15:14
               |
            15 |     port   = "web"
               |              ^^^^^
               |
               = hint: declare it: `port "web" { container = 8080 }`

            error[wrong-type]: `image` of service `other` must refer to an image, not to `service.site`
              --> hornero.hcl:18:27
               |
            18 | service "other" { image = service.site }
               |                           ^^^^^^^^^^^^

            error[unknown-reference]: `image` alone means nothing
              --> hornero.hcl:19:27
               |
            19 | service "whole" { image = image }
               |                           ^^^^^
               |
               = hint: add the name of the one you mean: `image.NAME`

            there are 11 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn expressions_that_can_not_be_evaluated() {
    check(
        r#"
variable "list" { default = ["a"] }
variable "odd" { type = strin }
variable "bad" {
  type    = number
  default = "x"
}
image "a" {
  debian = "bookworm"
  run = [
    "${1 / 0}",
    "${9007199254740992 * 2}",
    "x" + 1,
    var.list[1],
    var.list.name,
    { a = 1 }.b,
    "${var.list}",
    "${image.a}",
    upper(),
    join(",", "x"),
    format("%d", 1.5),
    format("%s"),
    image.a.packages,
    1 ? "a" : "b",
    [for x in 3 : x],
    { a = 1, "a" = 2 },
  ]
}
"#,
        expect![[r#"
            error[variable]: variable `odd` has no value
             --> hornero.hcl:3:1
              |
            3 | variable "odd" { type = strin }
              | ^^^^^^^^^^^^^^
              |
              = hint: give it one by `--var odd=…` or `HORNERO_VAR_odd`, or set a `default`

            error[invalid-value]: this is not a type of variable
             --> hornero.hcl:3:25
              |
            3 | variable "odd" { type = strin }
              |                         ^^^^^
              |
              = hint: a type is `string`, `number`, `bool`, `any`, `list(…)` or `map(…)`

            error[wrong-type]: the default of variable `bad` must be of type `number`, not a string
             --> hornero.hcl:6:13
              |
            6 |   default = "x"
              |             ^^^

            error[expression]: this divides by zero
              --> hornero.hcl:11:8
               |
            11 |     "${1 / 0}",
               |        ^^^^^

            error[out-of-range]: this number is too large: at most 9007199254740992 is exact
              --> hornero.hcl:12:8
               |
            12 |     "${9007199254740992 * 2}",
               |        ^^^^^^^^^^^^^^^^^^^^

            error[expression]: `+` does not apply to a string and a number
              --> hornero.hcl:13:5
               |
            13 |     "x" + 1,
               |     ^^^^^^^

            error[expression]: this list of 1 has no element 1
              --> hornero.hcl:14:14
               |
            14 |     var.list[1],
               |              ^

            error[expression]: a list has no key `name`
              --> hornero.hcl:15:14
               |
            15 |     var.list.name,
               |              ^^^^

            error[expression]: this object has no key `b`
              --> hornero.hcl:16:15
               |
            16 |     { a = 1 }.b,
               |               ^
               |
               = hint: did you mean `a`?

            error[wrong-type]: an element of `run` of image `a` must be a string, not a list
              --> hornero.hcl:17:5
               |
            17 |     "${var.list}",
               |     ^^^^^^^^^^^^^ this is a list

            error[wrong-type]: an element of `run` of image `a` must be a string, not a reference
              --> hornero.hcl:18:5
               |
            18 |     "${image.a}",
               |     ^^^^^^^^^^^^ this is a reference

            error[expression]: `upper` takes 1 argument, not 0
              --> hornero.hcl:19:5
               |
            19 |     upper(),
               |     ^^^^^

            error[expression]: `join`: this must be a list, not a string
              --> hornero.hcl:20:15
               |
            20 |     join(",", "x"),
               |               ^^^

            error[expression]: `format`: `1.5` is not a whole number
              --> hornero.hcl:21:18
               |
            21 |     format("%d", 1.5),
               |                  ^^^

            error[expression]: `format`: `%s` has no value: there are only 0
              --> hornero.hcl:22:12
               |
            22 |     format("%s"),
               |            ^^^^

            error[expression]: `image.a` can only be referred to: it has no attributes to read
              --> hornero.hcl:23:13
               |
            23 |     image.a.packages,
               |             ^^^^^^^^

            error[expression]: a condition must be a bool, not a number
              --> hornero.hcl:24:5
               |
            24 |     1 ? "a" : "b",
               |     ^

            error[expression]: `for` goes through a list or an object, not a number
              --> hornero.hcl:25:15
               |
            25 |     [for x in 3 : x],
               |               ^

            error[wrong-type]: an element of `run` of image `a` must be a string, not an object
              --> hornero.hcl:26:5
               |
            26 |     { a = 1, "a" = 2 },
               |     ^^^^^^^^^^^^^^^^^^ this is an object

            error[duplicate-name]: key `a` is set twice
              --> hornero.hcl:26:14
               |
            26 |     { a = 1, "a" = 2 },
               |       -      ^^^
               |       |
               |       first set here

            there are 20 errors in `hornero.hcl`
        "#]],
    );
}
