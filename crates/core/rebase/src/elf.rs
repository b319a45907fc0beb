//! What an ELF file needs from and gives to others, read from its headers alone.
//!
//! Formats: System V ABI (ELF header, program headers, dynamic section) and the GNU symbol versioning of
//! `Elf64_Verdef` and `Elf64_Verneed` (LSB Core, 10.7). Every offset, count and length of a file is hostile:
//! nothing is allocated from one of them, and each loop has its own end.

use std::cell::Cell;

use serde::{Deserialize, Serialize};

/// Program headers; linkers make about a dozen.
const SEGMENTS_MAX: u16 = 256;
/// Entries of the dynamic section; the largest programs have some hundreds.
const DYNAMIC_MAX: usize = 8192;
/// Libraries one file needs; browsers have about a hundred.
const NEEDED_MAX: usize = 2048;
/// Versions that one file defines or needs; glibc has about fifty.
const VERSIONS_MAX: usize = 8192;
/// One name; paths end there too.
const NAME_LEN_MAX: usize = 4096;
/// All names of one file together.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// What one ELF file needs and gives.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ElfFacts {
    /// 1 for 32 bits, 2 for 64 bits.
    #[serde(rename = "c")]
    pub class: u8,
    /// `e_machine`.
    #[serde(rename = "m")]
    pub machine: u16,
    /// `DT_SONAME`.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub soname: Option<String>,
    /// `DT_NEEDED`, in order.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
    /// Which versions it needs of which library; those marked weak are left out.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub versions_needed: Vec<(String, Vec<String>)>,
    /// The versions it defines, without that of the file itself.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub versions_defined: Vec<String>,
    /// `DT_RPATH`.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub rpath: Option<String>,
    /// `DT_RUNPATH`.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub runpath: Option<String>,
    /// `PT_INTERP`; only programs have one.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
}

/// A program or shared library that is damaged, or has more in its headers than is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the headers of a program or library could not be read")]
pub struct Unread;

/// Reads a program or shared library; None for whatever the kernel and the dynamic loader would not load either.
///
/// `read_at` fills as much of the buffer as the file has at that offset and gives how much that is.
pub fn read(read_at: &dyn Fn(u64, &mut [u8]) -> usize) -> Result<Option<ElfFacts>, Unread> {
    let mut header = [0_u8; 64];
    let len = read_at(0, &mut header);
    if len < 52 || &header[..4] != b"\x7fELF" {
        return Ok(None);
    }
    let (wide, big) = match (header[4], header[5]) {
        (1, 1) => (false, false),
        (1, 2) => (false, true),
        (2, 1) if len == 64 => (true, false),
        (2, 2) if len == 64 => (true, true),
        _ => return Ok(None),
    };
    let file = File { read_at, wide, big, names_left: Cell::new(NAMES_BYTES_MAX) };
    let kind = file.half(&header, 16);
    // ET_EXEC and ET_DYN.
    if !matches!(kind, 2 | 3) || !file.has_segments(&header) {
        return Ok(None);
    }
    file.facts(&header).map(Some).ok_or(Unread)
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

struct File<'f> {
    read_at: &'f dyn Fn(u64, &mut [u8]) -> usize,
    wide: bool,
    big: bool,
    names_left: Cell<usize>,
}

/// Where the strings are.
#[derive(Clone, Copy)]
struct Strings {
    offset: u64,
    size: u64,
}

/// What a dynamic section says; texts by where they begin among the strings, tables by where they are in the file.
#[derive(Default)]
struct DynamicEntries {
    strings: Option<u64>,
    strings_size: u64,
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    versions_defined: Option<u64>,
    versions_needed: Option<u64>,
}

/// Reading gives None for what can't be read.
impl File<'_> {
    fn facts(&self, header: &[u8; 64]) -> Option<ElfFacts> {
        let segments = self.segments(header)?;
        let mut facts =
            ElfFacts { class: header[4], machine: self.half(header, 18), ..ElfFacts::default() };
        if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
            let len = usize::try_from(segment.size).unwrap_or(usize::MAX).min(NAME_LEN_MAX);
            facts.interpreter = Some(self.text(segment.offset, len)?);
        }
        if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
            self.dynamic(segment, &segments, &mut facts)?;
        }
        Some(facts)
    }

    /// Where the table of segments is, how large each is, and how many there are.
    fn table(&self, header: &[u8; 64]) -> (u64, u16, u16) {
        if self.wide {
            (self.long(header, 32), self.half(header, 54), self.half(header, 56))
        } else {
            (self.long(header, 28), self.half(header, 42), self.half(header, 44))
        }
    }

    /// Whether there are segments, of the only size that is loaded.
    fn has_segments(&self, header: &[u8; 64]) -> bool {
        let (_, size, count) = self.table(header);
        count > 0 && size == if self.wide { 56 } else { 32 }
    }

    fn half(&self, bytes: &[u8], at: usize) -> u16 {
        let raw = [bytes[at], bytes[at + 1]];
        if self.big { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) }
    }

    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let raw = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        if self.big { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) }
    }

    /// An address or offset: 8 bytes in 64-bit files, else 4.
    fn long(&self, bytes: &[u8], at: usize) -> u64 {
        if !self.wide {
            return u64::from(self.word(bytes, at));
        }
        let (one, two) = (u64::from(self.word(bytes, at)), u64::from(self.word(bytes, at + 4)));
        if self.big { one << 32 | two } else { two << 32 | one }
    }

    fn exactly<const N: usize>(&self, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        ((self.read_at)(offset, &mut bytes) == N).then_some(bytes)
    }

    /// A name of at most `limit` bytes, up to its NUL.
    fn text(&self, offset: u64, limit: usize) -> Option<String> {
        let limit = limit.min(self.names_left.get());
        let mut text = Vec::new();
        while text.len() < limit {
            let mut piece = [0_u8; 128];
            let want = piece.len().min(limit - text.len());
            let len = (self.read_at)(offset.checked_add(text.len() as u64)?, &mut piece[..want]);
            if let Some(end) = piece[..len].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&piece[..end]);
                self.names_left.set(self.names_left.get() - text.len());
                return Some(String::from_utf8_lossy(&text).into_owned());
            }
            if len < want {
                return None;
            }
            text.extend_from_slice(&piece[..len]);
        }
        None
    }

    fn string(&self, strings: Strings, at: u64) -> Option<String> {
        let left = strings.size.checked_sub(at)?;
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(NAME_LEN_MAX);
        self.text(strings.offset.checked_add(at)?, limit)
    }

    fn segments(&self, header: &[u8; 64]) -> Option<Vec<Segment>> {
        let (start, size, count) = self.table(header);
        if count > SEGMENTS_MAX {
            return None;
        }
        let mut segments = Vec::new();
        for number in 0..u64::from(count) {
            let offset = start.checked_add(number * u64::from(size))?;
            segments.push(if self.wide {
                let bytes: [u8; 56] = self.exactly(offset)?;
                Segment {
                    kind: self.word(&bytes, 0),
                    offset: self.long(&bytes, 8),
                    address: self.long(&bytes, 16),
                    size: self.long(&bytes, 32),
                }
            } else {
                let bytes: [u8; 32] = self.exactly(offset)?;
                Segment {
                    kind: self.word(&bytes, 0),
                    offset: self.long(&bytes, 4),
                    address: self.long(&bytes, 8),
                    size: self.long(&bytes, 16),
                }
            });
        }
        Some(segments)
    }

    fn dynamic(&self, dynamic: &Segment, segments: &[Segment], facts: &mut ElfFacts) -> Option<()> {
        let found = self.dynamic_entries(dynamic, segments)?;
        // Without names only what needs nothing can be read.
        let Some(offset) = found.strings else { return found.needed.is_empty().then_some(()) };
        let strings = Strings { offset, size: found.strings_size };
        let text = |at: Option<u64>| match at {
            Some(at) => self.string(strings, at).map(Some),
            None => Some(None),
        };
        facts.soname = text(found.soname)?;
        facts.rpath = text(found.rpath)?;
        facts.runpath = text(found.runpath)?;
        for at in found.needed {
            facts.needed.push(self.string(strings, at)?);
        }
        if let Some(offset) = found.versions_defined {
            facts.versions_defined = self.versions_defined(offset, strings)?;
        }
        if let Some(offset) = found.versions_needed {
            facts.versions_needed = self.versions_needed(offset, strings)?;
        }
        Some(())
    }

    fn dynamic_entries(&self, dynamic: &Segment, segments: &[Segment]) -> Option<DynamicEntries> {
        const DT_NULL: u64 = 0;
        const DT_NEEDED: u64 = 1;
        const DT_STRTAB: u64 = 5;
        const DT_STRSZ: u64 = 10;
        const DT_SONAME: u64 = 14;
        const DT_RPATH: u64 = 15;
        const DT_RUNPATH: u64 = 29;
        const DT_VERDEF: u64 = 0x6fff_fffc;
        const DT_VERNEED: u64 = 0x6fff_fffe;
        let place = |address: u64| {
            let load = segments.iter().find(|segment| {
                segment.kind == PT_LOAD
                    && address.checked_sub(segment.address).is_some_and(|into| into < segment.size)
            })?;
            load.offset.checked_add(address - load.address)
        };
        let mut found = DynamicEntries::default();
        let width: u64 = if self.wide { 16 } else { 8 };
        let count = usize::try_from(dynamic.size / width).unwrap_or(usize::MAX).min(DYNAMIC_MAX);
        for number in 0..count as u64 {
            let offset = dynamic.offset.checked_add(number * width)?;
            let mut bytes = [0_u8; 16];
            let width = width as usize;
            if (self.read_at)(offset, &mut bytes[..width]) < width {
                return None;
            }
            let (tag, value) = (self.long(&bytes, 0), self.long(&bytes, width / 2));
            match tag {
                DT_NULL => return Some(found),
                DT_NEEDED if found.needed.len() < NEEDED_MAX => found.needed.push(value),
                DT_NEEDED => return None,
                DT_STRTAB => found.strings = place(value),
                DT_STRSZ => found.strings_size = value,
                DT_SONAME => found.soname = Some(value),
                DT_RPATH => found.rpath = Some(value),
                DT_RUNPATH => found.runpath = Some(value),
                DT_VERDEF => found.versions_defined = place(value),
                DT_VERNEED => found.versions_needed = place(value),
                _ => {}
            }
        }
        // A section that is cut off at the limit was not read to its end.
        (count < DYNAMIC_MAX).then_some(found)
    }

    fn versions_defined(&self, start: u64, strings: Strings) -> Option<Vec<String>> {
        /// The version that stands for the file itself.
        const BASE: u16 = 1;
        let mut found = Vec::new();
        let mut offset = start;
        for _ in 0..VERSIONS_MAX {
            let entry: [u8; 20] = self.exactly(offset)?;
            let (flags, aux, next) =
                (self.half(&entry, 2), self.word(&entry, 12), self.word(&entry, 16));
            if flags & BASE == 0 {
                let name: [u8; 4] = self.exactly(offset.checked_add(u64::from(aux))?)?;
                found.push(self.string(strings, u64::from(self.word(&name, 0)))?);
            }
            if next == 0 {
                return Some(found);
            }
            offset = offset.checked_add(u64::from(next))?;
        }
        None
    }

    fn versions_needed(&self, start: u64, strings: Strings) -> Option<Vec<(String, Vec<String>)>> {
        const WEAK: u16 = 2;
        let mut found = Vec::new();
        let mut left = VERSIONS_MAX;
        let mut offset = start;
        for _ in 0..NEEDED_MAX {
            let entry: [u8; 16] = self.exactly(offset)?;
            let (file, aux, next) =
                (self.word(&entry, 4), self.word(&entry, 8), self.word(&entry, 12));
            let file = self.string(strings, u64::from(file))?;
            let mut versions = Vec::new();
            let mut at = offset.checked_add(u64::from(aux))?;
            loop {
                left = left.checked_sub(1)?;
                let entry: [u8; 16] = self.exactly(at)?;
                let (flags, name, next) =
                    (self.half(&entry, 4), self.word(&entry, 8), self.word(&entry, 12));
                if flags & WEAK == 0 {
                    versions.push(self.string(strings, u64::from(name))?);
                }
                if next == 0 {
                    break;
                }
                at = at.checked_add(u64::from(next))?;
            }
            found.push((file, versions));
            if next == 0 {
                return Some(found);
            }
            offset = offset.checked_add(u64::from(next))?;
        }
        None
    }
}

#[cfg(test)]
mod tests;
