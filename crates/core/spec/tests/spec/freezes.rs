//! Times in which nothing is rolled out without a word.

use expect_test::expect;
use hornero_model::FreezeName;

use crate::check::{check, good};

const IMAGE: &str = "image \"app\" {\n debian = \"bookworm\"\n}\n";

#[test]
fn a_freeze_is_read_in_its_time_zone() {
    let spec = good(&format!(
        "{IMAGE}freeze \"holidays\" {{\n from = \"2026-12-20T00:00\"\n until = \"2027-01-02T00:00\"\n}}\n\
         freeze \"sale\" {{\n from = \"2026-11-27T00:00\"\n until = \"2026-11-28T00:00\"\n timezone = \"Europe/Berlin\"\n home = true\n}}\n"
    ));
    let of = |name: &str| {
        let freeze = &spec.freezes[&FreezeName::new(name).unwrap()];
        (freeze.from.to_string(), freeze.until.to_string(), freeze.home)
    };
    let utc = |text: &str| format!("{text}:00.000Z");
    assert_eq!(of("holidays"), (utc("2026-12-20T00:00"), utc("2027-01-02T00:00"), false));
    assert_eq!(of("sale"), (utc("2026-11-26T23:00"), utc("2026-11-27T23:00"), true));
}

#[test]
fn freezes_that_cannot_be() {
    check(
        &format!(
            "{IMAGE}freeze \"a\" {{\n from = \"2026-12-20\"\n}}\n\
             freeze \"b\" {{\n from = \"2026-12-20T00:00\"\n until = \"2026-12-19T00:00\"\n}}\n\
             freeze \"c\" {{\n from = \"2026-12-20T00:00\"\n until = \"2026-12-21T00:00\"\n timezone = \"Mars\"\n to = 1\n}}\n\
             freeze \"d\" {{\n from = \"2026-12-20T00:00\"\n until = \"2026-12-21T00:00\"\n}}\n\
             freeze \"d\" {{\n from = \"2026-12-20T00:00\"\n until = \"2026-12-21T00:00\"\n}}\n"
        ),
        expect![[r#"
            error[missing-key]: freeze `a` needs `until`
             --> hornero.hcl:4:1
              |
            4 | freeze "a" {
              | ^^^^^^^^^^
              |
              = hint: write a day and a time, such as `2026-12-20T00:00`

            error[invalid-value]: `from` of freeze `a`: `2026-12-20` is no day and time
             --> hornero.hcl:5:9
              |
            5 |  from = "2026-12-20"
              |         ^^^^^^^^^^^^
              |
              = hint: write a day and a time, such as `2026-12-20T00:00`

            error[invalid-value]: freeze `b` ends before it begins
             --> hornero.hcl:9:10
              |
            9 |  until = "2026-12-19T00:00"
              |          ^^^^^^^^^^^^^^^^^^
              |
              = hint: `until` is later than `from`

            error[invalid-value]: `timezone` of freeze `c`: there is no time zone `Mars`
              --> hornero.hcl:14:13
               |
            14 |  timezone = "Mars"
               |             ^^^^^^
               |
               = hint: write a name of the IANA database, such as `Europe/Berlin`

            error[unknown-key]: freeze `c` has no key `to`
              --> hornero.hcl:15:2
               |
            15 |  to = 1
               |  ^^
               |
               = hint: it has `from`, `home`, `timezone`, `until`

            error[duplicate-name]: there are two freezes `d`
              --> hornero.hcl:21:8
               |
            17 | freeze "d" {
               |        --- the first is here
            ...
            21 | freeze "d" {
               |        ^^^

            there are 6 errors in `hornero.hcl`
        "#]],
    );
}
