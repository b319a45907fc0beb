//! Files, processes, memory, and the clock.

use hornero_model::Timestamp;

use super::home::size;
use crate::{
    answer::{CheckAnswer, degraded, missing, pass},
    facts::HostFacts,
};

/// The edge takes two files a request in flight; under this a busy site meets the limit.
const FILES_DEGRADED: u64 = 16_384;
/// Under this control and edge themselves meet the limit.
const FILES_MISSING: u64 = 256;
/// An instance takes a shim, an init and its own processes.
const PROCESSES_DEGRADED: u64 = 4_096;
/// Control, edge and a base's maintainer scripts take about this much.
const MEMORY_DEGRADED: u64 = 256 << 20;
/// The first day of 2026: Hornero is not older, so the clock is wrong before it.
const FIRST_DAY: Timestamp = Timestamp(1_767_225_600_000);
const SYNCHRONISE: &str = "timedatectl set-ntp true (with the package systemd-timesyncd or chrony)";
/// Clocks that are kept in step go back by less.
const STEP_MS: u64 = 1_000;

pub(crate) fn open_files(facts: &HostFacts) -> CheckAnswer {
    let limits = &facts.limits;
    let Some(own) = limits.open_files else { return pass("not told by this kernel") };
    let least = own.min(limits.host_files.unwrap_or(u64::MAX));
    let observed = match least {
        u64::MAX => "no limit".to_owned(),
        files if files < own => format!("{files} in the whole host"),
        files => format!("{files} a process"),
    };
    let line = if least < own {
        "sysctl -w fs.file-max=1048576"
    } else {
        "LimitNOFILE=524288 in the service's unit, or `ulimit -Hn 524288` before `hornero up`"
    };
    if least < FILES_MISSING {
        return missing(observed, "control and edge need more", line);
    }
    if least < FILES_DEGRADED {
        let requests = least / 2;
        return degraded(
            observed,
            format!("the edge holds at most some {requests} requests at once"),
            line,
        );
    }
    pass(observed)
}

pub(crate) fn processes(facts: &HostFacts) -> CheckAnswer {
    let limits = &facts.limits;
    let known = [
        (limits.pid_max, "kernel.pid_max", "sysctl -w kernel.pid_max=4194304"),
        (limits.threads_max, "kernel.threads-max", "sysctl -w kernel.threads-max=65536"),
        (
            facts.control_groups.own_process_limit,
            "the process limit of the control groups of whoever starts servers",
            "TasksMax=infinity in the service's unit, or more processes for the container",
        ),
    ];
    let least = known
        .into_iter()
        .filter_map(|(limit, name, line)| Some((limit?, name, line)))
        .min_by_key(|(limit, ..)| *limit);
    match least {
        None => pass("not told by this kernel"),
        Some((limit, name, line)) if limit < PROCESSES_DEGRADED => degraded(
            format!("{limit}, by {name}"),
            "each server takes two processes beside its own, and then none starts any more",
            line,
        ),
        Some((limit, ..)) => pass(format!("up to {limit}")),
    }
}

pub(crate) fn memory(facts: &HostFacts) -> CheckAnswer {
    match facts.system.memory_available_bytes {
        None => pass("not told by this kernel"),
        Some(bytes) if bytes < MEMORY_DEGRADED => degraded(
            format!("{} left", size(bytes)),
            "bakes and servers may be ended for want of memory",
            "free some, or add swap",
        ),
        Some(bytes) => pass(format!("{} left", size(bytes))),
    }
}

pub(crate) fn clock(facts: &HostFacts) -> CheckAnswer {
    let clock = &facts.clock;
    if let Some(newest) = clock.newest_event {
        let behind = newest.since(clock.now).0;
        if behind > STEP_MS {
            return degraded(
                format!(
                    "{}, which is {} s before the ledger's newest event",
                    clock.now,
                    behind.div_ceil(1000)
                ),
                "the clock went back: what happens now is recorded as if it were earlier, and ages and schedules are \
                 wrong until it has caught up",
                SYNCHRONISE,
            );
        }
    }
    if clock.now < FIRST_DAY {
        return degraded(
            clock.now.to_string(),
            "the clock is years behind: archives and certificates look as if they came from the future and are refused",
            SYNCHRONISE,
        );
    }
    pass(clock.now.to_string())
}

pub(crate) fn clock_synchronised(facts: &HostFacts) -> CheckAnswer {
    match facts.clock.synchronised {
        Some(false) => degraded(
            "no",
            "times in the ledger may differ from those of other machines",
            SYNCHRONISE,
        ),
        Some(true) => pass("yes"),
        None => pass("not told by this kernel"),
    }
}
