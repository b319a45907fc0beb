//! Which lines are one stack trace.

use hornero_engine_port::log::LogLine;

/// Lines of one trace, and its bytes; more is told as another one.
const MAX_JOINED: usize = 512;
const MAX_JOINED_BYTES: usize = 256 << 10;
/// Milliseconds between two lines of one trace at most: a program writes it at once.
const MAX_PAUSE_MS: u64 = 2_000;

/// What the lines so far say of those to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// No trace that lines without a mark belong to.
    Nothing,
    /// Python: indented lines, and one that says what was raised.
    Traceback,
    /// Go and Rust: what looks like frames.
    Panic,
}

/// Puts lines of one instance together where they are one stack trace.
pub fn joined(lines: Vec<LogLine>) -> Vec<LogLine> {
    let mut out: Vec<LogLine> = Vec::with_capacity(lines.len());
    let (mut count, mut within) = (0, Within::Nothing);
    for line in lines {
        let belongs = out.last().is_some_and(|last| {
            last.stream == line.stream
                && !last.goes_on
                && count < MAX_JOINED
                && last.text.len() + line.text.len() < MAX_JOINED_BYTES
                && line.time.since(last.time).0 < MAX_PAUSE_MS
        });
        let (joins, next) = step(if belongs { within } else { Within::Nothing }, &line.text);
        within = next;
        match out.last_mut().filter(|_| belongs && joins) {
            Some(last) => {
                join(last, &line);
                count += 1;
            }
            None => {
                out.push(line);
                count = 1;
            }
        }
    }
    out
}

/// Whether a line belongs to what was before it, and what it says of the next.
fn step(within: Within, text: &str) -> (bool, Within) {
    let is_indented = text.starts_with([' ', '\t']);
    let trimmed = text.trim_start();
    if text.starts_with("Traceback (most recent call last)") {
        return (false, Within::Traceback);
    }
    if text.starts_with("panic: ") || (text.starts_with("thread '") && text.contains("panicked at"))
    {
        return (false, Within::Panic);
    }
    let is_frame = is_indented
        && (trimmed.starts_with("at ")
            || (trimmed.starts_with("... ") && trimmed.ends_with(" more"))
            || trimmed.starts_with("Suppressed: "));
    if is_frame || text.starts_with("Caused by: ") {
        return (true, within);
    }
    match within {
        Within::Nothing => (false, Within::Nothing),
        Within::Traceback if is_indented => (true, Within::Traceback),
        // The line that says what was raised is the last.
        Within::Traceback => (true, Within::Nothing),
        Within::Panic => {
            let is_call = text.ends_with(')') && !text.contains(' ');
            let goes_on = text.is_empty()
                || is_indented
                || is_call
                || text.starts_with("goroutine ")
                || text.starts_with("created by ")
                || text.starts_with("[signal ")
                || text.starts_with("stack backtrace:")
                || text.starts_with("note: run with `RUST_BACKTRACE");
            (goes_on, if goes_on { Within::Panic } else { Within::Nothing })
        }
    }
}

fn join(last: &mut LogLine, line: &LogLine) {
    if last.bytes.is_some() || line.bytes.is_some() {
        let bytes = last.bytes.get_or_insert_with(|| last.text.clone().into_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(line.bytes.as_deref().unwrap_or(line.text.as_bytes()));
    }
    last.text.push('\n');
    last.text.push_str(&line.text);
    last.goes_on = line.goes_on;
}

#[cfg(test)]
mod tests {
    use hornero_engine_port::log::LogStream;
    use hornero_model::Timestamp;

    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            time: Timestamp(1),
            nanos: 0,
            stream: LogStream::Stderr,
            text: text.to_owned(),
            bytes: None,
            goes_on: false,
        }
    }

    fn check(text: &str, expected: &[usize]) {
        let lines = joined(text.lines().map(line).collect());
        let counts: Vec<usize> = lines.iter().map(|line| line.text.split('\n').count()).collect();
        assert_eq!(counts, expected, "{lines:#?}");
        let all: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(all.join("\n"), text);
    }

    #[test]
    fn traces_are_one_entry_and_other_lines_are_not() {
        check(
            "Traceback (most recent call last):\n  File \"a.py\", line 1\n    f()\nValueError: x\nnext",
            &[4, 1],
        );
        check(
            "java.lang.Error: x\n\tat a.b(C.java:1)\n\t... 3 more\nCaused by: y\n\tat d\nINFO next",
            &[5, 1],
        );
        check(
            "panic: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/a.go:1 +0x1\nexit status 2",
            &[5, 1],
        );
        check("thread 'main' panicked at a.rs:1:\noh\nstack backtrace:", &[1, 1, 1]);
        check("one\n  two\n\nthree", &[1, 1, 1, 1]);
    }

    #[test]
    fn a_trace_has_an_end() {
        let mut lines = vec![line("Error: x")];
        lines.extend((0..2_000).map(|_| line("    at f (a.js:1)")));
        assert!(joined(lines).len() > 3);
    }
}
