//! Files whose paths lead nowhere, or out.

use expect_test::expect;

use crate::check::check;

#[test]
fn copy_sources() {
    check(
        r#"
image "a" {
  debian = "bookworm"
  copy "pubic/"              { to = "/srv/" }
  copy "nginx.conf/x"        { to = "/srv/" }
  copy "nginx.conf/"         { to = "/srv/" }
  copy "../secret"           { to = "/srv/" }
  copy "public/../../secret" { to = "/srv/" }
  copy "/etc/passwd"         { to = "/srv/" }
  copy "outside"             { to = "/srv/" }
  copy "above"               { to = "/srv/" }
  copy "loop"                { to = "/srv/" }
  copy "pipe"                { to = "/srv/" }
  copy "locked"              { to = "/srv/" }
  copy ""                    { to = "/srv/" }
  copy "public/"             { to = "srv/" }
  copy "public/"             { to = "/srv/../../etc" }
  copy "nginx.conf"          { to = "/proc/x" }
  copy "nginx.conf"          { to = "/" }
  copy "nginx.conf"          { }
  copy "nginx.conf" {
    to    = "/etc/x"
    mode  = "rw"
    owner = "a b"
  }
}
"#,
        expect![[r#"
            error[source-missing]: the source of a copy does not exist: there is nothing at `pubic`
             --> hornero.hcl:4:8
              |
            4 |   copy "pubic/"              { to = "/srv/" }
              |        ^^^^^^^^
              |
              = hint: the path is relative to the directory of `hornero.hcl`

            error[source-missing]: the source of a copy does not exist: there is a file, not a directory, at `nginx.conf`
             --> hornero.hcl:5:8
              |
            5 |   copy "nginx.conf/x"        { to = "/srv/" }
              |        ^^^^^^^^^^^^^^
              |
              = hint: the path is relative to the directory of `hornero.hcl`

            error[invalid-value]: the source of a copy ends in `/`, but `nginx.conf/` is a file
             --> hornero.hcl:6:8
              |
            6 |   copy "nginx.conf/"         { to = "/srv/" }
              |        ^^^^^^^^^^^^^
              |
              = hint: leave out the last `/`

            error[path-escapes]: the source of a copy must not contain `..`: `../secret`
             --> hornero.hcl:7:8
              |
            7 |   copy "../secret"           { to = "/srv/" }
              |        ^^^^^^^^^^^
              |
              = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[path-escapes]: the source of a copy must not contain `..`: `public/../../secret`
             --> hornero.hcl:8:8
              |
            8 |   copy "public/../../secret" { to = "/srv/" }
              |        ^^^^^^^^^^^^^^^^^^^^^
              |
              = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[path-escapes]: the source of a copy must not be absolute: `/etc/passwd`
             --> hornero.hcl:9:8
              |
            9 |   copy "/etc/passwd"         { to = "/srv/" }
              |        ^^^^^^^^^^^^^
              |
              = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[path-escapes]: the source of a copy leaves the directory: `outside` is a symlink to `/etc/passwd`
              --> hornero.hcl:10:8
               |
            10 |   copy "outside"             { to = "/srv/" }
               |        ^^^^^^^^^
               |
               = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[path-escapes]: the source of a copy leaves the directory through a symlink
              --> hornero.hcl:11:8
               |
            11 |   copy "above"               { to = "/srv/" }
               |        ^^^^^^^
               |
               = hint: a source is relative to the directory of `hornero.hcl` and stays in it

            error[invalid-value]: the source of a copy leads through too many symlinks
              --> hornero.hcl:12:8
               |
            12 |   copy "loop"                { to = "/srv/" }
               |        ^^^^^^
               |
               = hint: look for symlinks that point at each other

            error[invalid-value]: the source of a copy is neither a file nor a directory: `pipe`
              --> hornero.hcl:13:8
               |
            13 |   copy "pipe"                { to = "/srv/" }
               |        ^^^^^^
               |
               = hint: sockets, pipes and devices can't be copied

            error[source-missing]: the source of a copy can't be read at `locked`: permission denied
              --> hornero.hcl:14:8
               |
            14 |   copy "locked"              { to = "/srv/" }
               |        ^^^^^^^^

            error[invalid-value]: the source of a copy is empty
              --> hornero.hcl:15:8
               |
            15 |   copy ""                    { to = "/srv/" }
               |        ^^
               |
               = hint: `.` is the directory of `hornero.hcl` itself

            error[invalid-value]: `to` of a copy must be an absolute path, not `srv/`
              --> hornero.hcl:16:37
               |
            16 |   copy "public/"             { to = "srv/" }
               |                                     ^^^^^^
               |
               = hint: begin it with `/`: it is a path inside the image

            error[path-escapes]: `to` of a copy must not contain `..`: `/srv/../../etc`
              --> hornero.hcl:17:37
               |
            17 |   copy "public/"             { to = "/srv/../../etc" }
               |                                     ^^^^^^^^^^^^^^^^
               |
               = hint: write the path it comes to

            error[invalid-value]: `to` of a copy must not be in `/proc`, which the kernel fills
              --> hornero.hcl:18:37
               |
            18 |   copy "nginx.conf"          { to = "/proc/x" }
               |                                     ^^^^^^^^^

            error[missing-key]: copy `nginx.conf` needs `to`
              --> hornero.hcl:20:3
               |
            20 |   copy "nginx.conf"          { }
               |   ^^^^^^^^^^^^^^^^^
               |
               = hint: write where it goes: `to = "/srv/site/"`

            error[invalid-value]: `rw` is not a file mode
              --> hornero.hcl:23:13
               |
            23 |     mode  = "rw"
               |             ^^^^
               |
               = hint: write three or four octal digits, such as `0644` or `0755`

            error[invalid-value]: `a b` is not a user
              --> hornero.hcl:24:13
               |
            24 |     owner = "a b"
               |             ^^^^^
               |
               = hint: write a name or a number in quotes, such as `www-data` or `1000`

            there are 18 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn paths_and_names_inside_an_image() {
    check(
        r#"
image "a" {
  debian   = "Book worm"
  mirror   = "ftp://deb"
  keyring  = "../key.gpg"
  packages = ["Nginx", "nginx=1.2", "x"]
  run      = [" "]
  user     = "www:data"
  command  = []
  workdir  = "srv"
  env      = { "A-B" = "x", C = image.a, D = "a\u0000b" }
  scratch  = ["/", "/run", "/run/", "/dev/shm", "../x"]
}
image "b" {
  debian  = "bookworm"
  from    = image.a
  keyring = "/x"
}
"#,
        expect![[r#"
            error[invalid-value]: `Book worm` is not a Debian suite
             --> hornero.hcl:3:14
              |
            3 |   debian   = "Book worm"
              |              ^^^^^^^^^^^
              |
              = hint: write its name, such as `bookworm`

            error[invalid-value]: `ftp://deb` is not the address of a mirror
             --> hornero.hcl:4:14
              |
            4 |   mirror   = "ftp://deb"
              |              ^^^^^^^^^^^
              |
              = hint: write `http://HOST/PATH`, `https://HOST/PATH` or `file:///PATH`

            error[path-escapes]: `keyring` must not contain `..`: `../key.gpg`
             --> hornero.hcl:5:14
              |
            5 |   keyring  = "../key.gpg"
              |              ^^^^^^^^^^^^
              |
              = hint: write an absolute path, or one relative to the directory of `hornero.hcl`

            error[invalid-value]: `Nginx` is not the name of a Debian package
             --> hornero.hcl:6:15
              |
            6 |   packages = ["Nginx", "nginx=1.2", "x"]
              |               ^^^^^^^
              |
              = hint: lower-case letters, digits, `+`, `-` and `.` make the name of a package

            error[invalid-value]: `nginx=1.2` is not the name of a Debian package
             --> hornero.hcl:6:24
              |
            6 |   packages = ["Nginx", "nginx=1.2", "x"]
              |                        ^^^^^^^^^^^
              |
              = hint: versions are pinned by `hornero.lock`: write the name alone

            error[invalid-value]: `x` is not the name of a Debian package
             --> hornero.hcl:6:37
              |
            6 |   packages = ["Nginx", "nginx=1.2", "x"]
              |                                     ^^^
              |
              = hint: lower-case letters, digits, `+`, `-` and `.` make the name of a package

            error[invalid-value]: a step in `run` of image `a` is empty
             --> hornero.hcl:7:15
              |
            7 |   run      = [" "]
              |               ^^^

            error[invalid-value]: `www:data` is not a user
             --> hornero.hcl:8:14
              |
            8 |   user     = "www:data"
              |              ^^^^^^^^^^
              |
              = hint: write the user alone: the groups are those of the image's `/etc/group`

            error[invalid-value]: `command` of image `a` is empty
             --> hornero.hcl:9:14
              |
            9 |   command  = []
              |              ^^
              |
              = hint: its first element is the program

            error[invalid-value]: `workdir` must be an absolute path, not `srv`
              --> hornero.hcl:10:14
               |
            10 |   workdir  = "srv"
               |              ^^^^^
               |
               = hint: begin it with `/`: it is a path inside the image

            error[invalid-name]: `A-B` is not the name of an environment variable
              --> hornero.hcl:11:16
               |
            11 |   env      = { "A-B" = "x", C = image.a, D = "a\u0000b" }
               |                ^^^^^
               |
               = hint: use letters, digits and `_`, not beginning with a digit

            error[wrong-type]: `env.C` must be a string, not a reference
              --> hornero.hcl:11:33
               |
            11 |   env      = { "A-B" = "x", C = image.a, D = "a\u0000b" }
               |                                 ^^^^^^^ this is a reference

            error[invalid-value]: `env.D` holds a zero byte, which no path or argument can
              --> hornero.hcl:11:46
               |
            11 |   env      = { "A-B" = "x", C = image.a, D = "a\u0000b" }
               |                                              ^^^^^^^^^^

            error[invalid-value]: the root can't be a scratch directory: it is read-only
              --> hornero.hcl:12:15
               |
            12 |   scratch  = ["/", "/run", "/run/", "/dev/shm", "../x"]
               |               ^^^
               |
               = hint: name the directories that the command writes to

            error[duplicate-name]: scratch directory `/run` is named twice
              --> hornero.hcl:12:28
               |
            12 |   scratch  = ["/", "/run", "/run/", "/dev/shm", "../x"]
               |                    ------  ^^^^^^^
               |                    |
               |                    first named here

            error[invalid-value]: a scratch directory must not be in `/dev`, which the kernel fills
              --> hornero.hcl:12:37
               |
            12 |   scratch  = ["/", "/run", "/run/", "/dev/shm", "../x"]
               |                                     ^^^^^^^^^^

            error[invalid-value]: a scratch directory must be an absolute path, not `../x`
              --> hornero.hcl:12:49
               |
            12 |   scratch  = ["/", "/run", "/run/", "/dev/shm", "../x"]
               |                                                 ^^^^^^
               |
               = hint: begin it with `/`: it is a path inside the image

            error[conflict]: image `b` has both `debian` and `from`
              --> hornero.hcl:16:13
               |
            15 |   debian  = "bookworm"
               |             ---------- the other is here
            16 |   from    = image.a
               |             ^^^^^^^
               |
               = hint: an image is made on a Debian suite or on another image

            error[conflict]: `keyring` goes with `debian`, not with `from`
              --> hornero.hcl:17:13
               |
            17 |   keyring = "/x"
               |             ^^^^
               |
               = hint: set it in the image that this one is made from

            there are 19 errors in `hornero.hcl`
        "#]],
    );
}
