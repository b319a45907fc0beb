//! The checks of every commit: the static ones, machines with kernels of their own, every test.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::{
    advisories, arrows, circles, dependencies, hosts, interrupt, keys, metadata, names, package,
    run, setup, tests, tree,
};

type Check = fn() -> Result<()>;

/// Installs what the tests need and runs every test.
pub fn test(arguments: &[String]) -> Result<()> {
    setup::install(setup::PACKAGES)?;
    // Tests make packages too.
    setup::install(package::PACKAGES)?;
    tests::run(arguments)
}

/// The static checks, two machines with kernels of their own, and every test; each also where one before it failed.
pub fn ci() -> Result<()> {
    // An emulated machine takes one processor, and the static checks and most of a build are over before it is: the tests have
    // both alone.
    let machines = std::thread::spawn(|| hosts::hosts(&["--quick".to_owned()]));
    let checked = check(&[]);
    // Where the tests do not build, running them says so.
    let _ = tests::build();
    let tried = machines.join().unwrap_or_else(|_| bail!("what tries machines panicked"));
    // Whoever ends it while machines run ends all of it, and not them alone.
    interrupt::unwatch();
    interrupt::check()?;
    let outcomes = [checked, tried, test(&[])];
    let failures: Vec<String> =
        outcomes.into_iter().filter_map(|outcome| Some(format!("{:#}", outcome.err()?))).collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("\n")) }
}

/// The static checks named in `only`, or every one; those after a failed one run as well.
pub fn check(only: &[String]) -> Result<()> {
    let checks: [(&str, Check); 10] = [
        ("format", || run::check(run::cargo().args(["fmt", "--all", "--check"]))),
        ("files", tree::check),
        ("keys", keys::check),
        ("names", names::check),
        ("arrows", || arrows::check(&metadata::load()?).and_then(|()| circles::check())),
        ("licences", || dependencies::check_licences(&metadata::load()?)),
        ("bans", || dependencies::check_bans(&metadata::load()?)),
        ("advisories", advisories::check),
        ("clippy", clippy),
        ("docs", docs),
    ];
    if let Some(unknown) = only.iter().find(|name| !checks.iter().any(|(known, _)| known == name)) {
        let known = checks.map(|(name, _)| name).join(", ");
        bail!("there is no check `{unknown}`, only {known}");
    }
    let mut failed = Vec::new();
    for (name, check) in checks {
        if !only.is_empty() && !only.iter().any(|wanted| wanted == name) {
            continue;
        }
        let begun = Instant::now();
        match check() {
            Ok(()) => eprintln!("check `{name}`: passed in {:.1} s", begun.elapsed().as_secs_f64()),
            Err(error) => {
                eprintln!("check `{name}`: FAILED\n{error:#}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("static checks failed: {}", failed.join(", ")) }
}

fn clippy() -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    run::check(run::cargo().args(["clippy", "--workspace", "--all-targets"]).args(deny))
}

fn docs() -> Result<()> {
    let mut cargo = run::cargo();
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    run::check(cargo.args(["doc", "--workspace", "--no-deps"]))
}
