//! The dashboard's files, as they stand in `dashboard/`.

use std::{
    io::Write as _,
    sync::{LazyLock, OnceLock},
};

use flate2::{Compression, write::GzEncoder};

/// A file of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DashboardFile {
    /// Its path, as a browser asks for it.
    pub path: &'static str,
    /// Its kind, with the charset of text.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// What tells its content from any other, in double quotes.
    pub etag: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The tag of a content: FNV-1a of its bytes, in quotes. It keeps versions of a file apart, and nobody out.
const fn tag(bytes: &[u8]) -> [u8; 18] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    let mut tag = [b'"'; 18];
    let mut digit = 0;
    while digit < 16 {
        tag[digit + 1] = DIGITS[(hash >> (60 - 4 * digit)) as usize % 16];
        digit += 1;
    }
    tag
}

macro_rules! files {
    ($($path:literal $content_type:expr),* $(,)?) => {
        &[$({
            const BYTES: &[u8] =
                include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../dashboard/", $path));
            const TAG: [u8; 18] = tag(BYTES);
            let Ok(etag) = std::str::from_utf8(&TAG) else { panic!("digits are ASCII") };
            DashboardFile { path: concat!("/", $path), content_type: $content_type, bytes: BYTES, etag }
        }),*]
    };
}

/// All of them.
pub const FILES: &[DashboardFile] = files![
    "index.html" "text/html; charset=utf-8",
    "app.css" "text/css; charset=utf-8",
    "icon.svg" "image/svg+xml",
    "theme.js" SCRIPT,
    "action.js" SCRIPT,
    "api.js" SCRIPT,
    "app.js" SCRIPT,
    "audit.js" SCRIPT,
    "chain.js" SCRIPT,
    "chart.js" SCRIPT,
    "churn.js" SCRIPT,
    "diff.js" SCRIPT,
    "events.js" SCRIPT,
    "fleet.js" SCRIPT,
    "format.js" SCRIPT,
    "instance.js" SCRIPT,
    "live.js" SCRIPT,
    "log-lines.js" SCRIPT,
    "logs.js" SCRIPT,
    "parts.js" SCRIPT,
    "receipts.js" SCRIPT,
    "rollout.js" SCRIPT,
    "schedules.js" SCRIPT,
    "service.js" SCRIPT,
    "signal.js" SCRIPT,
    "traffic.js" SCRIPT,
    "virtual-list.js" SCRIPT,
    "volumes.js" SCRIPT,
    "worker.js" SCRIPT,
    "vendor/preact-htm.js" SCRIPT,
    "vendor/LICENSE-htm.txt" "text/plain; charset=utf-8",
    "vendor/LICENSE-preact.txt" "text/plain; charset=utf-8",
];

/// Each of them compressed, once somebody wanted it so.
static GZIPPED: LazyLock<Vec<OnceLock<Vec<u8>>>> =
    LazyLock::new(|| FILES.iter().map(|_| OnceLock::new()).collect());

impl DashboardFile {
    /// Its content as gzip; none where that is no smaller.
    pub fn gzipped(&self) -> Option<&'static [u8]> {
        let at = FILES.iter().position(|file| file.path == self.path)?;
        let gzipped = GZIPPED.get(at)?.get_or_init(|| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing to memory does not fail; with nothing made it is sent as it is.
            let written = encoder.write_all(self.bytes).and_then(|()| encoder.finish());
            written.unwrap_or_default()
        });
        (!gzipped.is_empty() && gzipped.len() < self.bytes.len()).then_some(gzipped)
    }
}

/// The file at a path; `/` is the page itself.
pub fn file(path: &str) -> Option<DashboardFile> {
    let path = if path == "/" { "/index.html" } else { path };
    FILES.iter().find(|file| file.path == path).copied()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use hornero_model::Digest;

    use super::*;

    fn directory() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../dashboard")
    }

    fn text(file: &DashboardFile) -> &'static str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn every_file_of_the_directory_is_served_and_no_other() {
        let served: BTreeSet<String> = FILES.iter().map(|file| file.path[1..].to_owned()).collect();
        let mut there = BTreeSet::new();
        for below in ["", "vendor/"] {
            for entry in fs::read_dir(directory().join(below)).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                let ours = [".md", ".d.ts", ".json"].iter().any(|end| name.ends_with(end));
                if entry.file_type().unwrap().is_file() && !ours {
                    there.insert(format!("{below}{name}"));
                }
            }
        }
        assert_eq!(served, there);
        assert_eq!(file("/").unwrap().path, "/index.html");
        for path in ["", "/..", "/../Cargo.toml", "/vendor", "/vendor/", "/vendor/README.md"] {
            assert!(file(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_page_names_every_module_and_has_no_script_or_style_of_its_own() {
        let page = text(&file("/").unwrap());
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            // The worker loads by itself.
            let named = page.contains(&format!("\"{}\"", file.path));
            assert_eq!(named, file.path != "/worker.js", "{}", file.path);
        }
        assert!(!page.contains("style=") && !page.contains("<style") && !page.contains(" on"));
        assert!(page.matches("<script").count() == page.matches("<script ").count());
    }

    #[test]
    fn what_servers_write_is_never_taken_for_a_document() {
        const WAYS: [&str; 8] = [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "srcdoc",
            "dangerously",
        ];
        for file in FILES.iter().filter(|file| !file.path.starts_with("/vendor/")) {
            for way in WAYS {
                assert!(!text(file).contains(way), "{} has {way}", file.path);
            }
        }
    }

    #[test]
    fn buttons_are_there_for_those_who_may_press_them() {
        let script = text(&file("/action.js").unwrap());
        let table = script.split_once("const NEEDS = {\n").unwrap().1.split_once("};").unwrap().0;
        for line in table.lines() {
            let (operation, role) = line.trim().trim_end_matches(',').split_once(": ").unwrap();
            let endpoint = hornero_api::ENDPOINTS.iter().find(|of| of.id.operation() == operation);
            let endpoint = endpoint.unwrap_or_else(|| panic!("no endpoint `{operation}`"));
            assert_eq!(role.trim_matches('"'), endpoint.role.to_string(), "{operation}");
        }
        // And every button is of an operation in the table.
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            for named in text(file).split("operation=\"").skip(1) {
                let operation = named.split('"').next().unwrap();
                let is_known = table.contains(&format!("  {operation}: "));
                assert!(is_known, "{}: {operation}", file.path);
            }
        }
    }

    #[test]
    fn what_others_wrote_is_as_they_wrote_it() {
        let vendored = file("/vendor/preact-htm.js").unwrap();
        let readme = fs::read_to_string(directory().join("vendor/README.md")).unwrap();
        let tags: BTreeSet<&str> = FILES.iter().map(|file| file.etag).collect();
        assert_eq!(tags.len(), FILES.len());
        assert!(
            tags.iter().all(|tag| tag.len() == 18 && tag.starts_with('"') && tag.ends_with('"'))
        );
        let digest = Digest::of(vendored.bytes).to_string();
        assert!(readme.contains(digest.trim_start_matches("sha256:")), "{digest}");
    }
}
