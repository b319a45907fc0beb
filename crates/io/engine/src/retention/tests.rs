//! What stays of the logs of archived instances.

use std::fs;

use hornero_engine_port::log::{LogFrom, LogPage, LogQuery, LogStream};
use hornero_model::ExitCause;
use hornero_telemetry::{LogSizes, LogWriter};

use super::*;
use crate::record::ExitRecord;

struct Home(tempfile::TempDir);

const DAY: u64 = 24 * 3600 * 1000;

impl Home {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        InstanceDirectory::of(home.path()).create().unwrap();
        Self(home)
    }

    /// An archived instance whose log has `lines` lines, in blocks of ten.
    fn archive(&self, service: &str, number: u64, ended: u64, lines: usize) -> InstanceId {
        let id = self.live(service, number, lines);
        let directory = InstanceDirectory::of(self.0.path());
        let exit = ExitRecord {
            format: crate::record::FORMAT,
            cause: ExitCause::Code(1),
            at: Timestamp(ended),
        };
        directory.live(&id).write_exit(&exit).unwrap();
        directory.archive_instance(&id).unwrap();
        id
    }

    fn live(&self, service: &str, number: u64, lines: usize) -> InstanceId {
        let id = InstanceId::new(format!("{service}-1-{number}")).unwrap();
        let files = InstanceDirectory::of(self.0.path()).live(&id);
        files.create().unwrap();
        let record = crate::record::tests::record(&id, service);
        files.write_record(&record).unwrap();
        // Ten lines, each in a frame of its own.
        let sizes = LogSizes { block_bytes: 10 * 124, segment_bytes: 10_000, log_bytes: 1 << 20 };
        let mut log = LogWriter::with_sizes(&files.logs(), sizes).unwrap();
        for line in 0..lines {
            let digest = hornero_model::Digest::of(&line.to_le_bytes());
            log.take(LogStream::Stdout, format!("{line:27} {digest}\n").as_bytes(), 1).unwrap();
        }
        log.finish(1).unwrap();
        id
    }

    fn trim(&self, limits: LogLimits) -> TrimmedLogs {
        trim_logs(self.0.path(), &limits).unwrap()
    }

    fn page(&self, id: &InstanceId) -> LogPage {
        let files = InstanceDirectory::of(self.0.path()).archived(id);
        let query = LogQuery::all(LogFrom::Start, 1_000);
        hornero_telemetry::read(&files.logs(), &query, true).unwrap()
    }

    fn size(&self, id: &InstanceId) -> u64 {
        let files = InstanceDirectory::of(self.0.path()).archived(id);
        hornero_telemetry::size_bytes(&files.logs()).unwrap()
    }

    fn lines(&self, id: &InstanceId) -> usize {
        self.page(id).lines.len()
    }
}

fn limits(service_bytes: u64, home_bytes: u64) -> LogLimits {
    LogLimits { service_bytes, home_bytes, ..LogLimits::default() }
}

#[test]
fn a_service_keeps_its_newest_lines_and_says_how_much_is_gone() {
    let home = Home::new();
    let now = Timestamp::now().0;
    let old = home.archive("web", 1, now - 3_000, 100);
    let middle = home.archive("web", 2, now - 2_000, 100);
    let new = home.archive("web", 3, now - 1_000, 100);
    let other = home.archive("mail", 4, now - 9_000, 100);
    let each = home.size(&new);
    assert_eq!((home.size(&old), home.size(&other)), (each, each));
    let trimmed = home.trim(limits(each * 29 / 20, 1 << 30));
    assert_eq!((home.lines(&new), home.lines(&other)), (100, 100));
    // A block that was cut through goes whole.
    let kept = home.lines(&middle);
    assert_eq!((kept, home.lines(&old)), (40, 0), "{trimmed:?}");
    let lines = home.page(&middle).lines;
    assert!(lines[0].text.contains(" 60 ") && lines[kept - 1].text.contains(" 99 "));
    assert_eq!(home.page(&middle).dropped_bytes, 6_000);
    assert_eq!(home.page(&old).dropped_bytes, 10_000);
    assert_eq!(home.page(&new).dropped_bytes, 0);
    let kept_bytes = home.size(&middle) + 2 * each;
    assert_eq!(trimmed, TrimmedLogs { bytes: 4 * each - kept_bytes, instances: 2, kept_bytes });
    assert_eq!(home.trim(limits(each * 29 / 20, 1 << 30)).bytes, 0, "nothing is trimmed twice");
}

#[test]
fn a_home_is_bounded_whatever_its_services_are_called() {
    let home = Home::new();
    let now = Timestamp::now().0;
    let ids: Vec<_> =
        (0..10).map(|at| home.archive(&format!("s{at}"), at, now - at * 1_000, 100)).collect();
    let each = home.size(&ids[0]);
    let trimmed = home.trim(limits(1 << 20, 3 * each));
    assert_eq!(trimmed.kept_bytes, 3 * each);
    let lines: Vec<_> = ids.iter().map(|id| home.lines(id)).collect();
    assert_eq!(lines, [100, 100, 100, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn several_segments_go_oldest_first_and_cursors_outlive_them() {
    let home = Home::new();
    let id = home.archive("web", 1, Timestamp::now().0, 350);
    let (cursor, all) = (home.page(&id).lines.len(), home.size(&id));
    assert_eq!(cursor, 350);
    let cursor = {
        let files = InstanceDirectory::of(home.0.path()).archived(&id);
        let query = LogQuery::all(LogFrom::Start, 1);
        hornero_telemetry::read(&files.logs(), &query, true).unwrap().next
    };
    home.trim(limits(all / 2, 1 << 30));
    let half = home.lines(&id);
    assert!((150..=175).contains(&half) && half.is_multiple_of(10), "{half}");
    let files = InstanceDirectory::of(home.0.path()).archived(&id);
    let query = LogQuery::all(LogFrom::Cursor(cursor), 1);
    let page = hornero_telemetry::read(&files.logs(), &query, true).unwrap();
    assert!(page.lines[0].text.contains(&format!(" {} ", 350 - half)), "{page:?}");
    home.trim(limits(all / 35, 1 << 30));
    assert!(home.lines(&id) <= 10);
    home.trim(limits(0, 1 << 30));
    assert_eq!((home.lines(&id), home.page(&id).dropped_bytes), (0, 35_000));
}

#[test]
fn what_runs_or_was_not_removed_is_never_touched() {
    let home = Home::new();
    let id = home.live("web", 1, 350);
    home.trim(limits(0, 0));
    let files = InstanceDirectory::of(home.0.path()).live(&id);
    let query = LogQuery::all(LogFrom::Start, 1_000);
    assert_eq!(hornero_telemetry::read(&files.logs(), &query, false).unwrap().lines.len(), 350);
}

#[test]
fn age_counts_from_the_newest_exit_and_the_last_crashes_stay() {
    let home = Home::new();
    let now = Timestamp::now().0;
    // The host was off for a hundred days.
    let ids: Vec<_> =
        (0..5).map(|at| home.archive("web", at, now - (100 + at) * DAY, 10)).collect();
    assert_eq!(home.trim(LogLimits::default()).bytes, 0);
    // Something ends under a clock that is years ahead: what is old by it goes, but for the newest three.
    let ahead = home.archive("web", 9, now + 3_000 * DAY, 10);
    assert!(home.trim(LogLimits::default()).bytes > 1_000);
    let lines: Vec<_> = ids.iter().chain([&ahead]).map(|id| home.lines(id)).collect();
    assert_eq!(lines, [10, 10, 0, 0, 0, 10]);
}

#[test]
fn records_that_cannot_be_read_do_not_keep_logs_for_ever() {
    let home = Home::new();
    let id = home.archive("web", 1, Timestamp::now().0, 100);
    let directory = home.0.path().join("instances/.archived").join(id.as_str());
    for name in ["spec.json", "exit.json"] {
        fs::write(directory.join(name), [0xff; 10]).unwrap();
    }
    let kept = home.trim(limits(2_000, 1 << 30)).kept_bytes;
    assert!(kept > 500 && kept <= 2_000, "{kept}");
}

#[test]
fn directories_of_the_dead_are_bounded_in_number() {
    let home = Home::new();
    let now = Timestamp::now().0;
    let archive = home.0.path().join("instances/.archived");
    for number in 0..ARCHIVED_MAX as u64 + 5 {
        // Without record and log, as an instance that ended before anything of it was written.
        fs::create_dir(archive.join(format!("web-1-{number}"))).unwrap();
    }
    let id = home.archive("web", 99_999, now, 1);
    home.trim(LogLimits::default());
    assert_eq!(fs::read_dir(&archive).unwrap().count(), ARCHIVED_MAX);
    assert_eq!(home.lines(&id), 1);
}
