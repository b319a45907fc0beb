//! Provisions, build secrets, images of the store, trust and keep-rules.

use expect_test::expect;
use hornero_model::{Digest, ImageName, Keep, KeyName, PublicKey, ServiceName};
use hornero_spec::{
    AtPath, Base, ProvisionWork, SecretName, SecretSource, Spec, StoredImage, Variables, parse,
};

use crate::check::{Beside, check, good};

fn beside() -> Beside {
    Beside::usual()
        .with("setup.sh", AtPath::File)
        .with("ansible", AtPath::Directory)
        .with("ansible/site.yml", AtPath::File)
}

fn read(text: &str) -> Spec {
    parse("hornero.hcl", text.as_bytes(), &Variables::new(), &beside())
        .unwrap_or_else(|errors| panic!("this file must be read:\n{errors}"))
}

#[test]
fn provisions_are_read_in_the_order_they_are_written() {
    let spec = read(
        r#"
image "app" {
  debian  = "bookworm"
  network = true
  provision "shell" { inline = ["echo one", "echo two"] }
  provision "ansible" {
    playbook   = "ansible/site.yml"
    groups     = ["web", "web", "eu"]
    extra_vars = { port = 8080, ratio = 0.5, names = ["a", null], deep = { on = true } }
    network    = false
    secrets    = ["npm_token", "cert", "npm_token"]
  }
  provision "shell" {
    script = "./setup.sh"
    env    = { LEVEL = 3 }
  }
  secret "npm_token" { env = "NPM_TOKEN" }
  secret "cert" { file = "../cert.pem" }
}
"#,
    );
    let app = &spec.images[&ImageName::new("app").unwrap()];
    let [first, second, third] = app.provisions.as_slice() else { panic!("{:?}", app.provisions) };
    let two = vec!["echo one".to_owned(), "echo two".to_owned()];
    assert_eq!((&first.work, first.network), (&ProvisionWork::Inline(two), true));
    let ProvisionWork::Ansible(ansible) = &second.work else { panic!("{second:?}") };
    assert_eq!((ansible.playbook.as_str(), second.network), ("ansible/site.yml", false));
    assert_eq!(ansible.groups, ["web", "eu"]);
    assert_eq!(
        serde_json::to_string(&ansible.extra_vars).unwrap(),
        r#"{"deep":{"on":true},"names":["a",null],"port":8080,"ratio":0.5}"#
    );
    let name = |text: &str| SecretName::new(text).unwrap();
    assert_eq!(second.secrets, [name("cert"), name("npm_token")]);
    assert_eq!(third.work, ProvisionWork::Script("setup.sh".to_owned()));
    assert_eq!(third.env["LEVEL"], "3");
    assert_eq!(app.secrets[&name("npm_token")], SecretSource::Environment("NPM_TOKEN".to_owned()));
    assert_eq!(app.secrets[&name("cert")], SecretSource::File("../cert.pem".to_owned()));
}

#[test]
fn provisions_that_cannot_be() {
    check(
        r#"
image "app" {
  debian = "bookworm"
  provision "shel" { inline = ["x"] }
  provision "shell" { network = true }
  provision "shell" {
    inline = ["x"]
    script = "nginx.conf"
  }
  provision "shell" { inline = ["x", " "] }
  provision "shell" { script = "public" }
  provision "shell" { script = "none.sh" }
  provision "ansible" { playbok = "site.yml" }
  provision "ansible" {
    playbook   = "nginx.conf"
    groups     = ["a b", "all"]
    extra_vars = { ansible_connection = "local", "a-b" = 1, image = image.app }
    secrets    = ["npm_tokn"]
  }
  provision { inline = ["x"] }
  secret "npm_token" { env = "$NPM_TOKEN" }
  secret "npm_token" { env = "NPM_TOKEN" }
  secret "1" { env = "A" }
  secret "none" {}
  secret "both" {
    env  = "A"
    file = "a"
  }
}
"#,
        expect![[r#"
            error[unknown-block]: there is no provision `shel`
             --> hornero.hcl:4:13
              |
            4 |   provision "shel" { inline = ["x"] }
              |             ^^^^^^
              |
              = hint: did you mean `shell`?

            error[missing-key]: provision `shell` needs `inline` or `script`
             --> hornero.hcl:5:3
              |
            5 |   provision "shell" { network = true }
              |   ^^^^^^^^^^^^^^^^^
              |
              = hint: write `inline = ["command"]`, or `script = "setup.sh"` for a file of the directory

            error[conflict]: provision `shell` has both `inline` and `script`
             --> hornero.hcl:6:3
              |
            6 |   provision "shell" {
              |   ^^^^^^^^^^^^^^^^^
              |
              = hint: write two provisions: they run in the order they are written

            error[invalid-value]: a command in `inline` of provision `shell` is empty
              --> hornero.hcl:10:38
               |
            10 |   provision "shell" { inline = ["x", " "] }
               |                                      ^^^

            error[invalid-value]: the script of a provision is a directory: `public`
              --> hornero.hcl:11:32
               |
            11 |   provision "shell" { script = "public" }
               |                                ^^^^^^^^
               |
               = hint: name a file in it

            error[source-missing]: the script of a provision does not exist: there is nothing at `none.sh`
              --> hornero.hcl:12:32
               |
            12 |   provision "shell" { script = "none.sh" }
               |                                ^^^^^^^^^
               |
               = hint: the path is relative to the directory of `hornero.hcl`

            error[missing-key]: provision `ansible` needs `playbook`
              --> hornero.hcl:13:3
               |
            13 |   provision "ansible" { playbok = "site.yml" }
               |   ^^^^^^^^^^^^^^^^^^^
               |
               = hint: write `playbook = "ansible/site.yml"`

            error[unknown-key]: provision `ansible` has no key `playbok`
              --> hornero.hcl:13:25
               |
            13 |   provision "ansible" { playbok = "site.yml" }
               |                         ^^^^^^^
               |
               = hint: did you mean `playbook`?

            error[invalid-value]: `a b` is not a group of an inventory
              --> hornero.hcl:16:19
               |
            16 |     groups     = ["a b", "all"]
               |                   ^^^^^
               |
               = hint: letters, digits and `_` make the name of a group; `all` has every host already

            error[invalid-value]: `all` is not a group of an inventory
              --> hornero.hcl:16:26
               |
            16 |     groups     = ["a b", "all"]
               |                          ^^^^^
               |
               = hint: letters, digits and `_` make the name of a group; `all` has every host already

            error[invalid-name]: `ansible_connection` is not the name of a variable of a playbook
              --> hornero.hcl:17:20
               |
            17 |     extra_vars = { ansible_connection = "local", "a-b" = 1, image = image.app }
               |                    ^^^^^^^^^^^^^^^^^^
               |
               = hint: names with `ansible_` are Ansible's own: set such a variable in the playbook

            error[invalid-name]: `a-b` is not the name of a variable of a playbook
              --> hornero.hcl:17:50
               |
            17 |     extra_vars = { ansible_connection = "local", "a-b" = 1, image = image.app }
               |                                                  ^^^^^
               |
               = hint: use letters, digits and `_`, not beginning with a digit

            error[wrong-type]: a value in `extra_vars` of provision `ansible` must be plain data, not a reference
              --> hornero.hcl:17:69
               |
            17 |     extra_vars = { ansible_connection = "local", "a-b" = 1, image = image.app }
               |                                                                     ^^^^^^^^^ this is a reference

            error[unknown-reference]: the image has no secret `npm_tokn`
              --> hornero.hcl:18:19
               |
            18 |     secrets    = ["npm_tokn"]
               |                   ^^^^^^^^^^
               |
               = hint: did you mean `npm_token`?

            error[missing-name]: a provision needs a kind
              --> hornero.hcl:20:3
               |
            20 |   provision { inline = ["x"] }
               |   ^^^^^^^^^
               |
               = hint: write `provision "shell" { … }`

            error[invalid-value]: `$NPM_TOKEN` is not the name of an environment variable
              --> hornero.hcl:21:30
               |
            21 |   secret "npm_token" { env = "$NPM_TOKEN" }
               |                              ^^^^^^^^^^^^
               |
               = hint: write the name of the variable alone, without `$`; a value has no place in this file

            error[duplicate-name]: image `app` has two secrets `npm_token`
              --> hornero.hcl:22:10
               |
            21 |   secret "npm_token" { env = "$NPM_TOKEN" }
               |          ----------- the first is here
            22 |   secret "npm_token" { env = "NPM_TOKEN" }
               |          ^^^^^^^^^^^

            error[invalid-name]: `1` is not a valid secret name
              --> hornero.hcl:23:10
               |
            23 |   secret "1" { env = "A" }
               |          ^^^
               |
               = hint: use 1 to 64 letters, digits, `_` and `-`, beginning with a letter or `_`

            error[missing-key]: secret `none` needs `env` or `file`
              --> hornero.hcl:24:3
               |
            24 |   secret "none" {}
               |   ^^^^^^^^^^^^^
               |
               = hint: write `env = "NPM_TOKEN"`

            error[conflict]: secret `both` has both `env` and `file`
              --> hornero.hcl:25:3
               |
            25 |   secret "both" {
               |   ^^^^^^^^^^^^^
               |
               = hint: its value comes from one place

            there are 20 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn an_image_of_the_store() {
    let digest = Digest::of(b"legacy");
    let spec = good(&format!(
        r#"
image "one" {{ from = "legacy" }}
image "two" {{
  from = "{digest}"
  env  = {{ A = 1 }}
}}
image "three" {{
  from = image.two
  user = "www"
}}
service "three" {{ image = image.three }}
"#
    ));
    let image = |name: &str| &spec.images[&ImageName::new(name).unwrap()];
    let legacy = StoredImage::Name(ImageName::new("legacy").unwrap());
    assert_eq!(image("one").base, Base::Stored(legacy));
    assert_eq!(image("two").base, Base::Stored(StoredImage::Digest(digest)));
    assert_eq!(image("three").config.env["A"], "1");
    let order: Vec<_> = spec.order().images.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["one", "two", "three"]);
}

#[test]
fn images_of_the_store_that_cannot_be() {
    check(
        r#"
image "base" { debian = "bookworm" }
image "a" { from = "base" }
image "b" {
  from   = "legacy"
  debian = "bookworm"
}
image "c" { from = "not a name" }
image "d" { from = "sha256:12" }
image "e" {
  from     = "legacy"
  packages = ["nginx"]
}
image "f" { from = "legacy" }
image "g" {
  from     = image.f
  packages = ["nginx"]
}
image "h" { from = 5 }
"#,
        expect![[r#"
            error[wrong-type]: `from` of image `a` names an image of the store, but `base` is one of this file
             --> hornero.hcl:3:20
              |
            2 | image "base" { debian = "bookworm" }
              |       ------ declared here
            3 | image "a" { from = "base" }
              |                    ^^^^^^
              |
              = hint: write it without quotes: `image.base`

            error[conflict]: image `b` has both `debian` and `from`
             --> hornero.hcl:5:12
              |
            5 |   from   = "legacy"
              |            ^^^^^^^^
            6 |   debian = "bookworm"
              |            ---------- the other is here
              |
              = hint: an image is made on a Debian suite or on another image

            error[invalid-value]: `not a name` is not the name or digest of an image
             --> hornero.hcl:8:20
              |
            8 | image "c" { from = "not a name" }
              |                    ^^^^^^^^^^^^
              |
              = hint: write `image.NAME` for one of this file, and for one of the store the name it was imported under or its whole digest in quotes

            error[invalid-value]: `sha256:12` is not the name or digest of an image
             --> hornero.hcl:9:20
              |
            9 | image "d" { from = "sha256:12" }
              |                    ^^^^^^^^^^^
              |
              = hint: write `image.NAME` for one of this file, and for one of the store the name it was imported under or its whole digest in quotes

            error[conflict]: image `e` can't have `packages`: it is made on `legacy`, an image of the store without an archive
              --> hornero.hcl:12:14
               |
            12 |   packages = ["nginx"]
               |              ^^^^^^^^^
               |
               = hint: make it on a Debian suite, or install them by `provision "shell"` with the image's own tools

            error[conflict]: image `g` can't have `packages`: it is made on `legacy`, an image of the store without an archive
              --> hornero.hcl:17:14
               |
            17 |   packages = ["nginx"]
               |              ^^^^^^^^^
               |
               = hint: make it on a Debian suite, or install them by `provision "shell"` with the image's own tools

            error[wrong-type]: `from` of image `h` must be a reference such as `image.NAME`, not a number
              --> hornero.hcl:19:20
               |
            19 | image "h" { from = 5 }
               |                    ^ this is a number
               |
               = hint: write `image.NAME`

            there are 7 errors in `hornero.hcl`
        "#]],
    );
}

#[test]
fn trust_and_keep_reach_every_service() {
    let spec = good(
        r#"
trust "ci" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
trust "backup" { public_key = "ed25519:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=" }
image "app" {
  debian  = "bookworm"
  command = ["/app"]
}
service "app" {
  image         = image.app
  keep_releases = 3
  keep_days     = 30
}
service "other" { image = image.app }
"#,
    );
    assert_eq!(spec.trust[&KeyName::new("ci").unwrap()], PublicKey::from_bytes([1; 32]));
    let service = |name: &str| {
        let service = spec.services[&ServiceName::new(name).unwrap()].clone();
        service.into_service_spec(Digest::of(b"image"))
    };
    let (app, other) = (service("app"), service("other"));
    assert_eq!(app.keep, Keep { releases: 3, days: 30 });
    assert_eq!(other.keep, Keep::default());
    let names: Vec<&str> = app.trust.iter().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["backup", "ci"]);
    assert_eq!(app.trust, other.trust);
}

#[test]
fn trust_and_keep_that_cannot_be() {
    check(
        r#"
trust "ci" { public_key = "ed25519:short" }
trust "CI" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
trust "a" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
trust "a" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
trust "b" { key = "x" }
trust "c" { public_key = "-----BEGIN PRIVATE KEY-----" }
image "app" {
  debian  = "bookworm"
  command = ["/app"]
}
service "app" {
  image         = image.app
  keep_releases = 0
  keep_days     = "30d"
}
"#,
        expect![[r#"
            error[invalid-value]: `ed25519:short` is not a public key
             --> hornero.hcl:2:27
              |
            2 | trust "ci" { public_key = "ed25519:short" }
              |                           ^^^^^^^^^^^^^^^
              |
              = hint: write `public_key = "ed25519:BASE64"`, the public half of the key to trust

            error[invalid-name]: `CI` is not a valid key name
             --> hornero.hcl:3:7
              |
            3 | trust "CI" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
              |       ^^^^
              |
              = hint: use 1 to 40 lower-case letters, digits and `-`, beginning with a letter and not ending in `-`

            error[duplicate-name]: there are two trusts `a`
             --> hornero.hcl:5:7
              |
            4 | trust "a" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
              |       --- the first is here
            5 | trust "a" { public_key = "ed25519:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=" }
              |       ^^^

            error[missing-key]: trust `b` needs `public_key`
             --> hornero.hcl:6:1
              |
            6 | trust "b" { key = "x" }
              | ^^^^^^^^^
              |
              = hint: write `public_key = "ed25519:BASE64"`, the public half of the key to trust

            error[unknown-key]: trust `b` has no key `key`
             --> hornero.hcl:6:13
              |
            6 | trust "b" { key = "x" }
              |             ^^^
              |
              = hint: it has `public_key`

            error[invalid-value]: `public_key` of trust `c` is a private key
             --> hornero.hcl:7:26
              |
            7 | trust "c" { public_key = "-----BEGIN PRIVATE KEY-----" }
              |                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = hint: take it out of this file, make a new one, and write its public half here

            error[out-of-range]: `keep_releases` of service `app` must be from 1 to 10000, not 0
              --> hornero.hcl:14:19
               |
            14 |   keep_releases = 0
               |                   ^
               |
               = hint: the release that serves is always kept, so one is the least

            error[wrong-type]: `keep_days` of service `app` must be a whole number, not a string
              --> hornero.hcl:15:19
               |
            15 |   keep_days     = "30d"
               |                   ^^^^^ this is a string

            there are 8 errors in `hornero.hcl`
        "#]],
    );
}
