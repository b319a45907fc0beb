//! Elements of DER (X.690), as far as certificates are read by hand.

/// An element of DER, and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Its first byte.
    pub tag: u8,
    /// What it holds.
    pub content: &'a [u8],
    /// What comes after it.
    pub rest: &'a [u8],
}

/// The first element of some bytes; none where they do not begin with a whole one.
pub fn element(input: &[u8]) -> Option<Element<'_>> {
    let (tag, rest) = input.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // Certificates are below 16 MiB by far.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag: *tag, content, rest })
}
