//! The likely cause of a failure, decided from what was kept.

use hornero_model::ExitCause;

use crate::{
    bundle::BundleContents,
    compare::{differences, mebibytes},
    finding::{AutopsyFinding, LikelyCause},
    health,
    lines::{self, LineTells, shown},
    signal,
};

/// The likely cause.
pub fn autopsy(contents: &BundleContents) -> AutopsyFinding {
    let mut finding = likely(contents);
    let own = differences(&contents.group, &contents.compared);
    finding.evidence.extend(own);
    let only = contents.compared.only_here.iter();
    finding.evidence.extend(only.map(|line| format!("only it wrote: {}", shown(line))));
    finding
}

fn likely(contents: &BundleContents) -> AutopsyFinding {
    match &contents.manifest.exit {
        Some(ExitCause::NotStarted(reason)) => AutopsyFinding::new(
            LikelyCause::NotStarted,
            format!("it did not start: {}", shown(reason)),
        ),
        Some(ExitCause::OutOfMemory) => memory(contents),
        Some(ExitCause::Signal(9)) if contents.group.out_of_memory_kills > 0 => memory(contents),
        Some(ExitCause::Signal(signal)) if signal::is_crash(*signal) => crash(contents, *signal),
        Some(ExitCause::Signal(signal)) => {
            let name = signal::name(*signal);
            let summary =
                format!("it was ended by {name}, which it did not send itself, and not for memory");
            AutopsyFinding::new(LikelyCause::Killed, summary).with(&last(contents))
        }
        Some(ExitCause::Code(code)) => {
            let passed_on = signal::of_code(*code).filter(|signal| *signal != 9);
            match passed_on {
                Some(signal) => crash(contents, signal),
                None => said(contents).unwrap_or_else(|| exited(contents, *code)),
            }
        }
        Some(ExitCause::HostRestarted) => AutopsyFinding::new(
            LikelyCause::Killed,
            "it ended with its host, which was started again".to_owned(),
        ),
        Some(ExitCause::Unknown) => {
            let summary = "its shim was killed, and with it what its end was";
            said(contents)
                .unwrap_or_else(|| AutopsyFinding::new(LikelyCause::Unknown, summary.to_owned()))
        }
        None => of_running(contents),
    }
}

/// What it said counts where it never came to listen, or answers with an error; one that hangs may have said anything before.
fn of_running(contents: &BundleContents) -> AutopsyFinding {
    let unwell = health::unwell(contents);
    let Some(said) = said(contents) else { return unwell };
    match unwell.cause {
        LikelyCause::NotListening | LikelyCause::Unhealthy => said.with(&unwell.summary),
        _ => unwell.with(said.evidence.first().map_or("", String::as_str)),
    }
}

fn memory(contents: &BundleContents) -> AutopsyFinding {
    let group = &contents.group;
    let peak =
        group.memory_peak_bytes.map(|bytes| format!("; it had at most {}", mebibytes(bytes)));
    let limit =
        group.memory_limit_bytes.map(|bytes| format!(" within its limit of {}", mebibytes(bytes)));
    let kills = match group.out_of_memory_kills {
        0 | 1 => String::new(),
        kills => format!("; the kernel killed {kills} processes"),
    };
    let of_kernel = contents.kernel.iter().rev().find(|line| line.contains("Killed process"));
    let summary = format!(
        "killed for memory{}{}{kills}",
        limit.unwrap_or_default(),
        peak.unwrap_or_default()
    );
    let kernel = of_kernel.map_or(String::new(), |line| format!("kernel: {line}"));
    AutopsyFinding::new(LikelyCause::KilledForMemory, summary).with(&kernel).with(&last(contents))
}

fn crash(contents: &BundleContents, signal: i32) -> AutopsyFinding {
    let name = signal::name(signal);
    let of_kernel = contents.kernel.iter().rev().find(|line| !line.contains("oom"));
    let said = match lines::told(&contents.log) {
        Some((LineTells::Panicked { place }, _)) => Some(place),
        _ => None,
    };
    let place = of_kernel.and_then(|line| frame(line)).or(said);
    let at = place.map(|place| format!(" at {place}")).unwrap_or_default();
    let why = match signal {
        31 => ": it made a system call that its sandbox refuses",
        _ => "",
    };
    let summary = format!("crashed by signal {signal} ({name}){at}{why}");
    let kernel = of_kernel.map_or(String::new(), |line| format!("kernel: {line}"));
    AutopsyFinding::new(LikelyCause::Crashed, summary).with(&kernel).with(&last(contents))
}

/// The file and offset that the kernel names of a crash: ` in libc.so.6[8c1f0,7f…+1000]`.
fn frame(line: &str) -> Option<String> {
    let (_, place) = line.rsplit_once(" in ")?;
    let (file, rest) = place.split_once('[')?;
    let offset = rest.split([',', '+', ']']).next()?;
    let is_offset = !offset.is_empty() && offset.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_offset.then(|| format!("`{file}+0x{offset}`"))
}

/// What it said itself of why it could not go on.
fn said(contents: &BundleContents) -> Option<AutopsyFinding> {
    let (told, line) = lines::told(&contents.log)?;
    let (cause, summary) = match told {
        LineTells::ReadOnly { path: Some(path) } => {
            let directory =
                path.rsplit_once('/').map(|(directory, _)| directory).filter(|of| !of.is_empty());
            let scratch = directory.unwrap_or(&path).to_owned();
            let summary = format!(
                "file system is read-only at `{path}`: add `{scratch}` to `scratch` of its image"
            );
            (LikelyCause::ReadOnly, summary)
        }
        LineTells::ReadOnly { path: None } => {
            let summary = "file system is read-only where it writes: add the directory to `scratch` of its image";
            (LikelyCause::ReadOnly, summary.to_owned())
        }
        LineTells::NotBound { port, denied } => {
            let port = port.or_else(|| contents.manifest.ports.first().copied());
            let port = port.map_or_else(|| "its port".to_owned(), |port| format!("port {port}"));
            let why = match denied {
                true => "it may not: ports below 1024 need root, and an address has to be its own",
                false => "somebody in the same server has it already",
            };
            (LikelyCause::NotBound, format!("could not bind {port}: {why}"))
        }
        LineTells::Refused { what } => {
            let what = what.map_or_else(String::new, |what| format!(" by `{what}`"));
            (LikelyCause::DependencyRefused, format!("dependency refused{what}: {}", shown(line)))
        }
        LineTells::Panicked { place } => (LikelyCause::Crashed, format!("gave up at {place}")),
    };
    Some(AutopsyFinding::new(cause, summary).with(line))
}

fn exited(contents: &BundleContents, code: i32) -> AutopsyFinding {
    let why = match code {
        0 => ", although a server goes on",
        126 => ", which a shell says of a command that can't be executed",
        127 => ", which a shell says of a command that is not found",
        _ => "",
    };
    let last = lines::last(&contents.log);
    let last =
        last.map_or_else(|| "it wrote nothing".to_owned(), |line| format!("last line: {line}"));
    AutopsyFinding::new(LikelyCause::Exited, format!("exited with {code}{why}; {last}"))
}

fn last(contents: &BundleContents) -> String {
    lines::last(&contents.log).map_or(String::new(), |line| format!("last line: {line}"))
}

#[cfg(test)]
mod tests;
