//! Patterns of apt's preferences: a regular expression between slashes, else a pattern as a shell has it (fnmatch(3)).

/// One pattern, ready to be asked often; case does not count.
#[derive(Debug, Clone)]
pub(crate) enum Pattern {
    /// As a shell has it, in lower case.
    Glob(Vec<char>),
    /// A regular expression; none where it cannot be read, which fits nothing.
    Expression(Option<Box<regex_lite::Regex>>),
}

impl Pattern {
    /// Reads a pattern.
    pub fn new(text: &str) -> Self {
        let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        match inner.filter(|inner| !inner.is_empty()) {
            None => Self::Glob(lower(text)),
            Some(expression) => {
                let mut builder = regex_lite::RegexBuilder::new(expression);
                Self::Expression(builder.case_insensitive(true).build().ok().map(Box::new))
            }
        }
    }

    /// Whether a text is all of a glob, or has an expression in it.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Glob(pattern) => glob(pattern, &lower(text)),
            Self::Expression(expression) => {
                expression.as_ref().is_some_and(|expression| expression.is_match(text))
            }
        }
    }
}

fn lower(text: &str) -> Vec<char> {
    text.to_lowercase().chars().collect()
}

/// Whether a name in `Package` of a preference stands for several packages.
pub(crate) fn is_pattern(name: &str) -> bool {
    (name.starts_with('/') && name.ends_with('/')) || name.contains(['*', '[', '?'])
}

/// Goes back to the last `*` alone, so that no pattern takes longer than both lengths multiplied.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < text.len() {
        let step = pattern.get(at).and_then(|first| match first {
            '*' => {
                star = Some((at, of));
                Some((at + 1, of))
            }
            _ => one(&pattern[at..], text[of]).map(|length| (at + length, of + 1)),
        });
        match (step, star) {
            (Some(next), _) => (at, of) = next,
            (None, Some((star_at, star_of))) => {
                star = Some((star_at, star_of + 1));
                (at, of) = (star_at + 1, star_of + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// How much of a pattern one character takes; none where it does not fit.
fn one(pattern: &[char], char: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == char).then_some(2),
        ['[', inside @ ..] => match set(inside, char) {
            Some((fits, length)) => fits.then_some(length + 1),
            None => (char == '[').then_some(1),
        },
        [literal, ..] => (*literal == char).then_some(1),
        [] => None,
    }
}

/// Whether a set after `[` has a character, and its length with `]`; none where it never ends.
fn set(inside: &[char], char: char) -> Option<(bool, usize)> {
    let negated = matches!(inside.first(), Some('!' | '^'));
    let mut at = usize::from(negated);
    let first = at;
    let mut fits = false;
    loop {
        match inside.get(at..)? {
            [']', ..] if at > first => return Some((fits != negated, at + 1)),
            [low, '-', high, ..] if *high != ']' => {
                fits |= (*low..=*high).contains(&char);
                at += 3;
            }
            [literal, ..] => {
                fits |= *literal == char;
                at += 1;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_preferences_have() {
        for (pattern, text, expected) in [
            ("*", "anything", true),
            ("lib*-dev", "libx-dev", true),
            ("lib*-dev", "libx-dev2", false),
            ("a?c", "abc", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[", "[", true),
            ("*a*b*c*", "xxaxxbxxc", true),
            ("NodeSource", "nodesource", true),
            ("/^linux-(image|headers)/", "linux-image-amd64", true),
            ("/^linux$/", "linux-image", false),
            ("/(/", "(", false),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        }
    }
}
