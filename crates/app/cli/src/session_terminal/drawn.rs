//! What a session writes, as far as it draws: what has a terminal answer, keep, print or tell is left out.
//!
//! Whoever enters a server that somebody else has taken over looks at what they write. A terminal can be made to type its title
//! or its answers, to set the clipboard, to print. So escape sequences are let through by a list, and all others are dropped.

/// The longest sequence that draws something; a longer one is dropped.
const SEQUENCE_MAX: usize = 64;
/// Private modes that draw or that a person's keys need: cursor keys, wrapping, the cursor, the other screen, marks around
/// what is pasted.
const MODES: [&str; 8] = ["1", "7", "12", "25", "47", "1047", "1049", "2004"];

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Plain,
    /// Behind an escape.
    Escape,
    /// In a control sequence (ECMA-48, 5.4): what came of it.
    Sequence(String),
    /// In one that is too long or no such: to its end.
    Dropped,
    /// Behind an escape and letters that say what kind of thing is named: to its end (ECMA-35, 13.2).
    Named,
    /// In a string for the terminal, to its end; whether an escape came that may be it.
    Text(bool),
    /// The next letter names a set of letters.
    Letters(char),
}

/// Lets through what draws.
#[derive(Debug, Default)]
pub struct Drawn {
    state: State,
}

impl Drawn {
    /// What of a text draws; a sequence that is not whole yet is told with what follows.
    pub fn take(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for letter in text.chars() {
            self.letter(letter, &mut out);
        }
        out
    }

    fn letter(&mut self, letter: char, out: &mut String) {
        // Either ends whatever was begun (ECMA-48 and VT500 parsers).
        if matches!(letter, '\u{18}' | '\u{1a}') {
            self.state = State::Plain;
            return;
        }
        self.state = match std::mem::take(&mut self.state) {
            State::Plain => plain(letter, out),
            State::Escape => escape(letter, out),
            State::Sequence(so_far) => sequence(so_far, letter, out),
            State::Dropped => match letter {
                '\u{40}'..='\u{7e}' => State::Plain,
                '\u{1b}' => State::Escape,
                _ => State::Dropped,
            },
            State::Named => match letter {
                '\u{20}'..='\u{2f}' => State::Named,
                '\u{1b}' => State::Escape,
                _ => State::Plain,
            },
            State::Text(may_end) => match letter {
                '\u{7}' | '\u{9c}' => State::Plain,
                '\\' if may_end => State::Plain,
                '\u{1b}' => State::Text(true),
                _ => State::Text(false),
            },
            State::Letters(which) => {
                if matches!(letter, 'B' | '0' | 'A' | '1' | '2') {
                    out.extend(['\u{1b}', which, letter]);
                }
                State::Plain
            }
        };
    }
}

fn plain(letter: char, out: &mut String) -> State {
    match letter {
        '\u{1b}' => return State::Escape,
        // Line ends, tabs, going back, the bell, and the two sets of letters.
        '\n' | '\r' | '\t' | '\u{8}' | '\u{7}' | '\u{e}' | '\u{f}' => out.push(letter),
        _ if letter.is_control() => {}
        _ => out.push(letter),
    }
    State::Plain
}

fn escape(letter: char, out: &mut String) -> State {
    match letter {
        '[' => return State::Sequence(String::new()),
        ']' | 'P' | 'X' | '^' | '_' => return State::Text(false),
        '(' | ')' => return State::Letters(letter),
        '\u{1b}' => return State::Escape,
        // Keeping and going back to a place, the keys beside the letters, lines up and down, tab stops.
        '7' | '8' | '=' | '>' | 'D' | 'E' | 'M' | 'H' => out.extend(['\u{1b}', letter]),
        // With more letters in between it names something else.
        '\u{20}'..='\u{2f}' => return State::Named,
        _ => {}
    }
    State::Plain
}

fn sequence(mut so_far: String, letter: char, out: &mut String) -> State {
    match letter {
        '\u{1b}' => State::Escape,
        '\u{40}'..='\u{7e}' => {
            if draws(&so_far, letter) {
                out.push_str("\u{1b}[");
                out.push_str(&so_far);
                out.push(letter);
            }
            State::Plain
        }
        '\u{20}'..='\u{3f}' if so_far.len() < SEQUENCE_MAX => {
            so_far.push(letter);
            State::Sequence(so_far)
        }
        _ => State::Dropped,
    }
}

/// Whether a control sequence only draws.
fn draws(parameters: &str, last: char) -> bool {
    let is_plain = parameters.chars().all(|letter| matches!(letter, '0'..='9' | ';' | ':'));
    match (parameters.strip_prefix('?'), last) {
        (Some(modes), 'h' | 'l') => modes.split(';').all(|mode| MODES.contains(&mode)),
        (Some(_), _) => false,
        (
            None,
            'A'..='H' | 'J'..='M' | 'P' | 'S' | 'T' | 'X' | 'Z' | '@' | '`' | 'a' | 'b' | 'd'..='g',
        ) => is_plain,
        (None, 'm' | 'r' | 's' | 'u') => is_plain,
        // What is typed over or moved on.
        (None, 'h' | 'l') => parameters == "4",
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(Drawn::default().take(text), expected, "{text:?}");
        let mut drawn = Drawn::default();
        let parts: String = text.chars().map(|letter| drawn.take(&letter.to_string())).collect();
        assert_eq!(parts, expected, "{text:?} letter by letter");
    }

    #[test]
    fn what_draws_is_let_through() {
        for text in [
            "plain höhe\r\n\ttext\u{8}\u{7}",
            "\u{1b}[1;31mred\u{1b}[0m \u{1b}[38:2:1:2:3m",
            "\u{1b}[2J\u{1b}[H\u{1b}[10;20H\u{1b}[K\u{1b}[3A",
            "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?1;2004h",
            "\u{1b}(0lqk\u{1b}(B\u{1b}7\u{1b}8\u{1b}M",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn what_makes_a_terminal_answer_keep_or_print_is_left_out() {
        for sequence in [
            // Who are you, where is the cursor, what is your title, what is set.
            "\u{1b}[c",
            "\u{1b}[>c",
            "\u{1b}[=c",
            "\u{1b}[6n",
            "\u{1b}[?6n",
            "\u{1b}[21t",
            "\u{1b}[>q",
            "\u{1b}[?1$p",
            "\u{1b}Z",
            "\u{5}",
            // Titles, clipboard, colours, hyperlinks, notifications.
            "\u{1b}]0;rm -rf ~\u{7}",
            "\u{1b}]52;c;cm0gLXJmIH4=\u{1b}\\",
            "\u{1b}]11;?\u{7}",
            "\u{1b}]8;;http://x\u{1b}\\",
            // What is asked by strings, pictures, other commands.
            "\u{1b}P$qm\u{1b}\\",
            "\u{1b}P+q544e\u{1b}\\",
            "\u{1b}_Gi=1;AAAA\u{1b}\\",
            "\u{1b}^x\u{1b}\\",
            "\u{1b}Xx\u{1b}\\",
            // Printing, reset, mouse, keys that are reported otherwise, C1.
            "\u{1b}[5i",
            "\u{1b}[?5i",
            "\u{1b}c",
            "\u{1b}[!p",
            "\u{1b}[?1000h",
            "\u{1b}[?1006;25h",
            "\u{1b}[>4;2m",
            "\u{9b}6n",
            "\u{9d}0;x\u{9c}",
            "\u{1b}#8",
        ] {
            let left = Drawn::default().take(&format!("a{sequence}b"));
            assert!(
                !left.contains(['\u{1b}', '\u{5}', '\u{9b}', '\u{9d}']),
                "{sequence:?}: {left:?}"
            );
            assert!(left.starts_with('a') && left.ends_with('b'), "{sequence:?}: {left:?}");
        }
        check("a\u{1b}]0;title\u{7}b", "ab");
        check("a\u{1b}[6nb", "ab");
    }

    #[test]
    fn what_is_never_ended_or_begun_anew_hides_nothing_for_good() {
        check("\u{1b}[1\u{1b}[31mred", "\u{1b}[31mred");
        check("\u{1b}]0;never\u{18}shown", "shown");
        let long = format!("\u{1b}[{}mx", "1;".repeat(100));
        check(&long, "x");
    }
}
