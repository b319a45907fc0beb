//! Lines as cells: what is assigned, the value, and the comment behind; and how deep each line lies.

use super::{
    spaces::joined,
    token::{Kind, Token},
};

/// Spaces of one level.
const INDENT: usize = 2;

/// A line in its cells, spaces inside of them settled.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Spaces before it.
    pub indent: usize,
    /// All of it, or what stands before `=`.
    pub lead: String,
    /// From `=` on, where the whole value is on this line.
    pub value: Option<String>,
    /// A comment behind something.
    pub comment: Option<String>,
}

impl Line {
    pub fn is_empty(&self) -> bool {
        self.lead.is_empty()
    }
}

/// The lines of a text.
pub(crate) fn lines(tokens: &[Token<'_>]) -> Vec<Line> {
    let mut levels = Levels::default();
    tokens
        .split(|token| token.kind == Kind::Newline)
        .map(|tokens| {
            let indent = levels.enter(tokens);
            cells(tokens, indent)
        })
        .collect()
}

/// How many brackets are open of those that opened each level of indentation.
#[derive(Default)]
struct Levels(Vec<usize>);

impl Levels {
    /// The spaces before a line; counts its brackets.
    fn enter(&mut self, tokens: &[Token<'_>]) -> usize {
        let closing = tokens.iter().take_while(|token| token.closes()).count();
        // `}, {` closes a part of a level and opens it again: both ends stand where the level began.
        let within = (0..closing).fold(false, |_, _| !self.close());
        let depth = self.0.len() - usize::from(within);
        let mut open = 0;
        for token in &tokens[closing..] {
            if token.opens() {
                open += 1;
            } else if token.closes() && open > 0 {
                open -= 1;
            } else if token.closes() {
                self.close();
            }
        }
        match self.0.last_mut() {
            Some(level) if within => *level += open,
            _ if open > 0 => self.0.push(open),
            _ => {}
        }
        depth * INDENT
    }

    /// Closes a bracket; whether that ended its level.
    fn close(&mut self) -> bool {
        let Some(level) = self.0.last_mut() else { return true };
        *level -= 1;
        let ended = *level == 0;
        if ended {
            self.0.pop();
        }
        ended
    }
}

fn cells(tokens: &[Token<'_>], indent: usize) -> Line {
    let (tokens, comment) = match tokens.split_last() {
        Some((last, rest)) if last.is_comment() && !rest.is_empty() => (rest, Some(last)),
        _ => (tokens, None),
    };
    let comment = comment.map(|comment| comment.text.to_owned());
    let assign = tokens.iter().position(|token| token.is_sign("="));
    if let Some(assign) = assign.filter(|assign| *assign > 0) {
        let (lead, value) = tokens.split_at(assign);
        if is_whole(value) {
            return Line { indent, lead: joined(lead), value: Some(joined(value)), comment };
        }
    }
    Line { indent, lead: joined(tokens), value: None, comment }
}

/// Whether a value begins and ends here.
fn is_whole(value: &[Token<'_>]) -> bool {
    let opened = value.iter().filter(|token| token.opens()).count();
    let closed = value.iter().filter(|token| token.closes()).count();
    // A heredoc is a value like others; its lines are its own.
    let spread = |token: &Token<'_>| token.kind != Kind::Heredoc && token.is_multi_line();
    opened == closed && !value.iter().any(spread)
}
