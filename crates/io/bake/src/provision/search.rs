//! Finds the first of many texts in a stream of bytes, at a speed that hardly depends on how many they are.

use std::io::{self, Read};

/// Read at once from a file.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes that are looked up at once: with fewer most of them occur somewhere, with more fewer can be skipped.
const BLOCK: usize = 3;
/// Places of the tables: a key of 50 lines fills a hundredth of them.
const PLACES: usize = 1 << 16;

/// Texts to look for, after Wu and Manber, "A fast algorithm for multi-pattern searching" (1994).
pub(crate) struct Search {
    /// Each text with whose it is.
    texts: Vec<(usize, Vec<u8>)>,
    /// The length of the shortest; that many bytes are looked at at once.
    least: usize,
    longest: usize,
    /// How far the window moves on, by the last bytes in it; nowhere where they end the beginning of a text.
    steps: Vec<u8>,
    /// The texts whose beginning ends so, by the same place.
    ends: Vec<(u16, usize)>,
}

impl Search {
    /// Looks for texts; each has at least three bytes.
    pub(crate) fn new(texts: impl IntoIterator<Item = (usize, Vec<u8>)>) -> Self {
        let texts: Vec<(usize, Vec<u8>)> =
            texts.into_iter().filter(|(_, text)| text.len() >= BLOCK).collect();
        let least = texts.iter().map(|(_, text)| text.len()).min().unwrap_or(BLOCK);
        let longest = texts.iter().map(|(_, text)| text.len()).max().unwrap_or(BLOCK);
        let furthest = u8::try_from(least - BLOCK + 1).unwrap_or(u8::MAX);
        let mut steps = vec![furthest; PLACES];
        let mut ends = Vec::with_capacity(texts.len());
        for (number, (_, text)) in texts.iter().enumerate() {
            for end in BLOCK..=least {
                let place = place(&text[..end]);
                let step = u8::try_from(least - end).unwrap_or(u8::MAX);
                let known = &mut steps[usize::from(place)];
                *known = step.min(*known);
            }
            ends.push((place(&text[..least]), number));
        }
        ends.sort_unstable();
        Self { texts, least, longest, steps, ends }
    }

    /// Whose text is first found in what is read; none where none is.
    pub(crate) fn first_in(&self, from: &mut dyn Read) -> io::Result<Option<usize>> {
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let kept = buffer.len().min(self.longest - 1);
            buffer.drain(..buffer.len() - kept);
            let read = from.take(BUFFER_BYTES as u64).read_to_end(&mut buffer)?;
            if let Some(whose) = self.first(&buffer) {
                return Ok(Some(whose));
            }
            if read == 0 {
                return Ok(None);
            }
        }
    }

    fn first(&self, bytes: &[u8]) -> Option<usize> {
        if self.texts.is_empty() {
            return None;
        }
        let mut end = self.least;
        while end <= bytes.len() {
            let place = place(&bytes[..end]);
            let step = self.steps[usize::from(place)];
            if step > 0 {
                end += usize::from(step);
                continue;
            }
            let first = self.ends.partition_point(|(other, _)| *other < place);
            let here = self.ends[first..].iter().take_while(|(other, _)| *other == place);
            for (_, number) in here {
                let (whose, text) = &self.texts[*number];
                if bytes[end - self.least..].starts_with(text) {
                    return Some(*whose);
                }
            }
            end += 1;
        }
        None
    }
}

/// Where the tables have the last bytes of a window.
fn place(window: &[u8]) -> u16 {
    let [.., a, b, c] = *window else { return 0 };
    // Multiplicative hashing spreads letters, which share their upper bits.
    let number = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9e37_79b1);
    u16::try_from(number >> 16).expect("sixteen bits are left")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(texts: &[&[u8]]) -> Search {
        Search::new(texts.iter().enumerate().map(|(number, text)| (number, text.to_vec())))
    }

    #[test]
    fn nothing_is_found_where_nothing_is_looked_for() {
        assert_eq!(search(&[]).first_in(&mut &b"anything"[..]).unwrap(), None);
    }

    proptest! {
        #[test]
        fn finds_what_is_there_and_nothing_else(
            texts in proptest::collection::vec("[ab]{3,9}", 1..6),
            bytes in "[abc]{0,60}",
        ) {
            let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let has = |text: &[u8]| memchr::memmem::find(bytes.as_bytes(), text).is_some();
            match search(&texts).first_in(&mut bytes.as_bytes()).unwrap() {
                Some(number) => prop_assert!(has(texts[number])),
                None => prop_assert!(!texts.iter().any(|text| has(text))),
            }
        }

        #[test]
        fn a_text_is_found_across_reads(before in 0_usize..600_000, long in 0_usize..2_000) {
            let text = [&b"hunter2-"[..], &vec![b'x'; long], b"-hunter2"].concat();
            let bytes = [&vec![b'.'; before][..], &text].concat();
            let search = search(&[b"other-other", &text]);
            prop_assert_eq!(search.first_in(&mut bytes.as_slice()).unwrap(), Some(1));
            let cut = &bytes[..bytes.len() - 1];
            prop_assert_eq!(search.first_in(&mut &cut[..]).unwrap(), None);
        }
    }
}
