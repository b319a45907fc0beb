//! The home's control process, its start at boot, and what bases are baked from.

use crate::{
    answer::{CheckAnswer, degraded, pass},
    facts::{ControlFacts, HostFacts},
};

pub(crate) fn process(facts: &HostFacts) -> CheckAnswer {
    let cost = "nothing is replaced and nothing that ends is started again; servers that run go on";
    let start = "hornero up DIR starts one (as a service: systemctl start hornero)";
    match &facts.control {
        ControlFacts::Absent => pass("none runs; the next `up` starts it"),
        ControlFacts::Stale => {
            degraded("a socket that nobody listens on: the control process was killed", cost, start)
        }
        ControlFacts::Silent => degraded(
            "it does not answer",
            cost,
            "the home's `control.log` says what it does (as a service: journalctl -u hornero)",
        ),
        ControlFacts::Unreachable(reason) => degraded(
            format!("it can't be asked: {reason}"),
            "what it does is not known",
            "run this as root",
        ),
        ControlFacts::Answers { version, pid, own_version, .. } if version != own_version => {
            degraded(
                format!("process {pid} of version {version}; this command is {own_version}"),
                "it does what its own version does",
                "where this command is the newer one: hornero upgrade (as a service: systemctl restart hornero)",
            )
        }
        ControlFacts::Answers { version, pid, .. } => {
            pass(format!("process {pid} of version {version} answers"))
        }
    }
}

pub(crate) fn witness(facts: &HostFacts) -> CheckAnswer {
    let ControlFacts::Answers { witness: Some(witness), .. } = &facts.control else {
        return pass("none is declared, or no control process answers");
    };
    match &witness.fault {
        None => pass(format!("`{}` has the ledger's head", witness.place)),
        Some(fault) => degraded(
            format!("`{}` can't be reached: {fault}", witness.place),
            "what happens from now on can be cut off the ledger's end unnoticed until it is back",
            "bring the witness back; it gets the newest head by itself",
        ),
    }
}

pub(crate) fn boot(facts: &HostFacts) -> CheckAnswer {
    let cost = "nothing starts again after a reboot until somebody runs `hornero up`";
    let Some(systemd) = &facts.system.systemd else {
        return degraded(
            "no systemd",
            cost,
            "have this host's init run `hornero serve` at boot, and start it again when it ends",
        );
    };
    match (systemd.unit_installed, systemd.unit_enabled, systemd.unit_active) {
        (false, ..) => degraded(
            "no unit `hornero.service`",
            cost,
            "install Hornero's package, which brings the unit",
        ),
        (true, false, _) => degraded(
            "the unit `hornero.service` is not enabled",
            cost,
            "systemctl enable --now hornero",
        ),
        (true, true, false) => pass("the unit `hornero.service` is enabled, and does not run now"),
        (true, true, true) => pass("the unit `hornero.service` is enabled and runs"),
    }
}

pub(crate) fn archive(facts: &HostFacts) -> CheckAnswer {
    let distribution = &facts.system.distribution;
    let of_debian = distribution.id == "debian";
    let keyring = if distribution.is("fedora") || distribution.is("rhel") {
        "dnf install debian-keyring"
    } else {
        "apt install debian-archive-keyring"
    };
    let cost = "images with `debian = …` can't be baked from this host's own apt sources";
    let lines = "write `mirror = \"https://<a mirror of Debian>/debian\"` and `keyring = \
                 \"/usr/share/keyrings/debian-archive-keyring.gpg\"` in the image";
    match (of_debian && facts.archive.sources, facts.archive.keyring) {
        (true, true) => pass("this host's own apt sources and keyring"),
        (true, false) => degraded("no keyring of Debian's archive", cost, keyring),
        (false, true) => degraded("no apt sources of Debian", cost, lines),
        (false, false) => degraded(
            "no apt sources and no keyring of Debian",
            cost,
            format!("{keyring}; then {lines}"),
        ),
    }
}
