//! The file of a home's settings.

use expect_test::{Expect, expect};
use hornero_model::Budget;
use hornero_spec::{Settings, settings};

fn check(text: &str, expected: Expect) {
    let errors = settings("settings.hcl", text.as_bytes()).unwrap_err();
    expected.assert_eq(&errors.render(false).to_string());
}

#[test]
fn everything_that_can_be_set() {
    let text = "budget {\n  per_hour = 100\n}\nlogs {\n  per_service = \"128MiB\"\n  in_all = \"4GiB\"\n  days = 30\n}\n\
                bundles {\n  per_hour = 3\n  in_all = \"2GiB\"\n  days = 7\n}\nwitness = \"file:/mnt/heads\"\n";
    let expected = Settings {
        budget: Some(Budget { per_hour: 100, per_day: 500 }),
        log_service_bytes: Some(128 << 20),
        log_home_bytes: Some(4 << 30),
        log_days: Some(30),
        bundles_per_hour: Some(3),
        bundle_home_bytes: Some(2 << 30),
        bundle_days: Some(7),
        witness: Some("file:/mnt/heads".to_owned()),
    };
    assert_eq!(settings("settings.hcl", text.as_bytes()).unwrap(), expected);
    for nothing in ["", "\n", "# nothing yet\n"] {
        assert_eq!(settings("settings.hcl", nothing.as_bytes()).unwrap(), Settings::default());
    }
}

#[test]
fn every_mistake_is_told_with_its_place() {
    check(
        "budget {\n  per_hour = 0\n}\nlogs {\n  in_all = \"4KiB\"\n  day = 3\n}\nbuget {\n}\nwitness = 3\n",
        expect![[r#"
            error[out-of-range]: `per_hour` of `budget` of the home must be from 1 to 1000000, not 0
             --> settings.hcl:2:14
              |
            2 |   per_hour = 0
              |              ^
              |
              = hint: a service whose servers are never replaced needs no budget, and one is the least

            error[out-of-range]: `in_all` of `logs` of the home must be at least 64KiB, not `4KiB`
             --> settings.hcl:5:12
              |
            5 |   in_all = "4KiB"
              |            ^^^^^^

            error[unknown-key]: `logs` of the home has no key `day`
             --> settings.hcl:6:3
              |
            6 |   day = 3
              |   ^^^
              |
              = hint: did you mean `days`?

            error[unknown-block]: the home has no block `buget`
             --> settings.hcl:8:1
              |
            8 | buget {
              | ^^^^^
              |
              = hint: did you mean `budget`?

            error[wrong-type]: `witness` of the home must be a string, not a number
              --> settings.hcl:10:11
               |
            10 | witness = 3
               |           ^ this is a number

            there are 5 errors in `settings.hcl`
        "#]],
    );
    check(
        "budget {\n  per_hour = 10\n  per_day = 5\n}\nservice \"a\" {\n}\n",
        expect![[r#"
        error[conflict]: `budget` of the home allows 10 servers in an hour and 5 in a whole day
         --> settings.hcl:3:13
          |
        3 |   per_day = 5
          |             ^
          |
          = hint: `per_day` is at least `per_hour`

        error[unknown-block]: the home has no block `service`
         --> settings.hcl:5:1
          |
        5 | service "a" {
          | ^^^^^^^^^^^
          |
          = hint: it has `budget`, `logs`, `witness`

        there are 2 errors in `settings.hcl`
    "#]],
    );
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = settings("settings.hcl", &bytes);
    }

    #[test]
    fn any_text_of_its_words_is_read_or_refused(text in "(budget|logs|days|=|\\{|\\}|\"|1|MiB|\n| ){0,40}") {
        let _ = settings("settings.hcl", text.as_bytes());
    }
}
