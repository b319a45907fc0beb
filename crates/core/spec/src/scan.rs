//! A look over the text before the parser of HCL gets it, for what that parser takes too long over.

use crate::{ErrorCode, error::Mistake, limits};

/// Objects with more keys than allowed: the parser compares each key with all before it.
///
/// The look is rough: it skips strings and counts `=` and `:` between the braces of what looks like an object. It
/// never counts fewer than there are keys in an object written plainly.
pub(crate) fn large_object(text: &str) -> Option<Mistake> {
    // One entry for each open brace: where it is and how many keys followed, or none for a block.
    let mut open: Vec<Option<(usize, usize)>> = Vec::new();
    let mut last = b'\n';
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' => {
                let object = matches!(last, b'=' | b'(' | b'[' | b',' | b':' | b'?' | b'>');
                open.push(object.then_some((at, 0)));
            }
            b'}' => {
                open.pop();
            }
            b'=' | b':' => {
                if let Some(Some((start, keys))) = open.last_mut() {
                    *keys += 1;
                    if *keys > limits::OBJECT_KEYS {
                        let message =
                            format!("an object has more than {} keys", limits::OBJECT_KEYS);
                        return Some(Mistake::new(
                            ErrorCode::TooLarge,
                            *start..*start + 1,
                            message,
                        ));
                    }
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            last = byte;
        }
    }
    None
}

/// Skips to the end of a string, which never goes past its line.
fn skip_string(bytes: &mut impl Iterator<Item = (usize, u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' | b'\n' => return,
            _ => {}
        }
    }
}
