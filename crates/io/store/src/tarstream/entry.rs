//! What an entry says of itself: numbers in the forms that archivers write them in, and pax records.

use std::{collections::BTreeMap, io};

use tar::{EntryType, Header};

use super::fault::invalid;

/// Records of one entry: an image's files have at most 64 attributes.
const RECORD_COUNT_MAX: usize = 4096;
/// Where format 0.1 has the map of a sparse file, and where those of format 0.0 are put together.
pub(super) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// Pax records (POSIX.1-2024, pax, "extended header") by their name.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What an entry says of itself, by its header and those before it.
#[derive(Debug)]
pub struct TarEntry {
    /// Its own header; names and numbers in it may be replaced by what follows here.
    pub header: Header,
    /// The path, as it is written.
    pub path: Vec<u8>,
    /// Where a link leads, as it is written; empty for others.
    pub link: Vec<u8>,
    /// Bytes of content.
    pub size: u64,
    /// Where its content begins, in bytes from the beginning of the stream.
    pub position: u64,
    /// Whether the stream holds only parts of the content, the rest being zeros.
    pub is_sparse: bool,
    /// Pax records (POSIX.1-2024, pax, "extended header").
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl TarEntry {
    /// What it is.
    pub fn entry_type(&self) -> EntryType {
        self.header.entry_type()
    }

    /// Its permissions, and what else the field has.
    ///
    /// # Errors
    /// A field that is no number.
    pub fn mode(&self) -> io::Result<u32> {
        // Some archivers leave the type of the file in the bits above; no more than these are used.
        Ok(number(&self.header.as_old().mode)? as u32)
    }

    /// The number of its owner.
    ///
    /// # Errors
    /// A field that is no number from 0 on.
    pub fn uid(&self) -> io::Result<u64> {
        self.record_number(b"uid").map_or_else(|| unsigned(&self.header.as_old().uid), Ok)
    }

    /// The number of its group.
    ///
    /// # Errors
    /// A field that is no number from 0 on.
    pub fn gid(&self) -> io::Result<u64> {
        self.record_number(b"gid").map_or_else(|| unsigned(&self.header.as_old().gid), Ok)
    }

    /// When its content was last changed: whole seconds since 1970, before or after.
    ///
    /// # Errors
    /// A field that is no number.
    pub fn mtime(&self) -> io::Result<i64> {
        let text = self.records.get(b"mtime".as_slice());
        let whole = text.and_then(|text| whole_seconds(std::str::from_utf8(text).ok()?));
        whole.map_or_else(|| number(&self.header.as_old().mtime), Ok)
    }

    pub(super) fn record_number(&self, name: &[u8]) -> Option<u64> {
        record_number(&self.records, name)
    }
}

/// A record that is a number from 0 on.
pub(super) fn record_number(records: &Records, name: &[u8]) -> Option<u64> {
    std::str::from_utf8(records.get(name)?).ok()?.parse().ok()
}

/// The seconds of `-12.75` and the like, without their fraction; what does not fit becomes the nearest that does.
fn whole_seconds(text: &str) -> Option<i64> {
    let whole: i128 = text.split('.').next()?.parse().ok()?;
    Some(whole.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// A field of a header: octal digits between spaces and zeros, or base-256, a two's complement whose first bit says so
/// (GNU tar, "numeric fields"). An empty field is 0. What does not fit becomes the nearest that does.
fn number(field: &[u8]) -> io::Result<i64> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        // The next bit is the sign.
        let first = i128::from(((field[0] << 1) as i8) >> 1);
        let number = field[1..].iter().fold(first, |sum, byte| (sum << 8) | i128::from(*byte));
        return Ok(number.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
    }
    let end = field.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |at| at + 1);
    let digits = &field[..end];
    let start = digits.iter().position(|byte| !matches!(byte, 0 | b' ')).unwrap_or(end);
    // Some have a space or a zero between their digits and what was in the field before.
    let digits = digits[start..].split(|byte| matches!(byte, 0 | b' ')).next().unwrap_or_default();
    if digits.is_empty() {
        return Ok(0);
    }
    let text = std::str::from_utf8(digits).ok();
    text.and_then(|text| i64::from_str_radix(text, 8).ok())
        .ok_or_else(|| invalid("a numeric field of a header is no number"))
}

/// A field that is no number below 0.
pub(super) fn unsigned(field: &[u8]) -> io::Result<u64> {
    u64::try_from(number(field)?).map_err(|_| invalid("a numeric field of a header is below 0"))
}

/// `LENGTH NAME=VALUE\n`, the length counting itself: a value may have any bytes. An empty value takes back what was
/// said before.
pub(super) fn records(bytes: &[u8]) -> io::Result<Records> {
    let malformed = || invalid("a pax header has a malformed record");
    let (mut found, mut rest) = (BTreeMap::new(), bytes);
    // Some writers pad with zeros.
    while rest.first().is_some_and(|byte| *byte != 0) {
        let space = rest.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let digits = &rest[..space];
        let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
        let length = length.filter(|length| *length <= rest.len()).ok_or_else(malformed)?;
        let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let (name, value) = (&record[..equals], &record[equals + 1..]);
        match (name, value) {
            // The one case where records of the same name add up: the map of a sparse file in format 0.0.
            (b"GNU.sparse.offset" | b"GNU.sparse.numbytes", value) => {
                let map: &mut Vec<u8> = found.entry(SPARSE_MAP.to_vec()).or_default();
                if !map.is_empty() {
                    map.push(b',');
                }
                map.extend_from_slice(value);
            }
            (name, []) => drop(found.remove(name)),
            (name, value) => drop(found.insert(name.to_vec(), value.to_vec())),
        }
        if found.len() > RECORD_COUNT_MAX {
            return Err(invalid("a pax header has too many records"));
        }
        rest = &rest[length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_form() {
        let base_256 = |value: i64| {
            let fill = if value < 0 { 0xff } else { 0 };
            let mut field = [fill; 12];
            field[4..].copy_from_slice(&value.to_be_bytes());
            field[0] |= 0x80;
            number(&field).unwrap()
        };
        for value in [0, 1, -1, -86_400, i64::MIN, i64::MAX, 1 << 40] {
            assert_eq!(base_256(value), value);
        }
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 7]).unwrap(), 7);
        assert_eq!(number(&[0xff; 8]).unwrap(), -1);
        assert_eq!(number(&[0xbf; 12]).unwrap(), i64::MAX);
        assert_eq!(number(&[0xc0; 12]).unwrap(), i64::MIN);
        for (text, value) in [
            ("00000000017\0", 15),
            ("       17 \0", 15),
            ("17 \0       ", 15),
            ("\0\0\0\0\0\0\0\0", 0),
            ("        ", 0),
            ("-17\0", -15),
        ] {
            assert_eq!(number(text.as_bytes()).unwrap(), value, "{text:?}");
        }
        for text in ["8", "x", "1x", "\u{7f}"] {
            assert!(number(text.as_bytes()).is_err(), "{text:?}");
        }
        for (text, value) in [
            ("-12.75", Some(-12)),
            ("12.75", Some(12)),
            ("7", Some(7)),
            ("-99999999999999999999", Some(i64::MIN)),
            ("99999999999999999999.1", Some(i64::MAX)),
            ("soon", None),
        ] {
            assert_eq!(whole_seconds(text), value, "{text}");
        }
    }
}
