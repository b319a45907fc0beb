//! A source file's tokens, without its tests: what checks of names and modules read.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A token, as far as names go.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Sign(char),
    Open(Delimiter),
    Close(Delimiter),
    /// As it is written, quotes included.
    Literal(String),
}

/// The tokens of a file's text; what stands behind `#[cfg(test)]` is left out.
pub fn read(text: &str) -> Result<Vec<Token>> {
    let stream: TokenStream = text.parse().map_err(|error| anyhow!("it can't be read: {error}"))?;
    let mut tokens = Vec::new();
    flatten(stream, &mut tokens);
    Ok(without_tests(tokens))
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        match tree {
            TokenTree::Ident(word) => tokens.push(Token::Word(word.to_string())),
            TokenTree::Punct(sign) => tokens.push(Token::Sign(sign.as_char())),
            TokenTree::Literal(literal) => tokens.push(Token::Literal(literal.to_string())),
            TokenTree::Group(group) => {
                tokens.push(Token::Open(group.delimiter()));
                flatten(group.stream(), tokens);
                tokens.push(Token::Close(group.delimiter()));
            }
        }
    }
}

/// The tokens without what stands behind `#[cfg(test)]`.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    let mut kept: Vec<Token> = Vec::new();
    let mut tokens = tokens.into_iter();
    while let Some(token) = tokens.next() {
        kept.push(token);
        if ends_in_test_attribute(&kept) {
            let mut depth = 0_usize;
            for skipped in tokens.by_ref() {
                match skipped {
                    Token::Open(_) => depth += 1,
                    Token::Close(delimiter) => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 && delimiter == Delimiter::Brace {
                            break;
                        }
                    }
                    Token::Sign(';') if depth == 0 => break,
                    Token::Sign(_) | Token::Word(_) | Token::Literal(_) => {}
                }
            }
        }
    }
    kept
}

fn ends_in_test_attribute(tokens: &[Token]) -> bool {
    let Some(last) = tokens.len().checked_sub(7).map(|from| &tokens[from..]) else { return false };
    let word =
        |token: &Token, expected: &str| matches!(token, Token::Word(word) if word == expected);
    last[0] == Token::Sign('#')
        && last[1] == Token::Open(Delimiter::Bracket)
        && word(&last[2], "cfg")
        && last[3] == Token::Open(Delimiter::Parenthesis)
        && word(&last[4], "test")
        && last[6] == Token::Close(Delimiter::Bracket)
}
