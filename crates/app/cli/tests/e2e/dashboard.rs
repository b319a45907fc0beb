//! The dashboard in Chromium: a canary as it happens, through a death of control; hostile logs; what axe finds; its types.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::OnceLock,
    time::Duration,
};

use hornero_load::{Mode, Workers};
use hornero_python::Python;
use serde_json::{Value, json};

use crate::{
    home::{Home, signal},
    site::{NGINX_CONF, Site},
    traffic::Traffic,
};

/// A canary that only a person ends.
const CANARY: &str = r#"strategy     = "canary"
    steps        = ["20%", "60%"]
    step_timeout = "1h""#;
/// Bytes of the whole page, compressed, that a slow line still brings in a second.
const PAGE_BYTES_MAX: u64 = 60_000;
/// The views, where a site has had a canary.
const VIEWS: &[&str] = &[
    "fleet",
    "service/site",
    "rollout/site",
    "diff/site?from=1&to=2",
    "logs/site",
    "receipts",
    "audit",
    "schedules",
    "churn",
    "volumes",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/dashboard")
}

fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    PYTHON.get_or_init(|| Python::with(&directory().join("requirements.txt"), scratch))
}

/// Chromium with one page.
struct Browser {
    child: Child,
    wishes: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    /// A browser that was let in by a link of the home.
    #[track_caller]
    fn of(home: &Home, role: &str) -> Self {
        let mut command = python().script(&directory().join("browser.py"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let wishes = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut browser = Self { child, wishes, answers };
        let link = home.run(&["dashboard", "--role", role, "--json"]).expect(0).json();
        let opened = browser.asks(json!({ "do": "open", "url": link["url"] }));
        assert_eq!(opened["status"], 200, "{opened}");
        assert!(!opened["url"].as_str().unwrap().contains("code="), "{opened}");
        browser
    }

    /// Has it do something; its answer.
    #[track_caller]
    fn asks(&mut self, wish: Value) -> Value {
        writeln!(self.wishes, "{wish}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{wish}: {error}: {line}"));
        assert!(
            answer["fault"].is_null(),
            "{wish}: {}",
            answer["fault"].as_str().unwrap_or_default()
        );
        answer["value"].take()
    }

    #[track_caller]
    fn view(&mut self, name: &str) {
        self.asks(json!({ "do": "view", "name": name }));
    }

    #[track_caller]
    fn wait(&mut self, text: &str) {
        self.asks(json!({ "do": "wait", "until": text }));
    }

    #[track_caller]
    fn wait_for(&mut self, expression: &str) {
        self.asks(json!({ "do": "wait_for", "expression": expression }));
    }

    #[track_caller]
    fn value(&mut self, expression: &str) -> Value {
        self.asks(json!({ "do": "evaluate", "expression": expression }))
    }

    #[track_caller]
    fn press(&mut self, button: &str, within: &str) {
        self.asks(json!({ "do": "press", "button": button, "within": within }));
    }

    /// Ends it; nothing in the page may have failed by itself.
    #[track_caller]
    fn end(mut self) {
        let faults = self.asks(json!({ "do": "end" }));
        assert_eq!(faults, json!([]));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home whose rollout waits for people: none may be under way where it is taken down.
struct Waiting(Home);

impl std::ops::Deref for Waiting {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Refused where nothing is.
        self.0.run(&["cancel", "site", "--reason", "the test is over"]);
    }
}

/// A home with a site that gets requests.
fn waiting() -> (Waiting, Traffic) {
    let home = Waiting(Home::new());
    Site::default().write(&home, "one");
    home.up();
    let workers = Workers::new(Mode::KeepAlive, 2, "/").every(Duration::from_millis(10));
    let traffic = Traffic::of(home.port, vec![workers]);
    (home, traffic)
}

#[test]
fn a_canary_is_seen_and_promoted_though_control_is_killed() {
    let (home, traffic) = waiting();
    let mut browser = Browser::of(&home, "operator");
    browser.wait("2 of 2");
    // A page that is loaded again forgets this.
    browser.value("window.opened = true");
    browser.value(
        "new MutationObserver(() => { const row = document.querySelector('.events tbody tr'); if (!row) return; \
         window.lags ??= new Map(); const number = row.querySelector('th').innerText; \
         if (!window.lags.has(number)) window.lags.set(number, Date.now() - Date.parse(row.querySelector('time').dateTime)); \
         }).observe(document.body, { subtree: true, childList: true })",
    );
    Site { rollout: CANARY, ..Site::default() }.write(&home, "two");
    browser.view("rollout/site");
    let up = home.spawn(&["up"]);
    browser.wait("Step 1 of 2: release 2 gets 20% of the requests.");
    // It waits for people alone.
    browser.press("Pause", "main");
    browser.press("Pause", "dialog");
    browser.wait("Done.");
    browser.press("Close", "dialog");
    browser.wait("Paused by dashboard:root");
    browser.wait_for(
        "(rows => rows.length === 2 && rows.every(row => Number(row.children[1].innerText) > 0))\
         ([...document.querySelectorAll('[aria-labelledby=traffic] tbody tr')])",
    );
    drop(up);

    browser.view("audit");
    browser.wait("rollout 2 of site: canary");
    browser.value("window.before = Number(document.querySelector('.events tbody th').innerText)");
    let control = home.control_pid();
    signal(control, "KILL");
    browser.wait_for("document.querySelector('.connection').innerText.startsWith('lost')");
    home.run(&["rollout", "resume", "nobody"]).expect(5);
    browser.wait_for("document.querySelector('.connection').innerText === 'live'");
    browser.view("rollout/site");
    browser.press("Promote", "main");
    browser.asks(json!({ "do": "fill", "label": "Reason", "text": "it looks <b>well</b>" }));
    browser.press("Promote", "dialog");
    browser.wait("Done.");
    browser.press("Close", "dialog");
    browser.wait("it looks <b>well</b>");
    browser.wait("Step 2 of 2: release 2 gets 60% of the requests.");
    home.run(&["rollout", "pause", "site", "--reason", "all of it was seen"]).expect(0);

    browser.view("audit");
    browser.press("Verify here", "main");
    browser.wait("intact");
    let rows =
        "[...document.querySelectorAll('.events tbody th')].map(cell => Number(cell.innerText))";
    browser.wait_for(&format!("{rows}[0] > window.before + 1"));
    let shown: Vec<u64> = serde_json::from_value(browser.value(rows)).unwrap();
    let newest = shown[0];
    assert_eq!(
        shown,
        (1..=newest).rev().collect::<Vec<_>>(),
        "none is missed, none is there twice"
    );
    assert_eq!(browser.value("window.opened"), true, "the page was never loaded again");

    browser.view("rollout/site");
    browser.press("Promote fully", "main");
    browser.press("Promote fully", "dialog");
    browser.wait("Done.");
    browser.press("Close", "dialog");
    browser.wait("Phases of the last one");
    browser.view("fleet");
    browser.wait_for("document.querySelector('.fleet tbody tr').innerText.includes('@2')");
    traffic.stop_whole();
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    browser.view("receipts");
    browser.press("Verify receipt 2", "main");
    browser.wait("signed by the key in it");
    let lags =
        browser.value("[...(window.lags ?? new Map()).values()].sort((one, other) => one - other)");
    eprintln!("from an event's time to the screen, in ms: {lags}");
    browser.end();
}

#[test]
fn nothing_is_wrong_for_axe_in_any_view_and_no_view_is_wider_than_a_phone() {
    let (home, traffic) = waiting();
    Site { rollout: CANARY, ..Site::default() }.write(&home, "two");
    let up = home.spawn(&["up"]);
    let mut browser = Browser::of(&home, "admin");
    browser.view("rollout/site");
    browser.wait("Step 1 of 2");
    drop(up);
    home.run(&["rollout", "pause", "site", "--reason", "pictures"]).expect(0);
    let instance = home.status()["services"][0]["instances"][0]["id"].as_str().unwrap().to_owned();
    let instance = format!("instance/{instance}");
    let mut faults = Vec::new();
    for (theme, width) in [("light", 1280), ("dark", 1280), ("light", 380), ("dark", 380)] {
        browser.asks(json!({ "do": "look", "theme": theme, "width": width }));
        for view in VIEWS.iter().copied().chain([instance.as_str()]) {
            browser.view(view);
            browser.wait_for("!document.body.innerText.includes('…\\n') && document.querySelector('main h1') !== null");
            let found = browser.asks(json!({ "do": "axe" }));
            if found != json!([]) {
                faults.push(format!("{view}, {theme}, {width}: {found}"));
            }
            let beyond = browser.asks(json!({ "do": "overflow" })).as_i64().unwrap();
            if beyond > 0 {
                faults.push(format!("{view}, {theme}, {width}: {beyond} pixels too wide"));
            }
            if let Some(pictures) = std::env::var_os("HORNERO_PICTURES") {
                let name = format!(
                    "{}-{theme}-{width}.png",
                    view.split('?').next().unwrap().replace('/', "-")
                );
                browser.asks(json!({ "do": "picture", "path": Path::new(&pictures).join(name) }));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let size = browser.asks(json!({ "do": "size" })).as_u64().unwrap();
    let paint =
        browser.value("performance.getEntriesByName('first-contentful-paint')[0]?.startTime");
    eprintln!("the page has {size} bytes on the line; first paint after {paint} ms");
    assert!(size > 10_000 && size < PAGE_BYTES_MAX, "{size}");
    browser.end();
    // Who may only look sees what there is to see and no button that changes anything.
    let mut browser = Browser::of(&home, "viewer");
    browser.view("rollout/site");
    browser.wait("Step 1 of 2");
    assert_eq!(browser.value("document.querySelectorAll('.steering button').length"), 0);
    let refused = "fetch('/v1/steer', { method: 'POST', headers: { 'content-type': 'application/json' }, \
                   body: JSON.stringify({ service: 'site', steer: 'abort' }) }).then(answer => answer.status)";
    assert_eq!(browser.value(refused), 403);
    browser.end();
    traffic.stop();
}

#[test]
fn what_servers_write_stays_text_and_a_million_lines_scroll() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    let conf = NGINX_CONF.replace(
        "access_log off;",
        "log_format told escape=none '$uri'; access_log /dev/stdout told;",
    );
    home.write("nginx.conf", &conf);
    home.up();
    let hostile = "/%1b%5b31m%3cimg%20src=x%20onerror=window.taken=1%3e%3cscript%3ewindow.taken=1%3c/script%3e%e2%80%aeend";
    home.get(hostile);
    let mut browser = Browser::of(&home, "viewer");
    // Health checks write lines, too.
    browser.view("logs/site?grep=taken");
    let shown =
        "\u{241b}[31m<img src=x onerror=window.taken=1><script>window.taken=1</script><U+202E>end";
    browser.wait(shown);
    browser.value(
        "[...document.querySelectorAll('.row')].find(row => row.innerText.includes('<img')).click()",
    );
    browser.wait_for("document.querySelector('.chosen-line pre').innerText.includes('<script>')");
    assert_eq!(browser.value("document.querySelectorAll('main img, main script').length"), 0);
    assert_eq!(browser.value("window.taken ?? null"), Value::Null);

    let frames = browser.value(MILLION);
    eprintln!("a million lines: {frames}");
    assert_eq!(frames["count"], 1_000_000);
    assert_eq!(frames["first"], "line 0");
    assert_eq!(frames["last"], "line 999999");
    assert!(frames["rows"].as_u64().unwrap() < 200, "{frames}");
    let seen = frames["seen"].as_array().unwrap();
    let distinct: BTreeSet<&str> = seen.iter().map(|line| line.as_str().unwrap()).collect();
    assert!(distinct.len() > seen.len() / 2, "each turn shows other lines: {frames}");
    browser.end();
}

/// A list of a million lines: what is drawn at its ends and while it is scrolled, and how long the frames took.
const MILLION: &str = r"(async () => {
  const { LogLines } = await import('/log-lines.js');
  const { VirtualList } = await import('/virtual-list.js');
  const { html, render } = await import('/vendor/preact-htm.js');
  const store = new LogLines();
  const time = new Date().toISOString();
  for (let at = 0; at < 1_000_000; at += 1) {
    store.add({ time, text: `line ${at}`, instance: 'site-1-a', release: 1, stream: 'stdout', level: null });
  }
  const box = document.createElement('div');
  document.querySelector('main').append(box);
  render(html`<${VirtualList} count=${store.count} row=${at => store.get(at).text} label='Many' follow=${false}
    onFollow=${() => {}} chosen=${null} onChoose=${() => {}} />`, box);
  const list = box.querySelector('.virtual');
  const frame = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  await frame();
  const visible = () => {
    const frame = list.getBoundingClientRect();
    const rows = [...list.querySelectorAll('.row')].filter(row => {
      const place = row.getBoundingClientRect();
      return place.bottom > frame.top + 1 && place.top < frame.bottom - 1;
    });
    return rows.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top);
  };
  const first = visible()[0].innerText;
  const seen = [];
  const times = [];
  for (let turn = 0; turn < 60; turn += 1) {
    const begin = performance.now();
    list.scrollTop += 100_000;
    await frame();
    times.push((performance.now() - begin) / 2);
    seen.push(visible()[0].innerText);
  }
  list.scrollTop = list.scrollHeight;
  await frame();
  const last = visible().at(-1).innerText;
  const rows = list.querySelectorAll('.row').length;
  times.sort((one, other) => one - other);
  box.remove();
  return { count: store.count, first, last, rows, seen, median_ms: times[30], worst_ms: times.at(-1) };
})()";

#[test]
fn its_scripts_have_the_types_that_they_say() {
    let scratch = tempfile::tempdir().unwrap();
    let dashboard = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../dashboard");
    let paths = [dashboard.as_path(), &directory(), scratch.path()];
    let paths = paths.map(|path| path.to_str().unwrap().to_owned());
    python().run(&directory().join("check_types.py"), &paths.each_ref().map(String::as_str));
    // And a mistake is one: what checks nothing would find nothing.
    let wrong = tempfile::tempdir().unwrap();
    std::fs::copy(dashboard.join("tsconfig.json"), wrong.path().join("tsconfig.json")).unwrap();
    std::fs::write(
        wrong.path().join("wrong.js"),
        "export const number = /** @type {number} */ (\"text\");\n",
    )
    .unwrap();
    let mut command = python().script(&directory().join("check_types.py"));
    let scratch = tempfile::tempdir().unwrap();
    let output = command.args([wrong.path(), &directory(), scratch.path()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("wrong.js(1,"), "{said}");
}
