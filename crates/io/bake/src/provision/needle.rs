//! The forms that the values of secrets have, and how they are covered in what is shown.

/// Shorter lines of a secret of several lines are headers and ends that are no secret by themselves.
const LINE_BYTES: usize = 12;
/// Begins a line that says only what a key or certificate is.
const RULE: &[u8] = b"-----";

/// A text that must not be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needle {
    text: Vec<u8>,
    instead: Vec<u8>,
}

/// A value without the blanks around it, which commands drop.
pub(crate) fn trimmed(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// The forms that a secret's value has in output and files: as it is, line by line, and as JSON writes it. The longest
/// is first: a part of it must not be covered before the whole is.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let value = trimmed(value);
    let mut texts = vec![value.to_vec()];
    let lines = value.split(|byte| *byte == b'\n').map(trimmed);
    texts.extend(lines.filter(|line| line.len() >= LINE_BYTES).map(<[u8]>::to_vec));
    if let Ok(text) = std::str::from_utf8(value) {
        let json = serde_json::to_string(text).expect("a text is always JSON");
        texts.push(json.as_bytes()[1..json.len() - 1].to_vec());
    }
    texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    texts.dedup();
    texts
}

/// The forms of a secret's value that no file may hold. Lines such as `-----BEGIN PRIVATE KEY-----`, which every key
/// has and programs that read keys know, are none by themselves.
pub(crate) fn forbidden(value: &[u8]) -> Vec<Vec<u8>> {
    let whole = trimmed(value);
    let mut texts = forms(value);
    texts.retain(|text| text == whole || !is_rule(text, whole));
    texts
}

/// Whether a text is a line of the value that only says what it is.
fn is_rule(text: &[u8], whole: &[u8]) -> bool {
    text.starts_with(RULE) && whole.split(|byte| *byte == b'\n').any(|line| trimmed(line) == text)
}

impl Needle {
    /// What is covered of a secret.
    pub(crate) fn of(name: &str, value: &[u8]) -> Vec<Self> {
        let texts = forms(value);
        let instead = format!("[secret {name}]").into_bytes();
        texts.into_iter().map(|text| Self { text, instead: instead.clone() }).collect()
    }
}

fn find(bytes: &[u8], value: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, value)
}

/// Covers secrets in a stream that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Cover {
    needles: Vec<Needle>,
    held: Vec<u8>,
}

impl Cover {
    /// Covers these.
    pub(crate) fn new(needles: Vec<Needle>) -> Self {
        let mut needles = needles;
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.text.len()));
        Self { needles, held: Vec::new() }
    }

    /// Takes a piece; gives what can be shown already. What may be the beginning of a secret waits for the next.
    pub(crate) fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let waits = self.waiting_from();
        self.show(waits)
    }

    /// The rest, at the end of the stream.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.show(self.held.len())
    }

    /// What is held up to `until`, covered; a secret that begins later may turn out to be part of a longer one.
    fn show(&mut self, until: usize) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let mut shown = Vec::with_capacity(held.len());
        let mut at = 0;
        while at < until {
            let first = self
                .needles
                .iter()
                .filter_map(|needle| Some((at + find(&held[at..], &needle.text)?, needle)))
                .min_by_key(|(place, needle)| (*place, std::cmp::Reverse(needle.text.len())));
            match first {
                Some((place, needle)) if place < until => {
                    shown.extend_from_slice(&held[at..place]);
                    shown.extend_from_slice(&needle.instead);
                    at = place + needle.text.len();
                }
                Some(_) | None => {
                    shown.extend_from_slice(&held[at..until]);
                    at = until;
                }
            }
        }
        self.held = held[at..].to_vec();
        shown
    }

    /// Where the end of what is held may be the beginning of a secret.
    fn waiting_from(&self) -> usize {
        let length = self.held.len();
        let longest = self.needles.first().map_or(0, |needle| needle.text.len());
        let from = length.saturating_sub(longest.saturating_sub(1));
        (from..length)
            .find(|at| {
                let tail = &self.held[*at..];
                self.needles
                    .iter()
                    .any(|needle| needle.text.len() > tail.len() && needle.text.starts_with(tail))
            })
            .unwrap_or(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(secret: &str, text: &str, piece: usize) -> String {
        let mut cover = Cover::new(Needle::of("token", secret.as_bytes()));
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            out.extend(cover.pass(piece));
        }
        out.extend(cover.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn covers_a_value_however_it_comes() {
        for piece in 1..40 {
            for (secret, text, expected) in [
                ("hunter2-hunter2\n", "a hunter2-hunter2 b\n", "a [secret token] b\n"),
                ("abababac", "ababababac", "ab[secret token]"),
                ("abababac", "abababaabababac", "abababa[secret token]"),
                (
                    "quote\"back\\slash",
                    r#"{"a": "quote\"back\\slash"}"#,
                    r#"{"a": "[secret token]"}"#,
                ),
                (
                    "-----BEGIN KEY-----\nfirst line of key\nend\n",
                    "got: first line of key.",
                    "got: [secret token].",
                ),
                ("hunter2-hunter2", "hunter2-hunter", "hunter2-hunter"),
            ] {
                assert_eq!(covered(secret, text, piece), expected, "{piece} {secret}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_waits_for_nothing() {
        let mut cover = Cover::new(Needle::of("token", b"hunter2-hunter2"));
        assert_eq!(cover.pass(b"line\nhun"), b"line\n");
        assert_eq!(cover.pass(b"gry\n"), b"hungry\n");
    }

    #[test]
    fn no_file_may_hold_a_form_that_tells_something() {
        let texts = |value: &str| -> Vec<String> {
            let texts = forbidden(value.as_bytes()).into_iter();
            texts.map(|text| String::from_utf8(text).unwrap()).collect()
        };
        let key = "-----BEGIN KEY-----\nfirst line of key\nend\n-----END KEY-----";
        let json = key.replace('\n', "\\n");
        assert_eq!(texts(&format!("{key}\n")), [&*json, key, "first line of key"]);
        assert_eq!(
            texts("ends in a \"quote\""),
            [r#"ends in a \"quote\""#, r#"ends in a "quote""#]
        );
        assert_eq!(texts("-----one line that is the secret"), ["-----one line that is the secret"]);
    }

    proptest! {
        #[test]
        fn no_piece_lets_a_secret_through(
            secret in "[ab]{8,12}",
            words in proptest::collection::vec("[ab ]{0,6}", 0..6),
            piece in 1_usize..9,
        ) {
            let text = words.join(&secret);
            let shown = covered(&secret, &text, piece);
            prop_assert!(!shown.contains(secret.as_str()), "{shown}");
        }
    }
}
