//! What people see: colours on a terminal only, tables that fit 80 columns, times and digests in short.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use hornero_model::{Digest, Timestamp};
use serde::Serialize;

use crate::{failure::Failure, harmless::harmless};

/// A colour with a meaning; the words beside it say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// On its way.
    Passing,
    /// Broken.
    Bad,
    /// Of less interest.
    Quiet,
    /// Nothing special.
    Plain,
}

/// Whether stdout takes colours: a terminal, and not refused by NO_COLOR (no-color.org).
pub fn coloured() -> bool {
    stdout().is_terminal() && wanted()
}

/// The same for stderr.
pub fn coloured_stderr() -> bool {
    stderr().is_terminal() && wanted()
}

fn wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn painted(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Passing => "33",
        Tone::Bad => "31",
        Tone::Quiet => "2",
        Tone::Plain => return text.to_owned(),
    };
    if colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// A table whose columns are as wide as their widest cell.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with a head.
    pub fn with_head(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|cell| ((*cell).to_owned(), Tone::Quiet)).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<(String, Tone)>) {
        // One line a row, whatever somebody gave as a reason.
        let clean = |text: String| harmless(&text).replace(['\n', '\t'], " ");
        self.rows.push(cells.into_iter().map(|(text, tone)| (clean(text), tone)).collect());
    }

    /// The table as text, with colours or without.
    pub fn render(&self, colour: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (index, ((text, tone), width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(&painted(text, *tone, colour));
                if index + 1 < row.len() {
                    line.push_str(&" ".repeat(width - text.chars().count() + 2));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }

    /// Prints the table to stdout.
    pub fn print(&self) -> Result<(), Failure> {
        print_text(&self.render(coloured()))
    }
}

/// Writes text to stderr, whole and at once, so that lines of several processes stay lines. One that nobody reads any more is
/// no reason to fail.
pub fn write_stderr(text: &str) {
    let _ = stderr().lock().write_all(text.as_bytes());
}

/// Prints text to stdout; a reader that went away (`| head`) is no failure.
pub fn print_text(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    match stdout().lock().write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(Failure::reported(0)),
        other => Ok(other?),
    }
}

/// Prints one JSON value on a line.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value).map_err(|error| Failure::of(&error))?;
    // JSON need not escape these, and terminals obey them.
    let obeyed = |letter: char| ('\u{7f}'..='\u{9f}').contains(&letter);
    while let Some((at, letter)) = text.char_indices().find(|(_, letter)| obeyed(*letter)) {
        let escaped = format!("\\u{:04x}", u32::from(letter));
        text = text.replace(letter, &escaped);
        debug_assert!(text[at..].starts_with(&escaped));
    }
    text.push('\n');
    print_text(&text)
}

/// Prints a list of what a home has: as data, or as a table; of an empty one `none` says how there comes to be a first.
pub fn print_list<T: Serialize>(
    json: bool,
    listed: &[T],
    none: &str,
    table: impl FnOnce(&[T], Timestamp, bool) -> String,
) -> Result<(), Failure> {
    match (json, listed.is_empty()) {
        (true, _) => print_json(&listed),
        (false, true) => print_text(&format!("{none}\n")),
        (false, false) => print_text(&table(listed, Timestamp::now(), coloured())),
    }
}

/// A digest for people; a dash for none.
pub fn short(digest: Option<&Digest>) -> String {
    digest.map_or_else(|| "-".to_owned(), Digest::short)
}

/// How long ago, in one unit that fits.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.since(then).0 / 1000;
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7_199 => format!("{}m", seconds / 60),
        7_200..=172_799 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A size for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn columns_align_and_lines_end_clean() {
        let mut table = Table::with_head(&["NAME", "STATE"]);
        table.row(vec![("a".into(), Tone::Plain), ("serving".into(), Tone::Good)]);
        table.row(vec![("longer".into(), Tone::Plain), (String::new(), Tone::Plain)]);
        expect![[r"
            NAME    STATE
            a       serving
            longer
        "]]
        .assert_eq(&table.render(false));
        assert!(table.render(true).contains("\u{1b}[32mserving\u{1b}[0m"));
    }

    #[test]
    fn a_cell_is_one_line_that_does_nothing_to_the_terminal() {
        let mut table = Table::with_head(&["WHY"]);
        table.row(vec![("two\nlines \u{1b}]0;x".into(), Tone::Plain)]);
        assert_eq!(table.render(false), "WHY\ntwo lines \\u{1b}]0;x\n");
    }

    #[test]
    fn ages_fit_their_unit() {
        let ages =
            [5, 150, 10_000, 300_000].map(|seconds| age(Timestamp(seconds * 1000), Timestamp(0)));
        assert_eq!(ages, ["5s", "2m", "2h", "3d"]);
    }
}
