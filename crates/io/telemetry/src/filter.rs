//! Which words a block has: a Bloom filter whose bits for one word lie in one line of memory.

/// Bytes of a line of a filter: what a processor reads at once.
pub const LINE_BYTES: usize = 64;
/// Lines of the filter of a full block: 20,000 words have 13 bits each, which is one false answer in 250.
pub const MAX_LINES_LOG2: u32 = 9;
/// Bits of each word.
const BITS: u32 = 6;

/// What each byte is in a word: 0 where it separates words, capital letters as small ones.
const WORD_BYTES: [u8; 256] = word_bytes();

const fn word_bytes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let letter = byte as u8;
        // As `\\b` of patterns has it: beyond ASCII everything separates.
        if letter.is_ascii_alphanumeric() || letter == b'_' {
            table[byte] = letter.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
}

/// Whether a byte is part of a word.
pub fn is_word_byte(byte: u8) -> bool {
    WORD_BYTES[usize::from(byte)] != 0
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(hash: u64, letter: u8) -> u64 {
    (hash ^ u64::from(letter)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

/// Calls `each` with every word of `text`: where it begins and ends, and what it is known by.
pub fn each_word(text: &[u8], mut each: impl FnMut(usize, usize, u64)) {
    let mut at = 0;
    while at < text.len() {
        let begin = at;
        let mut hash = SEED;
        while let Some(letter) = text.get(at).map(|byte| WORD_BYTES[usize::from(*byte)])
            && letter != 0
        {
            hash = mixed(hash, letter);
            at += 1;
        }
        match at > begin {
            true => each(begin, at, finished(hash)),
            false => at += 1,
        }
    }
}

fn finished(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 29)
}

/// What the words of `text` are known by.
pub fn words_of(text: &[u8]) -> Vec<u64> {
    let mut words = Vec::new();
    each_word(text, |_, _, word| words.push(word));
    words
}

/// The bits of a word in its line.
fn bits(word: u64) -> impl Iterator<Item = usize> {
    // Nine bits of it for each of six places; the line follows from those above.
    (0..BITS).map(move |bit| ((word >> (bit * 9)) & 511) as usize)
}

/// The place of a word's line among `1 << lines_log2` lines.
pub fn line_of(word: u64, lines_log2: u32) -> usize {
    let spread = word.wrapping_mul(SEED) >> 40;
    (spread & ((1 << lines_log2) - 1)) as usize
}

/// Whether a line of a filter has all bits of a word.
pub fn line_has(line: &[u8], word: u64) -> bool {
    line.len() == LINE_BYTES && bits(word).all(|bit| line[bit / 8] & (1 << (bit % 8)) != 0)
}

/// The words of a block.
#[derive(Debug, Clone)]
pub struct WordFilter {
    lines: Vec<u8>,
    lines_log2: u32,
}

impl WordFilter {
    /// Without words, for a full block.
    pub fn new() -> Self {
        Self { lines: vec![0; LINE_BYTES << MAX_LINES_LOG2], lines_log2: MAX_LINES_LOG2 }
    }

    /// Puts a word in.
    pub fn insert(&mut self, word: u64) {
        let from = line_of(word, self.lines_log2) * LINE_BYTES;
        for bit in bits(word) {
            self.lines[from + bit / 8] |= 1 << (bit % 8);
        }
    }

    /// Half of it, and half again, while that leaves room: a small block has a small filter.
    pub fn folded(mut self) -> Self {
        let set: u32 = self.lines.iter().map(|byte| byte.count_ones()).sum();
        // At half of the bits set, one answer in 64 is wrong; a quarter is one in 4,000.
        while self.lines_log2 > 0 && set as usize * 3 < self.lines.len() * 4 {
            let half = self.lines.len() / 2;
            let upper = self.lines.split_off(half);
            self.lines.iter_mut().zip(upper).for_each(|(low, high)| *low |= high);
            self.lines_log2 -= 1;
        }
        self
    }

    /// Its bytes, and the logarithm of how many lines they are.
    pub fn into_parts(self) -> (Vec<u8>, u32) {
        (self.lines, self.lines_log2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl WordFilter {
        /// Whether a word seems to be in it.
        fn has(&self, word: u64) -> bool {
            let from = line_of(word, self.lines_log2) * LINE_BYTES;
            line_has(&self.lines[from..from + LINE_BYTES], word)
        }
    }

    proptest! {
        #[test]
        fn no_word_is_ever_missed(text in "[a-zA-Z0-9_ .:/\\-é]{0,400}") {
            let mut filter = WordFilter::new();
            words_of(text.as_bytes()).into_iter().for_each(|word| filter.insert(word));
            let filter = filter.folded();
            for word in words_of(text.to_ascii_uppercase().as_bytes()) {
                prop_assert!(filter.has(word));
            }
        }
    }

    #[test]
    fn few_words_that_are_not_there_seem_to_be() {
        let mut filter = WordFilter::new();
        for number in 0..20_000 {
            words_of(format!("word{number}").as_bytes())
                .into_iter()
                .for_each(|it| filter.insert(it));
        }
        let filter = filter.folded();
        let wrong = (0..20_000)
            .filter(|number| filter.has(words_of(format!("other{number}").as_bytes())[0]))
            .count();
        assert!(wrong < 200, "{wrong}");
        let (bytes, _) = filter.into_parts();
        assert_eq!(bytes.len(), 32 << 10);
    }

    #[test]
    fn a_small_block_has_a_small_filter() {
        let mut filter = WordFilter::new();
        words_of(b"listening on port 80").into_iter().for_each(|word| filter.insert(word));
        assert!(filter.folded().into_parts().0.len() <= LINE_BYTES);
    }
}
