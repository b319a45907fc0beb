//! Sections added to a program for UEFI (Microsoft's PE specification): how a boot stub gets its kernel.

const SECTION_LEN: usize = 40;
const NAME_LEN: usize = 8;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`.
const READ_ONLY_DATA: u32 = 0x4000_0040;
/// Sections are loaded at pages, whatever the stub's own alignment.
const PAGE_LEN: u32 = 4096;
/// Real stubs have about ten.
const SECTIONS_MAX: usize = 64;

/// Where a program's headers have what more sections change.
struct Headers {
    /// Of the signature.
    start: usize,
    /// Of the optional header.
    optional: usize,
    /// Of the table of sections.
    table: usize,
    /// Sections that are there.
    count: usize,
    file_alignment: u32,
    /// The first address after the last section.
    end: u32,
}

impl Headers {
    /// Reads them, and sees that `more` sections have room.
    fn read(program: &[u8], more: usize) -> Result<Self, &'static str> {
        let cut = "it is cut short";
        let word = |at: usize| -> Result<u32, &'static str> {
            let bytes = program.get(at..at + 4).ok_or(cut)?;
            Ok(u32::from_le_bytes(bytes.try_into().expect("the slice has four bytes")))
        };
        let half = |at: usize| -> Result<usize, &'static str> {
            let bytes = program.get(at..at + 2).ok_or(cut)?;
            Ok(usize::from(u16::from_le_bytes(bytes.try_into().expect("the slice has two bytes"))))
        };
        let start = word(0x3c)? as usize;
        if !program.starts_with(b"MZ")
            || program.get(start..start.saturating_add(4)) != Some(b"PE\0\0")
        {
            return Err("it is no program for UEFI");
        }
        let count = half(start + 6)?;
        let optional = start + 24;
        let table = optional + half(start + 20)?;
        if half(optional)? != 0x20b || count > SECTIONS_MAX {
            return Err("it is no 64-bit program for UEFI");
        }
        let file_alignment = word(optional + 36)?;
        let headers_len = word(optional + 60)? as usize;
        if !file_alignment.is_power_of_two() || file_alignment > 1 << 16 {
            return Err("its alignment is out of range");
        }
        if table + (count + more) * SECTION_LEN > headers_len || headers_len > program.len() {
            return Err("its headers have no room for more sections");
        }
        let mut end = 0;
        for index in 0..count {
            let at = table + index * SECTION_LEN;
            end = end.max(word(at + 12)?.checked_add(word(at + 8)?).ok_or(cut)?);
        }
        Ok(Self { start, optional, table, count, file_alignment, end })
    }
}

/// `program` with one more section for each name and contents.
pub(super) fn with_sections(
    program: &[u8],
    sections: &[(&str, &[u8])],
) -> Result<Vec<u8>, &'static str> {
    let Headers { start: header, optional, table, count, file_alignment, end: mut address } =
        Headers::read(program, sections.len())?;
    let too_large = "with its sections it is larger than 4 GiB";
    let mut bytes = program.to_vec();
    for (index, (name, contents)) in sections.iter().enumerate() {
        bytes.resize(bytes.len().next_multiple_of(file_alignment as usize), 0);
        let len = u32::try_from(contents.len()).map_err(|_| too_large)?;
        let stored = len.checked_next_multiple_of(file_alignment).ok_or(too_large)?;
        address = address.checked_next_multiple_of(PAGE_LEN).ok_or(too_large)?;
        let start = u32::try_from(bytes.len()).map_err(|_| too_large)?;
        let mut record = [0; SECTION_LEN];
        assert!(name.len() <= NAME_LEN, "the names are ours");
        record[..name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in
            [(8, len), (12, address), (16, stored), (20, start), (36, READ_ONLY_DATA)]
        {
            record[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        let at = table + (count + index) * SECTION_LEN;
        bytes[at..at + SECTION_LEN].copy_from_slice(&record);
        bytes.extend_from_slice(contents);
        address = address.checked_add(len).ok_or(too_large)?;
    }
    bytes.resize(bytes.len().next_multiple_of(file_alignment as usize), 0);
    let image_len = address.checked_next_multiple_of(PAGE_LEN).ok_or(too_large)?;
    bytes[header + 6..header + 8].copy_from_slice(&((count + sections.len()) as u16).to_le_bytes());
    bytes[optional + 56..optional + 60].copy_from_slice(&image_len.to_le_bytes());
    // The checksum is of what the program was; firmware does not look at it.
    bytes[optional + 64..optional + 68].fill(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers as a linker writes them, with one section.
    fn program() -> Vec<u8> {
        let mut bytes = vec![0; 0x600];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, b"MZ");
        put(0x3c, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x86, &1_u16.to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x98, &0x20b_u16.to_le_bytes());
        put(0x98 + 36, &0x200_u32.to_le_bytes());
        put(0x98 + 60, &0x400_u32.to_le_bytes());
        put(0x98 + 64, &77_u32.to_le_bytes());
        put(0x188, b".text");
        put(0x188 + 8, &0x123_u32.to_le_bytes());
        put(0x188 + 12, &0x4000_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn sections_follow_in_file_and_memory() {
        let with =
            with_sections(&program(), &[(".one", b"hello"), (".two", &[7; 0x1001])]).unwrap();
        let word = |at: usize| u32::from_le_bytes(with[at..at + 4].try_into().unwrap());
        let second = 0x188 + 2 * SECTION_LEN;
        assert_eq!(&with[second..second + 4], b".two");
        assert_eq!([word(second + 8), word(second + 12)], [0x1001, 0x6000]);
        assert_eq!(with[word(second + 20) as usize..][..0x1001], [7; 0x1001]);
        assert_eq!(&with[word(second - SECTION_LEN + 20) as usize..][..5], b"hello");
        assert_eq!([with[0x86], word(0x98 + 56) as u8, word(0x98 + 64) as u8], [3, 0, 0]);
        assert_eq!(word(0x98 + 56), 0x8000);
        assert_eq!(with.len() % 0x200, 0);
    }

    #[test]
    fn what_is_broken_is_refused() {
        let good = program();
        for len in [0, 1, 0x3d, 0x81, 0x99, 0x190] {
            assert!(with_sections(&good[..len], &[(".one", b"x")]).is_err(), "{len}");
        }
        let mut far = good.clone();
        far[0x3c..0x40].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(with_sections(&far, &[]).is_err());
        assert!(with_sections(&good, &[(".x", b"".as_slice()); 20]).is_err(), "no room");
    }
}
