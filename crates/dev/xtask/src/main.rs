//! Developer tasks: `cargo xtask setup | test | ci | demo | fixture | hosts | sim | package | bench`.

mod advisories;
mod apt;
mod arrows;
mod backports;
mod bench;
mod ci;
mod circles;
mod demo;
mod dependencies;
mod fixture;
mod hosts;
mod interrupt;
mod keys;
mod licence;
mod metadata;
mod modules;
mod names;
mod package;
mod run;
mod setup;
mod sim;
mod tests;
mod tokens;
mod tree;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask TASK

  setup         install the system packages that tests and demo need, where they are missing
  test [ARGS]   setup, then every test of the workspace, several test programs side by side; ARGS go to
                `cargo test`, and `--shares N` says how many run at once
  ci            the static checks, then `test`
  check [NAME]  the static checks only, or those named
  demo          the main job on examples/site, with a word on each step
  fixture [HORNERO]
                make the homes that this version writes, or that the given binary does, for the tests of
                later versions
  hosts [NAME]  Hornero on Debian machines with their own kernels, under emulation; `hosts --help`
  sim --seeds N [--from SEED] [--trace]
                that many histories of the simulation; exits with 1 where one breaks an invariant, and shows it
  package [ARGS]
                the Debian package and the tarball; `package --help` says what there is
  bench [ARGS]  measure beside other tools (installs those); `bench --help` says what there is
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match task(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn task(arguments: &[String]) -> Result<()> {
    let (name, rest) = match arguments {
        [name, rest @ ..] => (name.as_str(), rest),
        [] => ("help", [].as_slice()),
    };
    std::env::set_current_dir(run::root())?;
    match (name, rest) {
        ("setup", []) => setup::install(setup::PACKAGES),
        ("test", rest) => ci::test(rest),
        ("ci", []) => ci::ci(),
        ("check", rest) => ci::check(rest),
        ("demo", []) => demo::demo(),
        ("hosts", rest) => hosts::hosts(rest),
        ("sim", rest) => sim::sim(rest),
        ("package", rest) => package::package(rest),
        ("bench", rest) => bench::bench(rest),
        ("fixture", []) => fixture::make(None),
        ("fixture", [binary]) => fixture::make(Some(binary)),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(())
        }
        ("setup" | "ci" | "demo", [extra, ..]) => {
            bail!("`{name}` takes no argument such as `{extra}`")
        }
        _ => bail!("there is no task `{name}`\n\n{USAGE}"),
    }
}
