//! Figures, logs and rollouts reach a collector that speaks OTLP, whatever stops in between.

use std::{
    fs,
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::{
    home::{Home, get, signal, until},
    site::Site,
    validators,
};

/// A collector of OpenTelemetry's own messages, ended when this is dropped.
struct Collector {
    process: Child,
    directory: tempfile::TempDir,
}

impl Collector {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = validators::directory().join("otlp_receiver.py");
        let mut command = validators::python().script(&script);
        command.arg(directory.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        let collector = Self { process, directory };
        until("the collector to listen", || collector.directory.path().join("port").exists());
        collector
    }

    fn endpoint(&self) -> String {
        let port = fs::read_to_string(self.directory.path().join("port")).unwrap();
        format!("http://127.0.0.1:{port}/")
    }

    fn answer(&self, how: &Value) {
        let (new, path) =
            (self.directory.path().join("HOW.new"), self.directory.path().join("HOW"));
        fs::write(&new, how.to_string()).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn answer_well(&self) {
        fs::remove_file(self.directory.path().join("HOW")).unwrap();
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.directory.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What came to a path.
    fn received(&self, path: &str) -> Vec<Value> {
        let all = self.lines("received").into_iter();
        // The last line may be on its way.
        let all = all.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        all.filter(|told| told["path"] == path).collect()
    }

    /// Lines of servers: service, severity and text.
    fn logs(&self) -> Vec<(String, String, String)> {
        let mut found = Vec::new();
        for told in self.received("/v1/logs") {
            for resource in list(&told["request"]["resourceLogs"]) {
                let service = attribute(&resource["resource"]["attributes"], "service.name");
                for scope in list(&resource["scopeLogs"]) {
                    for record in list(&scope["logRecords"]) {
                        let text = record["body"]["stringValue"].as_str().unwrap_or_default();
                        let level = record["severityText"].as_str().unwrap_or_default();
                        found.push((service.clone(), level.to_owned(), text.to_owned()));
                    }
                }
            }
        }
        found
    }

    /// How often a line of `site` came with a severity.
    fn count(&self, level: &str, text: &str) -> usize {
        let logs = self.logs().into_iter();
        logs.filter(|(of, as_level, line)| of == "site" && as_level == level && line.contains(text))
            .count()
    }

    /// The spans of each trace.
    fn traces(&self) -> Vec<Vec<Value>> {
        let told = self.received("/v1/traces").into_iter();
        let spans = told.flat_map(|told| {
            let resources = list(&told["request"]["resourceSpans"]).to_vec();
            resources.into_iter().flat_map(|of| list(&of["scopeSpans"]).to_vec())
        });
        let spans = spans.flat_map(|scope| list(&scope["spans"]).to_vec());
        let mut traces: Vec<Vec<Value>> = Vec::new();
        for span in spans {
            match traces.iter_mut().find(|of| of[0]["traceId"] == span["traceId"]) {
                Some(trace) => trace.push(span),
                None => traces.push(vec![span]),
            }
        }
        traces
    }

    /// Names of metrics.
    fn metrics(&self) -> Vec<Value> {
        let told = self.received("/v1/metrics").into_iter();
        let scopes = told.flat_map(|told| {
            let resources = list(&told["request"]["resourceMetrics"]).to_vec();
            resources.into_iter().flat_map(|of| list(&of["scopeMetrics"]).to_vec())
        });
        scopes.flat_map(|scope| list(&scope["metrics"]).to_vec()).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // What was started is `timeout`, which hands it on.
        signal(i32::try_from(self.process.id()).unwrap(), "TERM");
        let _ = self.process.wait();
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn attribute(attributes: &Value, key: &str) -> String {
    let found = list(attributes).iter().find(|one| one["key"] == key);
    found.and_then(|one| one["value"]["stringValue"].as_str()).unwrap_or_default().to_owned()
}

/// A server that says which version it is, as JSON, and then serves.
fn talking(home: &Home, version: &str) {
    let command = format!(
        r#"["/bin/sh", "-c", "echo '{{\"level\":\"error\",\"msg\":\"{version}\"}}'; exec /usr/sbin/nginx -g 'daemon off;'"]"#
    );
    let rollout = r#"keep_warm = "1s""#;
    Site { instances: 1, command: &command, rollout, ..Site::default() }.write(home, version);
}

#[test]
fn a_collector_gets_everything_once_it_takes_it_also_when_control_was_killed_meanwhile() {
    let (home, collector) = (Home::new(), Collector::start());
    let token = home.project().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let settings = format!(
        "otlp {{\n  endpoint   = \"{}\"\n  token_file = \"{}\"\n}}\n",
        collector.endpoint(),
        token.display()
    );
    fs::write(home.path().join("settings.hcl"), settings).unwrap();
    talking(&home, "version-one");
    home.up();
    for _ in 0..20 {
        assert_eq!(get(home.port, "/").0, 200);
    }
    until("the line of the first server", || collector.count("ERROR", "version-one") == 1);
    assert_eq!(collector.received("/v1/logs")[0]["token"], "Bearer s3cret");
    until("its rollout", || collector.traces().len() == 1);
    let trace = collector.traces().remove(0);
    let root = trace.iter().find(|span| span.get("parentSpanId").is_none()).unwrap();
    assert_eq!(root["name"], "rollout site");
    assert_eq!(attribute(&root["attributes"], "hornero.outcome"), "finished", "{root}");
    let phases: Vec<&str> = trace.iter().filter_map(|span| span["name"].as_str()).collect();
    assert!(phases.contains(&"preparing") && phases.contains(&"switching"), "{phases:?}");
    assert!(trace.iter().all(|span| span == root || span["parentSpanId"] == root["spanId"]));
    until("its figures", || {
        let metrics = collector.metrics();
        let has = |name: &str| metrics.iter().any(|metric| metric["name"] == name);
        has("hornero.instance.memory") && has("hornero.requests") && has("hornero.request.duration")
    });

    // The collector takes nothing; meanwhile another release comes, and control is killed.
    collector.answer(&json!([503, {}, { "retry-after": "1" }]));
    talking(&home, "version-two");
    home.up();
    until("lines to be refused for now", || {
        collector.lines("refused").iter().any(|path| path == "/v1/logs")
    });
    signal(home.control_pid(), "KILL");
    home.up();
    collector.answer_well();
    until("the line of the second server", || collector.count("ERROR", "version-two") == 1);
    until("both rollouts, each once", || collector.traces().len() == 2);
    assert_eq!(collector.count("ERROR", "version-one"), 1, "nothing comes twice");
    let roots = collector.traces().into_iter().flatten();
    assert_eq!(roots.filter(|span| span.get("parentSpanId").is_none()).count(), 2);

    // A part that is refused for good is told of, and the rest goes on.
    let part =
        json!({ "partialSuccess": { "rejectedDataPoints": "3", "errorMessage": "too old" } });
    collector.answer(&json!([200, part, {}]));
    until("the refusal to be told", || {
        let log = fs::read_to_string(home.path().join("control.log")).unwrap_or_default();
        log.contains("the collector refused 3 of what was sent to `/v1/metrics`: too old")
    });
    let log = fs::read_to_string(home.path().join("control.log")).unwrap();
    assert!(!log.contains("s3cret"));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
