//! Work that comes round on a schedule.

use expect_test::expect;
use hornero_model::{CronLine, Digest, JobName, Millis};

use crate::check::{check, good};

const IMAGE: &str = "image \"app\" {\n debian = \"bookworm\"\n command = [\"/app\"]\n}\n\
                     image \"bare\" {\n debian = \"bookworm\"\n}\n";

#[test]
fn a_job_is_read_with_all_that_a_server_has() {
    let spec = good(&format!(
        r#"{IMAGE}
job "report" {{
  image    = image.bare
  command  = ["/srv/report", "--all"]
  schedule = "0 3 * * *"
  timezone = "Europe/Berlin"
  deadline = "10m"
  retries  = 2
  env      = {{ LANG = "C.UTF-8" }}
  config "/etc/report.conf" {{ content = "a=b" }}
  secret "db" {{ path = "/run/secrets/db" }}
  resources = {{ memory = "64MiB" }}
}}
job "by-hand" {{ image = image.app }}
"#
    ));
    let job = spec.jobs[&JobName::new("report").unwrap()].clone();
    assert_eq!(job.server.secrets.len(), 1);
    let job = job.into_job(Digest::of(b"image"));
    assert_eq!(job.command, ["/srv/report", "--all"]);
    let (line, timezone) = ("0 3 * * *".to_owned(), "Europe/Berlin".to_owned());
    assert_eq!(job.schedule, Some(CronLine { line, timezone }));
    assert_eq!((job.deadline, job.retries), (Millis(600_000), 2));
    assert_eq!((job.server.name.as_str(), job.server.image_name.as_str()), ("report", "bare"));
    assert_eq!(
        (&*job.server.env["LANG"], &*job.server.config[0].path),
        ("C.UTF-8", "/etc/report.conf")
    );
    assert_eq!(job.server.resources.memory_bytes, 64 << 20);

    let job = spec.jobs[&JobName::new("by-hand").unwrap()].clone().into_job(Digest::of(b"image"));
    assert_eq!((job.schedule, job.deadline, job.retries), (None, Millis(3_600_000), 0));
    assert!(job.command.is_empty(), "its image has one");
}

#[test]
fn a_schedule_without_a_time_zone_is_of_utc() {
    let spec =
        good(&format!("{IMAGE}job \"a\" {{\n image = image.app\n schedule = \"*/5 * * * *\"\n}}"));
    let job = &spec.jobs[&JobName::new("a").unwrap()];
    assert_eq!(job.schedule.as_ref().unwrap().timezone, "UTC");
}

#[test]
fn jobs_that_cannot_be() {
    check(
        &format!(
            "{IMAGE}job \"a\" {{\n image = image.app\n schedule = \"0 25 * * *\"\n}}\n\
             job \"b\" {{\n image = image.app\n schedule = \"0 3 * * *\"\n timezone = \"Europe/Berlim\"\n}}\n\
             job \"c\" {{\n image = image.bare\n schedule = \"0 0 30 2 *\"\n retries = 1000\n instances = 2\n}}\n\
             job \"a\" {{\n image = image.app\n timezone = \"UTC\"\n}}\n\
             job \"d\" {{ schedule = \"daily\" }}\n"
        ),
        expect![[r#"
            error[invalid-value]: `schedule` of job `a`: `0 25 * * *` is no cron line: component error: Number out of bounds
              --> hornero.hcl:10:13
               |
            10 |  schedule = "0 25 * * *"
               |             ^^^^^^^^^^^^
               |
               = hint: write minute, hour, day of the month, month and day of the week: `0 3 * * *` is every day at three

            error[invalid-value]: `timezone` of job `b`: there is no time zone `Europe/Berlim`
              --> hornero.hcl:15:13
               |
            15 |  timezone = "Europe/Berlim"
               |             ^^^^^^^^^^^^^^^
               |
               = hint: write a name of the IANA database, such as `Europe/Berlin`

            error[missing-key]: job `c` has no `command`, and image `bare` has none either
              --> hornero.hcl:18:10
               |
            18 |  image = image.bare
               |          ^^^^^^^^^^
               |
               = hint: write `command = ["/srv/report"]`

            error[invalid-value]: `schedule` of job `c`: `0 0 30 2 *` never comes round
              --> hornero.hcl:19:13
               |
            19 |  schedule = "0 0 30 2 *"
               |             ^^^^^^^^^^^^
               |
               = hint: no year has a day like that

            error[out-of-range]: `retries` of job `c` must be from 0 to 100, not 1000
              --> hornero.hcl:20:12
               |
            20 |  retries = 1000
               |            ^^^^
               |
               = hint: what fails that often is for a person

            error[unknown-key]: job `c` has no key `instances`
              --> hornero.hcl:21:2
               |
            21 |  instances = 2
               |  ^^^^^^^^^
               |
               = hint: it has `command`, `config`, `deadline`, `egress`, `env`, `image`, `resources`, `retries`, `schedule`, `secret`, `stop_grace`, `stop_signal`, `timezone`

            error[duplicate-name]: there are two jobs `a`
              --> hornero.hcl:23:5
               |
             8 | job "a" {
               |     --- the first is here
            ...
            23 | job "a" {
               |     ^^^

            error[conflict]: `timezone` of job `a` says nothing without `schedule`
              --> hornero.hcl:25:13
               |
            25 |  timezone = "UTC"
               |             ^^^^^

            error[missing-key]: job `d` needs `image`
              --> hornero.hcl:27:1
               |
            27 | job "d" { schedule = "daily" }
               | ^^^^^^^
               |
               = hint: write `image = image.NAME`

            error[invalid-value]: `schedule` of job `d`: `daily` is no cron line: it has 1 fields, not five: minute, hour, day of the month, month, day of the week
              --> hornero.hcl:27:22
               |
            27 | job "d" { schedule = "daily" }
               |                      ^^^^^^^
               |
               = hint: write minute, hour, day of the month, month and day of the week: `0 3 * * *` is every day at three

            there are 10 errors in `hornero.hcl`
        "#]],
    );
}
