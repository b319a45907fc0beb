//! The files of the dashboard, as they are served under `/`.

/// A file of the dashboard.
#[derive(Debug, Clone, Copy)]
pub struct DashboardFile {
    /// Its kind, with the charset of text.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
    /// What tells its content from any other, in double quotes.
    pub etag: &'static str,
}

/// A page that leads to what there is to see.
const FIRST: DashboardFile = DashboardFile {
    content_type: "text/html; charset=utf-8",
    bytes: b"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Hornero</title>\
             <h1>Hornero</h1><p>The API of this home: <a href=\"/v1/status\">what runs</a>, \
             <a href=\"/v1/receipts\">receipts</a>, <a href=\"/v1/openapi.json\">all of it</a>.\n",
    etag: "\"first\"",
};

/// The file at a path, exactly as it is written; none where there is none.
pub fn file(path: &str) -> Option<DashboardFile> {
    (path == "/").then_some(FIRST)
}
