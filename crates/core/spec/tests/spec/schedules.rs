//! What is done by itself when a time comes round.

use expect_test::expect;
use hornero_model::{MissedTimes, ScheduleAction, ScheduleName};

use crate::check::{check, good};

const SHOP: &str = "image \"app\" {\n debian = \"bookworm\"\n command = [\"/srv/app\"]\n}\n\
    service \"shop\" {\n image = image.app\n}\n";

#[test]
fn a_schedule_is_read_with_its_defaults_and_without() {
    let spec = good(&format!(
        "{SHOP}schedule \"patch\" {{\n do = \"patch\"\n when = \"30 2 * * 1-5\"\n}}\n\
         schedule \"renew\" {{\n do = \"redeploy\"\n when = \"0 4 1 * *\"\n timezone = \"Europe/Berlin\"\n \
         services = [service.shop, \"shop\"]\n missed = \"catch_up\"\n}}\n\
         schedule \"fresh\" {{\n do = \"recycle\"\n when = \"* * * * *\"\n}}\n"
    ));
    let of = |name: &str| spec.schedules[&ScheduleName::new(name).unwrap()].clone();
    let patch = of("patch");
    assert_eq!((patch.action, patch.missed), (ScheduleAction::Patch, MissedTimes::Skip));
    assert_eq!((&*patch.when.line, &*patch.when.timezone), ("30 2 * * 1-5", "UTC"));
    assert!(patch.services.is_empty(), "it is all of the directory");
    let renew = of("renew");
    assert_eq!((renew.action, renew.missed), (ScheduleAction::Redeploy, MissedTimes::CatchUp));
    assert_eq!(renew.when.timezone, "Europe/Berlin");
    let services: Vec<&str> = renew.services.iter().map(|name| name.as_str()).collect();
    assert_eq!(services, ["shop"], "named twice is named once");
    assert_eq!(of("fresh").action, ScheduleAction::Recycle);
}

#[test]
fn schedules_that_cannot_be() {
    check(
        &format!(
            "{SHOP}schedule \"a\" {{\n do = \"patsch\"\n when = \"0 25 * * *\"\n}}\n\
             schedule \"b\" {{\n do = \"recycle\"\n when = \"0 3 * * *\"\n timezone = \"Mars\"\n services = [\"shup\", service.none, 3]\n}}\n\
             schedule \"c\" {{\n do = \"rehearse_rollback\"\n when = \"0 0 30 2 *\"\n services = []\n missed = \"later\"\n}}\n\
             schedule \"d\" {{\n timezone = \"UTC\"\n}}\n\
             schedule \"e\" {{\n do = \"recycle\"\n when = \"0 3 * * *\"\n}}\n\
             schedule \"e\" {{\n do = \"recycle\"\n when = \"0 3 * * *\"\n command = [\"x\"]\n}}\n"
        ),
        expect![[r#"
            error[invalid-value]: `do` of schedule `a` can't be `patsch`
             --> hornero.hcl:9:7
              |
            9 |  do = "patsch"
              |       ^^^^^^^^
              |
              = hint: did you mean `patch`?

            error[invalid-value]: `when` of schedule `a`: `0 25 * * *` is no cron line: component error: Number out of bounds
              --> hornero.hcl:10:9
               |
            10 |  when = "0 25 * * *"
               |         ^^^^^^^^^^^^
               |
               = hint: write minute, hour, day of the month, month and day of the week: `0 3 * * *` is every day at three

            error[invalid-value]: `timezone` of schedule `b`: there is no time zone `Mars`
              --> hornero.hcl:15:13
               |
            15 |  timezone = "Mars"
               |             ^^^^^^
               |
               = hint: write a name of the IANA database, such as `Europe/Berlin`

            error[unknown-reference]: an element of `services` of schedule `b`: there is no service `shup`
              --> hornero.hcl:16:14
               |
            16 |  services = ["shup", service.none, 3]
               |              ^^^^^^
               |
               = hint: did you mean `shop`?

            error[unknown-reference]: there is no service `none`
              --> hornero.hcl:16:22
               |
            16 |  services = ["shup", service.none, 3]
               |                      ^^^^^^^^^^^^
               |
               = hint: declared are `service.shop`

            error[wrong-type]: an element of `services` of schedule `b` must be a service, not a number
              --> hornero.hcl:16:36
               |
            16 |  services = ["shup", service.none, 3]
               |                                    ^ this is a number
               |
               = hint: write `service.NAME`

            error[invalid-value]: `when` of schedule `c`: `0 0 30 2 *` never comes round
              --> hornero.hcl:20:9
               |
            20 |  when = "0 0 30 2 *"
               |         ^^^^^^^^^^^^
               |
               = hint: no year has a day like that

            error[invalid-value]: `services` of schedule `c` names none
              --> hornero.hcl:21:13
               |
            21 |  services = []
               |             ^^
               |
               = hint: leave it out: then it is all services of the directory

            error[invalid-value]: `missed` of schedule `c` can't be `later`
              --> hornero.hcl:22:11
               |
            22 |  missed = "later"
               |           ^^^^^^^
               |
               = hint: it is `skip` or `catch_up`

            error[missing-key]: schedule `d` needs `do`
              --> hornero.hcl:24:1
               |
            24 | schedule "d" {
               | ^^^^^^^^^^^^
               |
               = hint: write `do = "recycle"`; it is `patch`, `recycle`, `redeploy` or `rehearse_rollback`

            error[missing-key]: schedule `d` needs `when`
              --> hornero.hcl:24:1
               |
            24 | schedule "d" {
               | ^^^^^^^^^^^^
               |
               = hint: write `when = "30 2 * * 1-5"`: every weekday at half past two

            error[conflict]: `timezone` of schedule `d` says nothing without `when`
              --> hornero.hcl:25:13
               |
            25 |  timezone = "UTC"
               |             ^^^^^

            error[duplicate-name]: there are two schedules `e`
              --> hornero.hcl:31:10
               |
            27 | schedule "e" {
               |          --- the first is here
            ...
            31 | schedule "e" {
               |          ^^^

            error[unknown-key]: schedule `e` has no key `command`
              --> hornero.hcl:34:2
               |
            34 |  command = ["x"]
               |  ^^^^^^^
               |
               = hint: it has `do`, `missed`, `services`, `timezone`, `when`

            there are 14 errors in `hornero.hcl`
        "#]],
    );
}
