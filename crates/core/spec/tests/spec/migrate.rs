//! Schema steps, as they are written.

use expect_test::expect;
use hornero_model::{Migrate, Millis, PointOfNoReturn};

use crate::check::{check, good};

fn file(service: &str) -> String {
    format!(
        "image \"a\" {{\n  debian = \"bookworm\"\n  command = [\"/a\"]\n}}\n\
         volume \"v\" {{ size = \"1GiB\" }}\n\
         service \"a\" {{\n  image = image.a\n{service}}}\n"
    )
}

fn migrate(service: &str) -> Option<Migrate> {
    good(&file(service)).services.into_values().next().unwrap().migrate
}

const DATA: &str = "  kind = \"stateful\"\n  mount \"/d\" { volume = volume.v }\n";

#[test]
fn before_and_after() {
    assert_eq!(migrate(""), None);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let given = r#"
  migrate {
    expand   = [["/srv/migrate", "expand"], ["/srv/check"]]
    contract = [["/srv/migrate", "contract"]]
  }
"#;
    let plain = Migrate {
        expand: vec![words(&["/srv/migrate", "expand"]), words(&["/srv/check"])],
        contract: vec![words(&["/srv/migrate", "contract"])],
        timeout: Millis(600_000),
        point_of_no_return: PointOfNoReturn::Contract,
        first_release: true,
    };
    assert_eq!(migrate(given).as_ref(), Some(&plain));
    let with_data = Migrate { first_release: false, ..plain };
    assert_eq!(migrate(&format!("{DATA}{given}")), Some(with_data));
    let all = "  migrate {\n    expand = [[\"/m\"]]\n    timeout = \"1h\"\n    point_of_no_return = \"switch\"\n    \
               first_release = \"run\"\n  }\n";
    let all = migrate(&format!("{DATA}{all}")).unwrap();
    assert_eq!((all.timeout, all.first_release), (Millis(3_600_000), true));
    assert_eq!(all.point_of_no_return, PointOfNoReturn::Switch);
}

#[test]
fn mistakes() {
    check(
        &file(
            "  migrate {\n    expand = [\"/m\", []]\n    timeout = \"2d\"\n    point_of_no_return = \"never\"\n  }\n",
        ),
        expect![[r#"
            error[wrong-type]: an element of `expand` of `migrate` of service `a` must be a command such as `["/srv/migrate", "expand"]`, not a string
             --> hornero.hcl:9:15
              |
            9 |     expand = ["/m", []]
              |               ^^^^ this is a string

            error[invalid-value]: an element of `expand` of `migrate` of service `a` is empty
             --> hornero.hcl:9:21
              |
            9 |     expand = ["/m", []]
              |                     ^^
              |
              = hint: its first element is the program

            error[out-of-range]: `timeout` of `migrate` of service `a` must be at most 1day
              --> hornero.hcl:10:15
               |
            10 |     timeout = "2d"
               |               ^^^^

            error[invalid-value]: `point_of_no_return` of `migrate` of service `a` can't be `never`
              --> hornero.hcl:11:26
               |
            11 |     point_of_no_return = "never"
               |                          ^^^^^^^
               |
               = hint: `point_of_no_return` is `contract` or `switch`

            there are 4 errors in `hornero.hcl`
        "#]],
    );
    check(
        &file("  migrate { timeout = \"1m\" }\n"),
        expect![[r#"
        error[conflict]: `migrate` of service `a` has no step
         --> hornero.hcl:8:3
          |
        8 |   migrate { timeout = "1m" }
          |   ^^^^^^^
          |
          = hint: write such as `expand = [["/srv/migrate", "expand"]]`

        there is 1 error in `hornero.hcl`
    "#]],
    );
}

#[test]
fn a_command_stands_once_in_a_list() {
    check(
        &file(
            "  migrate {\n    expand = [[\"/m\"], [\"/n\"], [\"/m\"]]\n    contract = [[\"/m\"]]\n  }\n",
        ),
        expect![[r#"
            error[conflict]: `expand` of `migrate` of service `a` has the same command twice
             --> hornero.hcl:9:31
              |
            9 |     expand = [["/m"], ["/n"], ["/m"]]
              |               ------          ^^^^^^ a step is run once
              |               |
              |               here it is already
              |
              = hint: take one out, or give it an argument that tells it from the other

            there is 1 error in `hornero.hcl`
        "#]],
    );
}

#[test]
fn what_shares_requests_has_its_point_of_no_return_later() {
    for strategy in ["canary", "rolling"] {
        let service = format!(
            "  port \"http\" {{ container = 80 }}\n  instances = 2\n  rollout {{ strategy = \"{strategy}\" }}\n  \
             migrate {{\n    expand = [[\"/m\"]]\n    point_of_no_return = \"switch\"\n  }}\n"
        );
        let said = crate::check::read(&file(&service)).unwrap_err().to_string();
        let expected = format!("can't be `switch` where `strategy` is `{strategy}`");
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("there is 1 error"), "{said}");
    }
}
