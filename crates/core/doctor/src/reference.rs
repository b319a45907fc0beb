//! The page `docs/reference/doctor.md`, made from the table of checks.

use std::fmt::Write as _;

use crate::check::{CHECKS, Need};

const HEAD: &str = "\
# `hornero doctor`

Says what this host can and can't do for Hornero, each as `pass`, `degraded` (servers run, and something is lost) or
`missing` (servers can't run), with what it costs and the line to run. It changes nothing. Exit code 0 means that nothing
is missing, 1 that something is.

`hornero doctor --json` prints one object: `version` of the command, `servers_run`, the one-line `summary`, and `checks`,
worst first, each with `id`, `area`, `state`, `observed`, `cost` and `hint`. The ids below stay; new ones come.

`up`, `build`, `patch` and `reproduce` run the same checks before they begin, in milliseconds, and end at once with exit
code 1 where something is missing that they need: `bake` in the table is needed by all of them, `run` by those that start
servers. What is degraded and marked `told` gets one line. `plan` and `serve` say the same and go on: a control process
that only lacks what new servers need still looks after those that run.

";

/// The whole page.
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| id | area | needed to | told | looks at | state |\n| --- | --- | --- | --- | --- | --- |\n");
    for check in CHECKS {
        let need = match check.need {
            Need::Bake => "bake",
            Need::Run => "run",
        };
        let told = if check.told { "yes" } else { "" };
        // Writing into a String can't fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {need} | {told} | {} | {} |",
            check.id,
            check.area.word(),
            check.looks_at,
            check.meaning
        );
    }
    page.push_str(TAIL);
    page
}

const TAIL: &str = "
Not looked at: inotify, which Hornero does not use (a server's programs have the limits of their own user namespace), the
locale, and ports other than those that a `hornero.hcl` listens on.
";

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference/doctor.md");
        expect_test::expect_file![path].assert_eq(&super::reference());
    }
}
