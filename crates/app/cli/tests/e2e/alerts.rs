//! Alerts: told to an Alertmanager, a webhook and a command, once each, also over a kill of control.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::{
    home::{Home, Running, free_port, get, signal, until},
    site::Site,
};

/// A webhook that refuses the first notice and takes all others.
struct Webhook {
    port: u16,
    taken: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    fn begun() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (port, taken) =
            (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<_>>>::default());
        let own = Arc::clone(&taken);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut reader = BufReader::new(stream.unwrap());
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) <= 2 {
                        break;
                    }
                    let lower = line.to_ascii_lowercase();
                    if let Some(value) = lower.strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                let Ok(()) = reader.read_exact(&mut body) else { continue };
                let status = if number == 0 { "500 No" } else { "200 OK" };
                if number > 0 {
                    own.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
                }
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { port, taken }
    }

    fn states(&self, rule: &str) -> Vec<String> {
        let taken = self.taken.lock().unwrap();
        let own = taken.iter().filter(|notice| notice["rule"] == rule);
        own.map(|notice| notice["state"].as_str().unwrap().to_owned()).collect()
    }
}

/// Alertmanager on loopback, with a place of its own.
fn alertmanager(home: &Home, port: u16) -> Running {
    let place = home.directory_beside("alertmanager");
    fs::write(place.join("config.yml"), "route:\n  receiver: none\nreceivers:\n  - name: none\n")
        .unwrap();
    let mut command = Command::new("prometheus-alertmanager");
    command.arg(format!("--config.file={}", place.join("config.yml").display()));
    command.arg(format!("--storage.path={}", place.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().unwrap())
}

/// The alerts that an Alertmanager has of a rule.
fn held(port: u16, rule: &str) -> Vec<Value> {
    let (_, body) = get(port, "/api/v2/alerts?active=true");
    // It may come in chunks, each behind a line with its length.
    let (Some(from), Some(to)) = (body.find('['), body.rfind(']')) else { return Vec::new() };
    let all: Vec<Value> = serde_json::from_str(&body[from..=to]).unwrap_or_default();
    all.into_iter().filter(|alert| alert["labels"]["rule"] == rule).collect()
}

#[test]
fn alerts_are_told_to_all_who_are_to_hear_them_over_a_kill_of_control() {
    let home = Home::new();
    let (webhook, port) = (Webhook::begun(), free_port());
    let place = home.directory_beside("command");
    let (program, told) = (place.join("page"), place.join("told"));
    fs::write(&program, format!("#!/bin/sh\n{{ cat; echo; }} >> {}\n", told.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = format!(
        "alerts {{\n  alertmanager = \"http://127.0.0.1:{port}\"\n  webhook = \"http://127.0.0.1:{}/hook\"\n  \
         command = \"{}\"\n  rollouts = \"http://127.0.0.1:{}/rollouts\"\n}}\n",
        webhook.port,
        program.display(),
        webhook.port,
    );
    let file = home.path().join("settings.hcl");
    fs::write(&file, &settings).unwrap();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    home.up();
    let rollouts = || -> Vec<(String, bool)> {
        let taken = webhook.taken.lock().unwrap();
        let own = taken.iter().filter(|notice| notice["kind"] == "rollout");
        own.map(|one| (one["state"].as_str().unwrap().to_owned(), one["finished"] == true))
            .collect()
    };
    let wanted = [("preparing".to_owned(), false), ("finished".to_owned(), true)];
    until("the webhook to hear of the rollout", || rollouts() == wanted);
    // A slip of the pen; what was declared before holds, and so do those who hear of it.
    fs::write(&file, format!("{settings}bugdet {{\n}}\n")).unwrap();
    let again = || {
        signal(home.control_pid(), "KILL");
        home.up();
    };
    again();
    until("the webhook to hear of it", || webhook.states("settings_fault") == ["firing"]);
    until("the command to hear of it", || told.exists());
    let listed = home.run(&["alerts", "ls", "--json"]).expect(0).json();
    let of_rule = |listed: &Value| -> Value {
        let alerts = listed["alerts"].as_array().unwrap();
        alerts.iter().find(|alert| alert["rule"] == "settings_fault").cloned().unwrap_or_default()
    };
    assert_eq!(of_rule(&listed)["state"], "firing", "{listed}");
    let destination = |kind: &str| -> Value {
        let listed = home.run(&["alerts", "ls", "--json"]).expect(0).json();
        let all = listed["destinations"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["kind"] == kind).unwrap()
    };
    until("a fault of the Alertmanager", || destination("alertmanager")["fault"].is_string());
    // Killed; there again it tells nobody anew, and who was not there yet hears of it.
    again();
    let running = alertmanager(&home, port);
    until("the Alertmanager to have it", || held(port, "settings_fault").len() == 1);
    let alert = held(port, "settings_fault").remove(0);
    assert_eq!(alert["labels"]["alertname"], "HorneroSettingsFault", "{alert}");
    assert_eq!(alert["labels"]["severity"], "warning");
    assert!(alert["annotations"]["summary"].as_str().unwrap().contains("bugdet"), "{alert}");
    assert_eq!(webhook.states("settings_fault"), ["firing"], "once");
    // Mended.
    fs::write(&file, &settings).unwrap();
    again();
    until("the Alertmanager to hear that it is over", || held(port, "settings_fault").is_empty());
    until("the webhook to hear that it is over", || {
        webhook.states("settings_fault") == ["firing", "resolved"]
    });
    let lines = || {
        fs::read_to_string(&told)
            .unwrap()
            .lines()
            .filter(|line| line.contains("settings_fault"))
            .count()
    };
    until("the command to hear that it is over", || lines() == 2);
    assert_eq!(
        of_rule(&home.run(&["alerts", "ls", "--json"]).expect(0).json())["state"],
        "resolved"
    );
    assert_eq!(rollouts(), wanted, "nothing was rolled out since");
    drop(running);
    home.run(&["down", "--all"]).expect(0);
}

#[test]
fn promtool_takes_the_rules() {
    let home = Home::with_own_store();
    let rules = home.run(&["alerts", "rules"]).expect(0).stdout;
    home.write("rules.yml", &rules);
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(home.project().join("rules.yml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("17 rules found"), "{said}");
}
