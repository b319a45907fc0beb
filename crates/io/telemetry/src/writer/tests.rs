//! What a writer leaves behind, whenever it is killed.

use std::io::Write as _;

use hornero_engine_port::log::{LogFrom, LogPage, LogQuery};
use proptest::prelude::*;

use super::*;
use crate::{read, size_bytes, trim};

const SMALL: LogSizes = LogSizes { block_bytes: 300, segment_bytes: 900, log_bytes: 1 << 20 };

fn page(directory: &Path, from: LogFrom, lines: usize, ended: bool) -> LogPage {
    read(directory, &LogQuery::all(from, lines), ended).unwrap()
}

fn texts(page: &LogPage) -> Vec<String> {
    page.lines.iter().map(|line| line.text.clone()).collect()
}

fn copied(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

#[test]
fn what_was_written_is_there_before_its_line_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    writer.take(LogStream::Stdout, b"one\npass", 1_500_000_001).unwrap();
    writer.take(LogStream::Stderr, b"\xff\x00\n", 1_500_000_002).unwrap();
    let live = page(directory.path(), LogFrom::Start, 10, false);
    assert_eq!(texts(&live), ["one", "\u{fffd}\0"]);
    assert_eq!(live.lines[1].bytes.as_deref(), Some(&b"\xff\x00"[..]));
    assert_eq!((live.lines[0].time.0, live.lines[0].nanos), (1_500, 1));
    // Killed: the rest of the line is all there will be.
    drop(writer);
    assert_eq!(texts(&page(directory.path(), LogFrom::Tail, 1, true)), ["pass"]);
    let mut writer = LogWriter::open(directory.path()).unwrap();
    writer.take(LogStream::Stdout, b"word: \n", 3).unwrap();
    writer.finish(4).unwrap();
    let rest = page(directory.path(), LogFrom::Cursor(live.next), 10, true);
    assert_eq!(texts(&rest), ["password: "]);
}

#[test]
fn a_pipe_is_moved_into_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
    let (out, mut to) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&out, true).unwrap();
    let mut expected = Vec::new();
    for number in 0..200 {
        let text = format!("line {number} of those in the pipe");
        writeln!(to, "{text}").unwrap();
        expected.push(text);
        if number % 7 == 0 {
            use std::os::fd::AsFd as _;
            assert!(writer.take_from(LogStream::Stdout, out.as_fd(), number).unwrap() > 20);
            let empty = writer.take_from(LogStream::Stdout, out.as_fd(), number).unwrap_err();
            assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        }
    }
    drop(to);
    use std::os::fd::AsFd as _;
    while writer.take_from(LogStream::Stdout, out.as_fd(), 300).unwrap() > 0 {}
    writer.finish(300).unwrap();
    assert_eq!(texts(&page(directory.path(), LogFrom::Start, 1_000, true)), expected);
}

#[test]
fn what_was_lost_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    writer.take(LogStream::Stdout, b"before\n", 1).unwrap();
    writer.lose(4_711);
    writer.take(LogStream::Stdout, b"after\n", 2).unwrap();
    let all = page(directory.path(), LogFrom::Start, 10, false);
    assert_eq!(all.lines[1].stream, LogStream::Hornero);
    assert!(all.lines[1].text.contains("lost_bytes=4711"), "{all:?}");
    assert_eq!(all.lines[2].text, "after");
}

#[test]
fn a_log_never_outgrows_its_bound_and_cursors_outlive_what_was_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = LogSizes { log_bytes: 5_000, ..SMALL };
    let mut writer = LogWriter::with_sizes(directory.path(), sizes).unwrap();
    let first = page(directory.path(), LogFrom::Start, 10, false).next;
    for number in 0..2_000_u64 {
        let text = format!("line {number} {:x}\n", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        writer.take(LogStream::Stdout, text.as_bytes(), number).unwrap();
        assert!(size_bytes(directory.path()).unwrap() < 8_000);
    }
    let kept = page(directory.path(), LogFrom::Cursor(first), 1_000, false);
    assert!(texts(&kept).last().unwrap().starts_with("line 1999 "));
    assert!((20..300).contains(&kept.lines.len()), "{}", kept.lines.len());
    assert!(kept.dropped_bytes > 10_000);
    assert_eq!(
        page(directory.path(), LogFrom::Tail, 40, false).lines,
        kept.lines[kept.lines.len() - 40..]
    );
    writer.finish(1).unwrap();
    trim(directory.path(), 2_000).unwrap();
    let trimmed = page(directory.path(), LogFrom::Start, 1_000, true);
    assert!(trimmed.lines.len() < kept.lines.len() && !trimmed.lines.is_empty());
    assert_eq!(trimmed.lines[..], kept.lines[kept.lines.len() - trimmed.lines.len()..]);
    assert!(size_bytes(directory.path()).unwrap() <= 2_000);
    trim(directory.path(), 0).unwrap();
    let gone = page(directory.path(), LogFrom::Start, 10, true);
    assert_eq!((gone.lines.len(), gone.dropped_bytes), (0, kept.next.0));
    assert_eq!(size_bytes(directory.path()).unwrap(), 0);
}

#[test]
fn frames_that_were_never_sealed_are_trimmed_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::open(directory.path()).unwrap();
    writer.take(LogStream::Stdout, b"one\ntwo\nthr", 1).unwrap();
    drop(writer);
    trim(directory.path(), 1_000).unwrap();
    assert_eq!(page(directory.path(), LogFrom::Start, 10, true).lines.len(), 3);
    trim(directory.path(), 10).unwrap();
    let gone = page(directory.path(), LogFrom::Start, 10, true);
    assert_eq!((gone.lines.len(), gone.dropped_bytes), (0, 11));
}

/// Steps of a seal at which a writer may be killed.
fn kill_in_seal(directory: &Path, step: usize, block_torn: usize, before: &Path, last: &Frame<'_>) {
    let files = LogFiles::list(directory).unwrap();
    let (start, path) = files.frames.last().unwrap();
    let old = LogFiles::list(before).unwrap().frames.pop().unwrap();
    if old.0 == *start {
        return;
    }
    let name = old.1.file_name().unwrap();
    // The frame that filled it was written first.
    let mut frame = Vec::new();
    last.append_to(&mut frame);
    fs::OpenOptions::new().append(true).open(&old.1).unwrap().write_all(&frame).unwrap();
    match step % 3 {
        // The new frames are there, the old ones not removed.
        0 => drop(fs::copy(&old.1, directory.join(name)).unwrap()),
        // The block is there, its frames as before.
        1 => {
            fs::remove_file(path).unwrap();
            fs::copy(&old.1, directory.join(name)).unwrap();
        }
        // A part of the block.
        _ => {
            fs::remove_file(path).unwrap();
            fs::copy(&old.1, directory.join(name)).unwrap();
            let (_, blocks) = files.blocks.last().unwrap();
            let earlier = before.join(blocks.file_name().unwrap());
            let whole = fs::metadata(earlier).map_or(0, |it| it.size());
            let file = fs::OpenOptions::new().write(true).open(blocks).unwrap();
            let length = file.metadata().unwrap().size();
            file.set_len(whole + block_torn as u64 % (length - whole)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    /// A writer killed at any byte of any file, and a next one: nothing that was whole is lost, doubled or torn.
    #[test]
    fn a_killed_writer_loses_nothing(
        parts in prop::collection::vec((0..2_u8, "[a-z ]{1,90}"), 1..40),
        kill_at in any::<prop::sample::Index>(),
        step in 0..4_usize,
        cut in 0..2_000_usize,
        between in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let kill_at = kill_at.index(parts.len());
        let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
        let mut written: [String; 2] = Default::default();
        let take = |writer: &mut LogWriter, (stream, text): &(u8, String), at: usize| {
            let stream = [LogStream::Stdout, LogStream::Stderr][usize::from(*stream)];
            let text = text.replace('z', "\n");
            writer.take(stream, text.as_bytes(), at as u64).unwrap();
        };
        let mut cursor = page(directory.path(), LogFrom::Start, 0, false).next;
        let mut seen = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let before = if at == kill_at { copied(directory.path()) } else { tempfile::tempdir().unwrap() };
            take(&mut writer, part, at);
            if at == kill_at {
                drop(writer);
                let stream = [LogStream::Stdout, LogStream::Stderr][usize::from(part.0)];
                let text = part.1.replace('z', "\n");
                let last = Frame { time_ns: at as u64, stream, continues: false, bytes: text.as_bytes() };
                kill_in_seal(directory.path(), step, cut, before.path(), &last);
                if step == 3 {
                    // The last frame is torn: what was not acknowledged is written again.
                    let (_, frames) = LogFiles::list(directory.path()).unwrap().frames.pop().unwrap();
                    fs::OpenOptions::new().append(true).open(frames).unwrap().write_all(&[7; 20]).unwrap();
                }
                writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
            }
            written[usize::from(part.0)].push_str(&part.1.replace('z', "\n"));
            if at == between.index(parts.len()) {
                let page = page(directory.path(), LogFrom::Cursor(cursor), 1_000, false);
                cursor = page.next;
                seen.extend(page.lines);
            }
        }
        seen.extend(page(directory.path(), LogFrom::Cursor(cursor), 1_000, true).lines);
        writer.finish(9).unwrap();
        let all = page(directory.path(), LogFrom::Start, 1_000, true);
        for (stream, text) in [LogStream::Stdout, LogStream::Stderr].into_iter().zip(&written) {
            let mut expected: Vec<&str> = text.split('\n').collect();
            expected.pop_if(|last| last.is_empty());
            for lines in [&seen, &all.lines] {
                let read: Vec<&str> = lines.iter().filter(|it| it.stream == stream).map(|it| it.text.as_str()).collect();
                prop_assert_eq!(&read, &expected);
            }
        }
        let tail = page(directory.path(), LogFrom::Tail, 3, true);
        prop_assert_eq!(&tail.lines[..], &all.lines[all.lines.len().saturating_sub(3)..]);
        prop_assert_eq!(tail.next, all.next);
        prop_assert!(all.finished);
    }
}
