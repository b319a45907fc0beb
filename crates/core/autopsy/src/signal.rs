//! Signals by their names (signal(7), on x86 and ARM).

/// The name of a signal; its number where it has none.
pub fn name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// Whether a program gets it for what it did itself.
pub fn is_crash(signal: i32) -> bool {
    matches!(signal, 3..=8 | 11 | 31)
}

/// The signal that a shell, or whoever passes on how its child ended, says by an exit code.
pub fn of_code(code: i32) -> Option<i32> {
    let signal = code - 128;
    (is_crash(signal) || signal == 9).then_some(signal)
}
