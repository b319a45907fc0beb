//! The Debian changelog, made from `CHANGELOG.md`.

use super::wanted::Source;

/// Who makes the packages.
pub const MAINTAINER: &str = "Hornero developers <packages@hornero.dev>";

/// An entry for each version of `text`; the one that is not released yet is the version that is packed.
pub fn debian(text: &str, source: &Source) -> String {
    let mut made = String::new();
    for section in text.split("\n## ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
        let version = match heading.split_ascii_whitespace().next() {
            None | Some("Unreleased") => source.version.as_str(),
            Some(version) => version,
        };
        made += &format!("hornero ({version}) unstable; urgency=medium\n\n");
        for paragraph in paragraphs(body) {
            made += &match paragraph.strip_prefix("- ") {
                Some(item) => wrapped(item, "  * "),
                None => wrapped(&paragraph, "  "),
            };
        }
        made += &format!("\n -- {MAINTAINER}  {}\n\n", date(source.epoch));
    }
    made
}

/// Items and paragraphs, each on one line.
fn paragraphs(body: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in body.lines() {
        let text = line.trim();
        match found.last_mut().filter(|_| goes_on && !line.starts_with("- ")) {
            Some(last) if !text.is_empty() => {
                last.push(' ');
                last.push_str(text);
            }
            Some(_) | None => found.extend((!text.is_empty()).then(|| text.to_owned())),
        }
        goes_on = !text.is_empty();
    }
    found
}

/// Lines of at most 80 columns, as Debian's changelogs have; the first begins with `mark`.
fn wrapped(text: &str, mark: &str) -> String {
    let mut made = String::new();
    let mut line = mark.to_owned();
    let mut empty = true;
    for word in text.split_ascii_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > 80 {
            made += &format!("{line}\n");
            line = " ".repeat(mark.len());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    made + &line + "\n"
}

/// A time as RFC 5322 has it, in UTC.
pub fn date(epoch: u64) -> String {
    let (days, seconds) = (epoch / 86_400, epoch % 86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let (year, month, day) = civil(days);
    let month =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            [month - 1];
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} +0000")
}

/// Year, month and day, both from 1, of a day since 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    // Bounded by the years since 1970; a time that is far off is still printed quickly enough.
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date(951_782_399), "Mon, 28 Feb 2000 23:59:59 +0000");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
        assert_eq!(date(1_795_901_532), "Sat, 28 Nov 2026 21:32:12 +0000");
    }

    #[test]
    fn entries() {
        let source = Source { version: "0.3.0".to_owned(), commit: None, epoch: 0 };
        let text = "# Changelog\n\nWhat.\n\n## Unreleased\n\nPackages:\n\n- One that goes on and on until its line is longer than eighty columns are\n  and more.\n\n## 0.2.0\n\n- Two.\n";
        expect_test::expect![[r#"
            hornero (0.3.0) unstable; urgency=medium

              Packages:
              * One that goes on and on until its line is longer than eighty columns are and
                more.

             -- Hornero developers <packages@hornero.dev>  Thu, 01 Jan 1970 00:00:00 +0000

            hornero (0.2.0) unstable; urgency=medium

              * Two.

             -- Hornero developers <packages@hornero.dev>  Thu, 01 Jan 1970 00:00:00 +0000

        "#]]
        .assert_eq(&debian(text, &source));
    }
}
