//! Real programs, damaged ones, and any bytes at all.

use proptest::prelude::*;

use super::*;

fn read_bytes(bytes: &[u8]) -> Result<Option<ElfFacts>, Unread> {
    read(&|offset, into| {
        let rest = usize::try_from(offset).ok().and_then(|at| bytes.get(at..));
        let rest = rest.unwrap_or_default();
        let len = rest.len().min(into.len());
        into[..len].copy_from_slice(&rest[..len]);
        len
    })
}

#[allow(clippy::disallowed_methods, reason = "a real program is read")]
fn this_program() -> Vec<u8> {
    std::fs::read("/proc/self/exe").unwrap()
}

#[test]
fn reads_what_a_real_program_needs() {
    let facts = read_bytes(&this_program()).unwrap().unwrap();
    assert!(facts.needed.iter().any(|name| name == "libc.so.6"), "{facts:?}");
    let (_, versions) = facts.versions_needed.iter().find(|(file, _)| file == "libc.so.6").unwrap();
    assert!(versions.iter().any(|version| version.starts_with("GLIBC_2.")), "{versions:?}");
    assert!(facts.interpreter.unwrap().contains("/ld-"));
}

#[test]
fn other_files_are_none() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0; 4096]] {
        assert_eq!(read_bytes(bytes), Ok(None));
    }
}

#[test]
fn a_damaged_program_is_told_from_no_program() {
    let library = small_library();
    let with = |at: usize, value: &[u8]| {
        let mut bytes = library.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        read_bytes(&bytes)
    };
    // The table of segments, the dynamic section, and the strings lie outside of the file.
    for at in [32, 120 + 8, 400 + 16 + 8] {
        assert_eq!(with(at, &u64::MAX.to_le_bytes()), Err(Unread), "{at}");
    }
    // More segments than are read.
    assert_eq!(with(56, &u16::MAX.to_le_bytes()), Err(Unread));
    assert_eq!(read_bytes(&library[..300]), Err(Unread));
    // An object file, a program without segments, and a header that is cut off are loaded by nobody.
    assert_eq!(with(16, &1_u16.to_le_bytes()), Ok(None));
    assert_eq!(with(56, &0_u16.to_le_bytes()), Ok(None));
    assert_eq!(read_bytes(&library[..60]), Ok(None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_changed_file_panics(
        changes in proptest::collection::vec((0..6000_usize, any::<u8>()), 1..12),
        cut in 0..6000_usize,
    ) {
        // The headers of a real program, with its dynamic section right behind them.
        let mut bytes = small_library();
        for (at, value) in changes {
            let len = bytes.len();
            bytes[at % len] = value;
        }
        let _ = read_bytes(&bytes);
        let cut = cut.min(bytes.len());
        let _ = read_bytes(&bytes[..cut]);
    }

    #[test]
    fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..400), wide in any::<bool>()) {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1];
        bytes.extend_from_slice(&tail);
        let _ = read_bytes(&bytes);
    }
}

/// A library of one segment that needs version `W` of `libw.so` and defines version `V`.
fn small_library() -> Vec<u8> {
    let strings = b"\0libw.so\0W\0V\0libv.so\0/opt/$ORIGIN\0";
    let (text, verdef, verneed, dynamic) = (64 + 2 * 56, 232, 300, 400);
    let mut bytes = vec![0_u8; 640];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &3_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &2_u16.to_le_bytes());
    put(64, &PT_LOAD.to_le_bytes());
    put(64 + 32, &640_u64.to_le_bytes());
    put(120, &PT_DYNAMIC.to_le_bytes());
    put(120 + 8, &(dynamic as u64).to_le_bytes());
    put(120 + 32, &160_u64.to_le_bytes());
    put(text, strings);
    // Verdef: two entries, the first for the file itself.
    put(verdef, &[1, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0, 0, 28, 0, 0, 0, 13, 0, 0, 0]);
    put(verdef + 28, &[1, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0]);
    put(verneed, &[1, 0, 1, 0, 1, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0]);
    put(verneed + 16, &[0, 0, 0, 0, 0, 0, 2, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    let entries: [(u64, u64); 8] = [
        (1, 1),
        (5, text as u64),
        (10, strings.len() as u64),
        (14, 13),
        (29, 21),
        (0x6fff_fffc, verdef as u64),
        (0x6fff_fffe, verneed as u64),
        (0, 0),
    ];
    for (number, (tag, value)) in entries.into_iter().enumerate() {
        put(dynamic + number * 16, &tag.to_le_bytes());
        put(dynamic + number * 16 + 8, &value.to_le_bytes());
    }
    bytes
}

#[test]
fn reads_versions_and_search_paths() {
    let facts = read_bytes(&small_library()).unwrap().unwrap();
    assert_eq!(facts.needed, ["libw.so"]);
    assert_eq!(facts.soname.as_deref(), Some("libv.so"));
    assert_eq!(facts.runpath.as_deref(), Some("/opt/$ORIGIN"));
    assert_eq!(facts.versions_defined, ["V"]);
    assert_eq!(facts.versions_needed, [("libw.so".to_owned(), vec!["W".to_owned()])]);
}
