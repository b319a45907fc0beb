//! Decides which lines are asked for, and which blocks can hold some.

use hornero_engine_port::log::{LineLevel, LogFilter};
use hornero_model::Timestamp;
use regex::bytes::{Regex, RegexBuilder};

use crate::{
    batch::{LineBatch, RawLine},
    block::BlockHeader,
    filter::{is_word_byte, words_of},
    structure,
};

/// Longest pattern, word, name and value of a field.
const MAX_ASKED_BYTES: usize = 4096;
/// Words and fields that may be asked for together.
const MAX_ASKED: usize = 64;
/// What a compiled pattern may take in memory.
const MAX_PATTERN_BYTES: usize = 4 << 20;
/// Hits over more than a line in one batch, after which it is searched line by line: each may have looked at all of it.
const MAX_FALSE_HITS: usize = 64;

/// Why no line can be asked for like that.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The pattern is none.
    #[error("`{pattern}` is no regular expression: {reason}")]
    Pattern {
        /// What was asked for.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Too much is asked for.
    #[error(
        "at most {MAX_ASKED} words and fields of {MAX_ASKED_BYTES} bytes each can be asked for"
    )]
    TooMuch,
}

/// A filter, made ready.
#[derive(Debug, Clone)]
pub struct Matcher {
    since_ns: u64,
    until_ns: u64,
    level: Option<LineLevel>,
    pattern: Option<Regex>,
    /// Whether the pattern may be looked for in many lines at once.
    across: bool,
    words: Vec<Vec<u8>>,
    fields: Vec<(String, String)>,
    /// Words that every line has that is asked for.
    needed: Vec<u64>,
}

fn nanoseconds(time: Timestamp) -> u64 {
    time.0.saturating_mul(1_000_000)
}

impl Matcher {
    /// # Errors
    /// Where the pattern is none, and where too much is asked for.
    pub fn of(filter: &LogFilter) -> Result<Self, FilterError> {
        let lengths = filter.words.iter().chain(&filter.pattern).map(String::len);
        let lengths = lengths.chain(filter.fields.iter().flat_map(|(k, v)| [k.len(), v.len()]));
        let count = filter.words.len() + filter.fields.len();
        if count > MAX_ASKED || lengths.max() > Some(MAX_ASKED_BYTES) {
            return Err(FilterError::TooMuch);
        }
        let pattern = filter.pattern.as_deref().map(compiled).transpose()?;
        let mut needed: Vec<u64> =
            filter.words.iter().flat_map(|word| words_of(word.as_bytes())).collect();
        needed.extend(filter.fields.iter().flat_map(|(_, value)| words_of_value(value)));
        needed.extend(filter.pattern.iter().flat_map(|pattern| words_of_pattern(pattern)));
        Ok(Self {
            since_ns: filter.since.map_or(0, nanoseconds),
            until_ns: filter
                .until
                .map_or(u64::MAX, |until| nanoseconds(until).saturating_add(999_999)),
            level: filter.level,
            across: filter.pattern.as_deref().is_some_and(is_of_one_line),
            pattern,
            words: filter.words.iter().map(|word| word.to_ascii_lowercase().into_bytes()).collect(),
            fields: filter.fields.clone(),
            needed,
        })
    }

    /// Words without which a block has no such line.
    pub fn needed(&self) -> &[u64] {
        &self.needed
    }

    /// Whether a block can have such a line, by its header.
    pub fn may_be_in(&self, header: &BlockHeader) -> bool {
        header.first_ns <= self.until_ns
            && header.last_ns >= self.since_ns
            && self.level.is_none_or(|level| header.may_have(level))
    }

    /// Whether a line is asked for.
    pub fn is_match(&self, line: &RawLine<'_>) -> bool {
        self.is_in_time(line)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(line.bytes))
            && self.words.iter().all(|word| has_word(line.bytes, word))
            && self.is_like(line)
    }

    fn is_in_time(&self, line: &RawLine<'_>) -> bool {
        (self.since_ns..=self.until_ns).contains(&line.time_ns)
    }

    fn is_like(&self, line: &RawLine<'_>) -> bool {
        if self.level.is_none() && self.fields.is_empty() {
            return true;
        }
        let text = String::from_utf8_lossy(line.bytes);
        self.level.is_none_or(|least| structure::level(&text).is_some_and(|it| it >= least))
            && self.fields.iter().all(|(name, value)| structure::has_field(&text, name, value))
    }

    /// Calls `each` with the lines asked for from this place of a batch on, until it answers false. Gives the place
    /// behind the last line that was looked at.
    pub fn search<'b>(
        &self,
        batch: &'b LineBatch,
        place: usize,
        mut each: impl FnMut(RawLine<'b>) -> bool,
    ) -> usize {
        let mut lines = batch.lines_from(place);
        let (mut at, mut false_hits) = (place, 0);
        // A line without its line feed would seem to go on in the next.
        let is_torn = batch.runs.iter().rev().skip(1).any(|run| run.is_unended);
        if let Some(pattern) = self.pattern.as_ref().filter(|_| self.across && !is_torn) {
            while false_hits < MAX_FALSE_HITS {
                let Some(hit) = pattern.find_at(&batch.text, at) else { return batch.text.len() };
                let begin = memchr::memrchr(b'\n', &batch.text[at..hit.start()])
                    .map_or(at, |feed| at + feed + 1);
                lines.skip_to(begin);
                let Some(line) = lines.next() else { return batch.text.len() };
                at = line.end;
                match self.is_match(&line) {
                    true if !each(line) => return at,
                    true => {}
                    false => false_hits += 1,
                }
            }
        }
        for line in lines {
            at = line.end;
            if self.is_match(&line) && !each(line) {
                return at;
            }
        }
        batch.text.len()
    }
}

fn compiled(pattern: &str) -> Result<Regex, FilterError> {
    let built = RegexBuilder::new(pattern)
        // Logs need not be UTF-8, and tables of Unicode are larger than all the rest.
        .unicode(false)
        .multi_line(true)
        .size_limit(MAX_PATTERN_BYTES)
        .dfa_size_limit(MAX_PATTERN_BYTES)
        .build();
    built.map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ");
        FilterError::Pattern { pattern: pattern.to_owned(), reason: reason.to_owned() }
    })
}

/// Whether what it finds in many lines at once is what it finds in each: nothing in it is about the whole text.
fn is_of_one_line(pattern: &str) -> bool {
    let plain = !pattern.contains("\\A") && !pattern.contains("\\z");
    let mut groups = pattern.match_indices("(?").map(|(at, _)| &pattern[at + 2..]);
    plain && groups.all(|flags| flags.starts_with(':') || flags.starts_with("i)"))
}

/// Whole words that a pattern is sure to need: of plain text, those that are neither its first nor its last, if these
/// don't begin and end with `\b`.
fn words_of_pattern(pattern: &str) -> Vec<u64> {
    let (begins, inner) = match pattern.strip_prefix("\\b") {
        Some(inner) => (true, inner),
        None => (false, pattern),
    };
    let (ends, inner) = match inner.strip_suffix("\\b") {
        Some(inner) => (true, inner),
        None => (false, inner),
    };
    if inner.contains(['\\', '.', '+', '*', '?', '(', ')', '|', '[', ']', '{', '}', '^', '$', '\n'])
    {
        return Vec::new();
    }
    let mut inner = inner.as_bytes();
    if !begins {
        let word = inner.iter().take_while(|byte| is_word_byte(**byte)).count();
        inner = &inner[word..];
    }
    if !ends {
        let word = inner.iter().rev().take_while(|byte| is_word_byte(**byte)).count();
        inner = &inner[..inner.len() - word];
    }
    words_of(inner)
}

/// Whole words of the value of a field, where it is written as it is: JSON may write other signs in other ways.
fn words_of_value(value: &str) -> Vec<u64> {
    let plain = |byte: u8| is_word_byte(byte) || matches!(byte, b' ' | b'-' | b'.' | b':');
    if value.bytes().all(plain) { words_of(value.as_bytes()) } else { Vec::new() }
}

/// Whether a line has this word (in small letters), whole and in whatever case.
fn has_word(line: &[u8], word: &[u8]) -> bool {
    let (Some(first), Some(last)) = (word.first().copied(), word.last().copied()) else {
        return true;
    };
    let is_end = |at: Option<&u8>| at.is_none_or(|byte| !is_word_byte(*byte));
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), line).any(|at| {
        let end = at + word.len();
        line.get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(word))
            && (!is_word_byte(first) || is_end(at.checked_sub(1).and_then(|it| line.get(it))))
            && (!is_word_byte(last) || is_end(line.get(end)))
    })
}

#[cfg(test)]
mod tests {
    use hornero_engine_port::log::LogStream;
    use proptest::prelude::*;

    use super::*;
    use crate::{batch::Assembler, frame::Frame};

    fn batch(text: &str) -> LineBatch {
        let mut assembler = Assembler::new(0);
        let frame = Frame {
            time_ns: 5,
            stream: LogStream::Stdout,
            continues: false,
            bytes: text.as_bytes(),
        };
        assembler.take(&frame);
        assembler.finish()
    }

    fn found(text: &str, filter: &LogFilter) -> Vec<String> {
        let (matcher, batch) = (Matcher::of(filter).unwrap(), batch(text));
        let mut found = Vec::new();
        matcher.search(&batch, 0, |line| {
            found.push(String::from_utf8_lossy(line.bytes).into_owned());
            true
        });
        found
    }

    fn grep(pattern: &str) -> LogFilter {
        LogFilter { pattern: Some(pattern.to_owned()), ..LogFilter::default() }
    }

    #[test]
    fn a_pattern_is_of_one_line() {
        let text = "alpha 1\nbeta 22\n\ngamma alpha\nalpha 22";
        assert_eq!(found(text, &grep("^alpha")), ["alpha 1", "alpha 22"]);
        assert_eq!(found(text, &grep("1\\sbeta")), [""; 0]);
        assert_eq!(found(text, &grep("a[^x]*22")), ["beta 22", "alpha 22"]);
        assert_eq!(found(text, &grep("\\Abeta")), ["beta 22"]);
        assert_eq!(found(text, &grep("^$")), [""]);
        assert_eq!(found(text, &grep("(?i)GAMMA")), ["gamma alpha"]);
        let words = LogFilter { words: vec!["Alpha".to_owned()], ..LogFilter::default() };
        assert_eq!(found("alphabet\nan ALPHA.\n", &words), ["an ALPHA."]);
    }

    #[test]
    fn what_is_no_pattern_or_too_much_is_refused() {
        let error = Matcher::of(&grep("a(")).unwrap_err().to_string();
        assert_eq!(error, "`a(` is no regular expression: unclosed group");
        assert!(Matcher::of(&grep(&"a".repeat(5_000))).is_err());
        assert!(Matcher::of(&grep("(a{1000}){1000}")).is_err());
    }

    #[test]
    fn words_that_blocks_are_skipped_by() {
        let count = |pattern| words_of_pattern(pattern).len();
        assert_eq!(count("needle"), 0);
        assert_eq!(count("\\bneedle\\b"), 1);
        assert_eq!(count("in the haystack"), 1);
        assert_eq!(count("[in] the haystack"), 0);
        assert_eq!(count("a.b"), 0);
        assert_eq!(words_of_value("a-7.b").len(), 3);
        assert_eq!(words_of_value("a<b").len(), 0);
    }

    proptest! {
        /// Looking at many lines at once finds what looking at each finds, and every line found has the words by which
        /// blocks are skipped.
        #[test]
        fn searches_agree(
            text in "[ab1 \n]{0,60}",
            pattern in prop::sample::select(vec!["a", "^a", "b$", "a[^1]*b", "\\s1", "\\ba b\\b", "\\b1\\b", "(a|b)1", "a b a"]),
        ) {
            let matcher = Matcher::of(&grep(pattern)).unwrap();
            let batch = batch(&text);
            let mut found = Vec::new();
            matcher.search(&batch, 0, |line| { found.push(line); true });
            let each: Vec<_> = batch.lines_from(0).filter(|line| matcher.is_match(line)).collect();
            for line in &each {
                let words = words_of(line.bytes);
                prop_assert!(matcher.needed().iter().all(|needed| words.contains(needed)));
            }
            prop_assert_eq!(found, each);
        }
    }
}
