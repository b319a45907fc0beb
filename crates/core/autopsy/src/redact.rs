//! Takes the values of secrets out of what is kept.

/// Shorter values, and shorter lines of values, are found in everything: nobody's secret has three characters.
const NEEDLE_BYTES_MIN: usize = 4;
/// What is kept of a line of a log, in bytes.
const LINE_BYTES: usize = 4 << 10;
/// What stands where a value stood.
const MARK: &str = "[secret]";
/// Options whose value is a secret of somebody's, however it came there.
const TELLING: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "credential",
    "private-key",
];

/// A file whose content has a secret; it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretInBundle;

/// Knows the values of a server's secrets, and finds them.
#[derive(Default)]
pub struct Redactor {
    needles: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor of {} values", self.needles.len())
    }
}

impl Drop for Redactor {
    fn drop(&mut self) {
        // Best effort: what was copied elsewhere is not known here.
        self.needles.iter_mut().for_each(|needle| needle.fill(0));
    }
}

impl Redactor {
    /// Learns a value: as a whole, and each of its lines, since logs tear them apart.
    pub fn learn(&mut self, value: &[u8]) {
        let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        for needle in lines.chain([value.trim_ascii()]) {
            if needle.len() >= NEEDLE_BYTES_MIN && !self.needles.iter().any(|known| known == needle)
            {
                self.needles.push(needle.to_vec());
            }
        }
        // The longest first, so that no part of one is left by another.
        self.needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    }

    /// A text without the values.
    pub fn text(&self, text: &str) -> String {
        if self.needles.is_empty() {
            return text.to_owned();
        }
        let (mut rest, mut bytes) = (text.as_bytes(), Vec::with_capacity(text.len()));
        while let Some(first) = rest.first() {
            match self.needles.iter().find(|needle| rest.starts_with(needle)) {
                Some(needle) => {
                    bytes.extend_from_slice(MARK.as_bytes());
                    rest = &rest[needle.len()..];
                }
                None => {
                    bytes.push(*first);
                    rest = &rest[1..];
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A line of a log without the values, and cut where it is a long one: only then, since half a value would not be found.
    pub fn line(&self, text: &str) -> String {
        let mut text = self.text(text);
        let most = LINE_BYTES.min(text.len());
        let cut = (0..=most).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text
    }

    /// A command line without the values, and without what an option says is one.
    pub fn command(&self, words: &[String]) -> Vec<String> {
        let mut next_is_secret = false;
        let redacted = |word: &String| {
            if std::mem::take(&mut next_is_secret) {
                return MARK.to_owned();
            }
            let word = self.text(word);
            let (name, value) = word
                .split_once('=')
                .map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
            let lower = name.to_ascii_lowercase();
            let tells = name.starts_with('-') || value.is_some();
            if !tells || !TELLING.iter().any(|telling| lower.contains(telling)) {
                return word;
            }
            next_is_secret = value.is_none();
            match value {
                Some(_) => format!("{name}={MARK}"),
                None => word,
            }
        };
        words.iter().map(redacted).collect()
    }

    /// Whether a file may be kept as it is.
    ///
    /// # Errors
    /// [`SecretInBundle`] where a value stands in it.
    pub fn file(&self, content: &[u8]) -> Result<(), SecretInBundle> {
        let has = |needle: &Vec<u8>| find(content, needle).is_some();
        if self.needles.iter().any(has) { Err(SecretInBundle) } else { Ok(()) }
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_out_also_line_by_line() {
        let mut redactor = Redactor::default();
        redactor.learn(b"hunter2hunter2\n");
        redactor.learn(b"-----BEGIN KEY-----\nabcdefgh\n-----END KEY-----\n");
        redactor.learn(b"abc");
        assert_eq!(redactor.text("login hunter2hunter2, abc"), "login [secret], abc");
        assert_eq!(redactor.text("line abcdefgh"), "line [secret]");
        assert_eq!(redactor.file(b"x=hunter2hunter2"), Err(SecretInBundle));
        assert_eq!(redactor.file(b"x=hunter2"), Ok(()));
        assert!(!format!("{redactor:?}").contains("hunter"));
    }

    #[test]
    fn a_value_that_stands_in_its_own_mark_does_not_go_round_in_circles() {
        let mut redactor = Redactor::default();
        redactor.learn(b"secret");
        assert!(redactor.text("a secret b").contains("a "));
    }

    #[test]
    fn options_that_say_so_have_secrets() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let cases = [
            ("db --password=x --port 1", "db --password=[secret] --port 1"),
            ("db --api-key x --port 1", "db --api-key [secret] --port 1"),
            ("env DB_PASSWORD=x run", "env DB_PASSWORD=[secret] run"),
            ("run secrets now", "run secrets now"),
        ];
        for (given, expected) in cases {
            assert_eq!(Redactor::default().command(&words(given)), words(expected));
        }
    }
}
