//! Bytes as they come, as text: a letter that comes in parts is told once it is whole.

/// The longest part of a letter that may be waited for: UTF-8 has four bytes at most.
const PART_MAX: usize = 3;

/// What is left over of what came so far.
#[derive(Debug, Default)]
pub struct Letters {
    part: Vec<u8>,
}

impl Letters {
    /// The text of what came, with what was left over before; bytes that are no UTF-8 are replaced.
    pub fn take(&mut self, bytes: &[u8]) -> String {
        self.part.extend_from_slice(bytes);
        let all = std::mem::take(&mut self.part);
        let mut whole = all.len();
        // Where the end is the beginning of a letter that is not whole.
        for length in 1..=PART_MAX.min(all.len()) {
            let at = all.len() - length;
            let wanted = match all[at] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                0x80..=0xbf => continue,
                _ => break,
            };
            if length < wanted {
                whole = at;
            }
            break;
        }
        self.part = all[whole..].to_vec();
        String::from_utf8_lossy(&all[..whole]).into_owned()
    }

    /// What is left over when nothing more comes.
    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.part)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_in_parts_is_told_whole_and_once() {
        let text = "aé€😀\u{1b}[0mz";
        for size in 1..6 {
            let mut letters = Letters::default();
            let told: String =
                text.as_bytes().chunks(size).map(|part| letters.take(part)).collect();
            assert_eq!(told + &letters.rest(), text, "{size}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_holds_up_nothing() {
        let mut letters = Letters::default();
        assert_eq!(
            letters.take(b"a\xff\x80\x80\x80\x80b"),
            "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}b"
        );
        assert_eq!(letters.take(b"\xe2\x82"), "");
        assert_eq!(letters.rest(), "\u{fffd}");
        assert_eq!(letters.take(b"\x80\x80\x80\x80"), "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }
}
