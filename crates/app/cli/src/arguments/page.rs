//! The page of all help texts, so that none changes unseen.

use clap::{Command, CommandFactory as _};

use super::Arguments;

/// Every command with what `--help` prints, those of families after the family.
fn page() -> String {
    let mut page = "# Commands\n\nWhat `hornero … --help` prints, made from the code.\n".to_owned();
    // What this shell's environment says is nobody's reference.
    add(&mut page, prepared(Arguments::command()), "hornero");
    page
}

fn prepared(command: Command) -> Command {
    let command = command.term_width(100).mut_args(|argument| argument.hide_env_values(true));
    let names: Vec<String> =
        command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    names.iter().fold(command, |command, name| command.mut_subcommand(name, prepared))
}

fn add(page: &mut String, mut command: Command, path: &str) {
    command.build();
    let below: Vec<Command> = command
        .get_subcommands()
        .filter(|below| below.get_name() != "help" && !below.is_hide_set())
        .cloned()
        .collect();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    for inner in below {
        let path = format!("{path} {}", inner.get_name());
        add(page, inner, &path);
    }
}

#[test]
fn every_help_text_is_on_its_page() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/reference/commands.md");
    expect_test::expect_file![path].assert_eq(&page());
}
