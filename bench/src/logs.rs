//! Logs kept in blocks and searched, beside grep over plain files and zstdgrep over compressed ones.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use hornero_engine_port::log::{LogFilter, LogFrom, LogQuery, LogStream};
use hornero_telemetry::{LogSizes, LogWriter};

use crate::{
    process,
    setting::Setting,
    table::{Better, HORNERO, Table},
};

/// Text that is written again and again; blocks are far smaller, so that repeating it makes none of them smaller.
const TEXT_BYTES: usize = 64 << 20;
/// What a pipe holds, and a shim moves at once.
const READ_BYTES: usize = 64 << 10;
const NEEDLE: &str = "needle7f3a9c21";
const PATTERN: &str = "status=50[34] .*upstream=10\\.0\\.[0-9]+\\.77";

pub fn measure(setting: &Setting, megabytes: usize) -> Result<Table> {
    let mut table = Table::new("Logs");
    let directory = setting.scratch.join("logs");
    let (blocks, plain) = (directory.join("blocks"), directory.join("plain"));
    fs::create_dir_all(&blocks)?;
    fs::create_dir_all(&plain)?;
    let text = text();
    let times = (megabytes << 20).div_ceil(text.len()).max(1);
    let bytes = write(&mut table, &blocks, &text, times)?;
    let mut file = File::create(plain.join("log"))?;
    for time in 0..times {
        file.write_all(&text)?;
        if time == times / 2 {
            writeln!(file, "{}", needle_line())?;
        }
    }
    rustix::fs::sync();
    let compressed = plain.join("log.zst");
    let has_zstd = compress(&plain.join("log"), &compressed)?;
    for _ in 0..setting.runs {
        let word = LogFilter { words: vec![NEEDLE.to_owned()], ..LogFilter::default() };
        let regex = LogFilter { pattern: Some(PATTERN.to_owned()), ..LogFilter::default() };
        forget(&directory)?;
        search(&mut table, "a rare word, from disk", &blocks, &word)?;
        search(&mut table, "a rare word, from memory", &blocks, &word)?;
        search(&mut table, "a regular expression over everything", &blocks, &regex)?;
        for (what, pattern) in [
            ("a rare word, from memory", NEEDLE),
            ("a regular expression over everything", PATTERN),
        ] {
            let seconds = grep(Command::new("grep").args(["-rE", pattern]).arg(plain.join("log")))?;
            table.add(what, "ms", Better::Less, "grep -r", seconds * 1_000.0);
            if has_zstd {
                let seconds =
                    grep(Command::new("zstdgrep").args(["-E", pattern]).arg(&compressed))?;
                table.add(what, "ms", Better::Less, "zstdgrep", seconds * 1_000.0);
            }
        }
    }
    table.remark(format!(
        "{} MB of access lines of services, JSON and `key=value`, with random ids, written by one writer on one processor in \
         parts of {READ_BYTES} bytes; one line of them has the rare word. From disk: the page cache was told to forget the \
         files. grep runs in its user's locale and prints what it finds.",
        bytes / 1_000_000
    ));
    process::remove_directory(&directory)?;
    Ok(table)
}

/// Writes everything; gives how many bytes it was.
fn write(table: &mut Table, directory: &Path, text: &[u8], times: usize) -> Result<u64> {
    let sizes = LogSizes { log_bytes: u64::MAX, ..LogSizes::default() };
    let mut writer = LogWriter::with_sizes(directory, sizes)?;
    let (began, mut bytes, mut time_ns) = (Instant::now(), 0_u64, 1_700_000_000_000_000_000);
    for time in 0..times {
        for part in text.chunks(READ_BYTES) {
            writer.take(LogStream::Stdout, part, time_ns)?;
            time_ns += 1_000_000;
            bytes += part.len() as u64;
        }
        if time == times / 2 {
            writer.take(LogStream::Stdout, format!("{}\n", needle_line()).as_bytes(), time_ns)?;
        }
    }
    writer.finish(time_ns)?;
    let seconds = began.elapsed().as_secs_f64();
    table.add("written and sealed", "MB/s", Better::More, HORNERO, bytes as f64 / 1e6 / seconds);
    let stored = hornero_telemetry::size_bytes(directory)?;
    table.add(
        "smaller than the text",
        "times",
        Better::More,
        HORNERO,
        bytes as f64 / stored as f64,
    );
    Ok(bytes)
}

fn search(table: &mut Table, what: &str, directory: &Path, filter: &LogFilter) -> Result<()> {
    let (began, mut from, mut found) = (Instant::now(), LogFrom::Start, 0);
    loop {
        let query = LogQuery { from, lines: usize::MAX, filter: filter.clone() };
        let page = hornero_telemetry::read(directory, &query, true)?;
        found += page.lines.len();
        if page.finished {
            break;
        }
        from = LogFrom::Cursor(page.next);
    }
    ensure!(found > 0, "nothing was found");
    table.add(what, "ms", Better::Less, HORNERO, began.elapsed().as_secs_f64() * 1_000.0);
    Ok(())
}

/// Lets the page cache forget the files.
fn forget(directory: &Path) -> Result<()> {
    rustix::fs::sync();
    for below in fs::read_dir(directory)? {
        for file in fs::read_dir(below?.path())? {
            let file = File::open(file?.path())?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn grep(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let output = command.output().with_context(|| format!("run {command:?}"))?;
    ensure!(!output.stdout.is_empty(), "{command:?} found nothing");
    Ok(began.elapsed().as_secs_f64())
}

/// Whether zstd is there, which zstdgrep comes with.
fn compress(plain: &Path, compressed: &Path) -> Result<bool> {
    let mut command = Command::new("zstd");
    match command.args(["-q", "-1", "-o"]).arg(compressed).arg(plain).status() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        status => Ok(status?.success()),
    }
}

fn needle_line() -> String {
    format!("level=error msg=\"payment refused\" order={NEEDLE} code=4711")
}

/// Lines as services write them, always the same.
fn text() -> Vec<u8> {
    let mut text = Vec::with_capacity(TEXT_BYTES + 1_024);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let paths = ["/", "/api/orders", "/api/users", "/static/app.js", "/health", "/search"];
    let mut line = 0_u64;
    while text.len() < TEXT_BYTES {
        line += 1;
        let (path, took) = (paths[next(6) as usize], next(900));
        let status = [200, 200, 200, 200, 204, 304, 404, 503][next(8) as usize];
        let (second, user, upstream) = (line / 1_000 % 86_400, next(50_000), next(256));
        let written = match line % 3 {
            0 => writeln!(
                text,
                "{{\"time\":\"2026-11-30T{:02}:{:02}:{:02}Z\",\"level\":\"info\",\"msg\":\"request\",\"path\":\"{path}\",\"status\":{status},\"ms\":{took},\"user\":{user}}}",
                second / 3600,
                second / 60 % 60,
                second % 60
            ),
            1 => writeln!(
                text,
                "2026-11-30T{:02}:{:02}:{:02}Z level=info msg=\"request served\" path={path} status={status} took={took}ms upstream=10.0.{}.{upstream}",
                second / 3600,
                second / 60 % 60,
                second % 60,
                next(4)
            ),
            _ => writeln!(
                text,
                "10.1.{}.{} - - [30/Nov/2026:{:02}:{:02}:{:02} +0000] \"GET {path} HTTP/1.1\" {status} {} \"-\" \"Mozilla/5.0 (X11; Linux x86_64)\" id={:08x}",
                next(8),
                next(256),
                second / 3600,
                second / 60 % 60,
                second % 60,
                next(40_000),
                next(u64::MAX) as u32
            ),
        };
        // Memory takes whatever is written.
        debug_assert!(written.is_ok());
    }
    text
}
