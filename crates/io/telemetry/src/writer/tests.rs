//! What a writer leaves behind, whenever it is killed.

use std::io::Write as _;

use hornero_engine_port::log::{LogCursor, LogFrom, LogPage, LogQuery};
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

/// Lines of a block of [`SMALL`], where each has twenty bytes and a frame of its own.
const FULL: u64 = 7;

/// Writes lines of twenty bytes up to this one.
fn write_to(writer: &mut LogWriter, next: &mut u64, end: u64) {
    for number in *next..end {
        let text = format!("line {number:014}\n");
        writer.take(LogStream::Stdout, text.as_bytes(), number).unwrap();
    }
    *next = end;
}

/// Each line once, forwards and backwards, and behind some of them.
fn check_lines(directory: &Path, count: u64) {
    let expected: Vec<String> = (0..count).map(|number| format!("line {number:014}")).collect();
    assert_eq!(texts(&page(directory, LogFrom::Start, 1_000, true)), expected);
    assert_eq!(texts(&page(directory, LogFrom::Tail, 1_000, true)), expected);
    let cursor = LogFrom::Cursor(LogCursor(20 * 5));
    assert_eq!(texts(&page(directory, cursor, 1_000, true)), expected[5..]);
}

/// In the way of the frames that begin behind so many lines.
fn barrier(directory: &Path, lines: u64) -> PathBuf {
    let barrier = directory.join(format!(".{:020}.new", 20 * lines));
    fs::create_dir(&barrier).unwrap();
    barrier
}

#[test]
fn a_block_whose_frames_could_not_be_replaced_is_sealed_once() {
    for killed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
        let (mut next, barrier) = (0, barrier(directory.path(), FULL));
        write_to(&mut writer, &mut next, FULL);
        let files = LogFiles::list(directory.path()).unwrap();
        assert_eq!((files.blocks.len(), files.frames[0].0), (1, 0), "a block, and no new frames");
        write_to(&mut writer, &mut next, FULL + 4);
        check_lines(directory.path(), FULL + 4);
        fs::remove_dir(barrier).unwrap();
        if killed {
            writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
            check_lines(directory.path(), FULL + 4);
        }
        write_to(&mut writer, &mut next, 60);
        check_lines(directory.path(), 60);
        writer.finish(99).unwrap();
        check_lines(directory.path(), 60);
    }
}

#[test]
fn a_last_line_that_was_sealed_before_its_frames_were_replaced_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
    let mut next = 0;
    write_to(&mut writer, &mut next, 3);
    // Without its line feed it is as long as two lines.
    writer.take(LogStream::Stdout, &[b'x'; 40], 3).unwrap();
    let barrier = barrier(directory.path(), 5);
    writer.finish(4).unwrap_err();
    fs::remove_dir(barrier).unwrap();
    for _ in 0..2 {
        let told = page(directory.path(), LogFrom::Start, 10, true);
        assert_eq!((told.lines.len(), told.next.0), (4, 100), "{told:?}");
        writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
        writer.finish(5).unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_dropped_harms_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let sizes = LogSizes { log_bytes: 1, ..SMALL };
    let mut writer = LogWriter::with_sizes(directory.path(), sizes).unwrap();
    // The oldest, and no file.
    let barrier = directory.path().join("0.blocks");
    fs::create_dir(&barrier).unwrap();
    let mut next = 0;
    write_to(&mut writer, &mut next, FULL + 2);
    fs::remove_dir(barrier).unwrap();
    check_lines(directory.path(), FULL + 2);
    let files = LogFiles::list(directory.path()).unwrap();
    assert_eq!(files.frames.last().unwrap().0, 20 * FULL);
}

#[test]
fn short_lines_are_sealed_by_what_their_frames_take() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
    for number in 0..100 {
        writer.take(LogStream::Stdout, b"\n", number).unwrap();
        let frames = LogFiles::list(directory.path()).unwrap().frames.pop().unwrap();
        assert!(fs::metadata(frames.1).unwrap().size() < 400);
    }
    assert_eq!(page(directory.path(), LogFrom::Start, 1_000, false).lines.len(), 100);
}

#[test]
fn what_has_left_the_pipe_is_no_error_and_blocks_are_tried_again() {
    use std::os::fd::AsFd as _;
    const SECOND: u64 = 1_000_000_000;
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LogWriter::with_sizes(directory.path(), SMALL).unwrap();
    let (out, mut to) = std::io::pipe().unwrap();
    // In the way of the first block.
    let barrier = blocks_path(directory.path(), 0);
    fs::create_dir(&barrier).unwrap();
    let line = [&[b'x'; 9_999][..], b"\n"].concat();
    let mut written = 0;
    let refused = loop {
        to.write_all(&line).unwrap();
        match writer.take_from(LogStream::Stdout, out.as_fd(), SECOND) {
            Ok(moved) => assert_eq!(moved, line.len()),
            Err(error) => break error,
        }
        written += 1;
        assert!(written < 200, "it is bounded");
    };
    assert!(written > 100, "{written}: {refused}");
    writer.take(LogStream::Stdout, b"lost\n", SECOND).unwrap_err();
    fs::remove_dir(&barrier).unwrap();
    assert!(writer.take_from(LogStream::Stdout, out.as_fd(), SECOND).is_err(), "not at once");
    assert_eq!(writer.take_from(LogStream::Stdout, out.as_fd(), 3 * SECOND).unwrap(), line.len());
    writer.finish(3 * SECOND).unwrap();
    let told = page(directory.path(), LogFrom::Start, 1_000, true);
    assert_eq!(told.lines.len(), written + 2);
    assert!(told.lines[written].text.contains("lost_bytes=5"), "{:?}", told.lines[written]);
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
