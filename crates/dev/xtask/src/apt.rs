//! `apt-get`, asked to do something without asking back.

use std::process::Command;

use anyhow::Result;

use crate::run;

/// Calls it with these arguments, after those that every call has.
pub fn apt(arguments: &[&str]) -> Result<()> {
    run::check(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Another apt may run: wait for it. Two minutes are longer than an unattended upgrade of one package.
            .args(["-y", "-q", "-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"])
            .args(arguments)
            // Data to stdout, messages to stderr: what apt says is a message here.
            .stdout(std::io::stderr()),
    )
}
