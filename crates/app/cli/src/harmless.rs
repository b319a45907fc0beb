//! Text from outside, for terminals.

use std::borrow::Cow;

/// Text from outside made harmless for a terminal: what moves the cursor, sets colours or talks to the terminal is shown
/// as `\\u{1b}` and the like. Line ends and tabs stay.
pub fn harmless(text: &str) -> Cow<'_, str> {
    let harms = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if !text.contains(harms) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if harms(letter) { out.extend(letter.escape_unicode()) } else { out.push(letter) }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_wrote_does_nothing_to_the_terminal() {
        let check = |text, expected| assert_eq!(harmless(text), expected);
        check("plain: höhe\tok\nnext", "plain: höhe\tok\nnext");
        check("\u{1b}[31mred", "\\u{1b}[31mred");
        check("a\rb\u{7}\u{9b}c\u{7f}", "a\\u{d}b\\u{7}\\u{9b}c\\u{7f}");
    }
}
