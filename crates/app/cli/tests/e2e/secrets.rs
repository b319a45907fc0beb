//! Secrets: only the servers that declare them have them, and only in memory.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::Engine as _;
use serde_json::Value;

use crate::{
    home::{Answer, Home, get, pid, signal, until},
    site::{BASE, NGINX_CONF},
};

/// Tells how it finds its secret, and its digest, but never the secret.
const SERVE: &str = r#"#!/bin/sh
set -eu
{
  stat -c 'mode=%a owner=%U:%G' /run/secrets/db
  stat -f -c 'on=%T' /run/secrets/db
  echo "sum=$(sha256sum </run/secrets/db)"
  (echo x >/run/secrets/db) 2>/dev/null || echo read-only
  stat -c 'other=%a %U' /etc/token
} >/srv/site/index.html
exec /usr/sbin/nginx -g 'daemon off;'
"#;

fn home() -> Home {
    let home = Home::with_own_store();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e/cache");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, home.path().join("cache")).unwrap();
    home.write("nginx.conf", NGINX_CONF);
    home.write("serve", SERVE);
    let script = home.project().join("serve");
    fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let port = home.port;
    home.write(
        "hornero.hcl",
        &format!(
            r#"{BASE}
image "site" {{
  from    = image.base
  copy "nginx.conf" {{ to = "/etc/nginx/nginx.conf" }}
  copy "serve"      {{ to = "/srv/serve" }}
  user    = "www-data"
  command = ["/srv/serve"]
  scratch = ["/run", "/var/lib/nginx", "/var/log/nginx", "/srv/site"]
  test "serves" {{ http = {{ port = 8080, path = "/", status = 200 }} }}
}}
service "site" {{
  image = image.site
  port "http" {{ container = 8080 }}
  secret "db-password" {{ path = "/run/secrets/db" }}
  secret "token" {{
    path  = "/etc/token"
    mode  = "0440"
    owner = "root:www-data"
  }}
  health {{
    http     = {{ port = "http", path = "/" }}
    interval = "200ms"
  }}
  route {{
    listen  = {port}
    address = "127.0.0.1"
  }}
  rollout {{ watch = "200ms" }}
}}
"#
        ),
    );
    home
}

fn set(home: &Home, name: &str, value: &str) -> Answer {
    let mut command = home.command(&["secret", "set", name, "--json"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // What is refused for its name is never read.
    let _ = child.stdin.take().unwrap().write_all(value.as_bytes());
    Answer::of(&child.wait_with_output().unwrap())
}

fn sum(value: &str) -> String {
    hornero_model::Digest::of(value.as_bytes()).hex()
}

fn body(home: &Home) -> String {
    let (status, body) = home.get("/");
    assert_eq!(status, 200, "{body}");
    body
}

/// A value that nothing else on this machine has.
fn planted(home: &Home, which: &str) -> String {
    format!("planted-{which}-{}", sum(&home.path().display().to_string()))
}

/// The value as it may stand somewhere: plain, and encoded.
fn forms(value: &str) -> Vec<String> {
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = base64::engine::general_purpose::STANDARD.encode(value);
    vec![value.to_owned(), hex, base64.trim_end_matches('=').to_owned()]
}

/// The files below a directory that have one of some texts.
fn files_with(directory: &Path, texts: &[String]) -> Vec<String> {
    let mut command = Command::new("grep");
    command.args(["-r", "-l", "-a", "-F"]);
    texts.iter().for_each(|text| {
        command.args(["-e", text]);
    });
    let output = command.arg("--").arg(directory).output().unwrap();
    // What comes and goes while it looks is no fault: the ledger's and the edge's files are written meanwhile.
    let faults = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut others = faults.lines().filter(|line| !line.contains("No such file or directory"));
    assert!(output.status.code().is_some() && others.next().is_none(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// This home's processes: those of the program under test whose command line names it, and what they started.
fn processes(home: &Home) -> Vec<(i32, bool)> {
    let named = home.path().display().to_string();
    let read = |pid: i32, name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let names = |pid: i32| String::from_utf8_lossy(&read(pid, "cmdline")).contains(&named);
    let parent = |pid: i32| -> i32 {
        let stat = String::from_utf8_lossy(&read(pid, "stat")).into_owned();
        let fields = stat.rsplit(')').next().unwrap_or_default().to_owned();
        fields.split_whitespace().nth(1).and_then(|ppid| ppid.parse().ok()).unwrap_or(0)
    };
    let all = fs::read_dir("/proc").unwrap().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = |pid: i32| {
        let mut at = pid;
        for _ in 0..4 {
            if at > 1 && names(at) {
                return true;
            }
            at = parent(at);
        }
        false
    };
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_hornero")).unwrap();
    let is_ours =
        |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == program);
    all.filter(|pid| own(*pid)).map(|pid| (pid, is_ours(pid))).collect()
}

/// Everything that a process can write to, as far as it can be read.
fn memory(pid: i32) -> Vec<u8> {
    use std::os::unix::fs::FileExt as _;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let Ok(file) = fs::File::open(format!("/proc/{pid}/mem")) else { return Vec::new() };
    let mut all = Vec::new();
    for line in
        maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|p| p.starts_with("rw")))
    {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (from, to) = (number(from), number(to));
        // Address space that is kept free is large and has nothing in it.
        if to - from <= 256 << 20 {
            let mut bytes = vec![0; (to - from) as usize];
            let read = file.read_at(&mut bytes, from).unwrap_or(0);
            all.extend_from_slice(&bytes[..read]);
        }
    }
    all
}

#[track_caller]
fn assert_nowhere(home: &Home, value: &str) {
    let mut with_digest = forms(value);
    with_digest.push(sum(value));
    let found = files_with(&home.path(), &with_digest);
    assert!(found.is_empty(), "in files: {found:?}");
    // The server itself shows the digest, to control and the edge as well.
    let forms = forms(value);
    let all = processes(home);
    assert!(
        all.iter().filter(|(_, ours)| *ours).count() >= 4,
        "control, edge, shim and init: {all:?}"
    );
    let scratch = tempfile::tempdir().unwrap();
    for (pid, is_ours) in &all {
        for name in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            fs::write(scratch.path().join(format!("{pid}-{name}")), bytes).unwrap();
        }
        if *is_ours {
            fs::write(scratch.path().join(format!("{pid}-memory")), memory(*pid)).unwrap();
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
            let core = limits.lines().find(|line| line.starts_with("Max core file size"));
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            // What has nothing to hide may leave one.
            if name.trim() == "hornero-init" {
                assert!(
                    core.is_some_and(|line| line.split_whitespace().nth(5) == Some("0")),
                    "{core:?}"
                );
            }
        }
    }
    let found = files_with(scratch.path(), &forms);
    assert!(found.is_empty(), "in processes: {found:?}");
    let asked = [
        &["status", "--json"][..],
        &["plan", "--json"],
        &["history", "site", "--json"],
        &["receipt", "--json"],
        &["audit", "--json"],
        &["logs", "site", "--json"],
        &["secret", "ls", "--json"],
        &["secret", "ls"],
    ];
    for arguments in asked {
        let answer = home.run(arguments).expect(0);
        let told = format!("{}{}", answer.stdout, answer.stderr);
        assert!(!forms.iter().any(|form| told.contains(form)), "{arguments:?}: {told}");
    }
}

#[test]
fn a_planted_secret_is_found_nowhere_but_where_its_servers_read_it() {
    let home = home();
    let refused = home.run(&["up", "--json"]).expect(3);
    assert_eq!(refused.json()["error"]["code"], "secret_missing", "{}", refused.stdout);
    assert!(
        !home.path().join("store/images").is_dir() || {
            fs::read_dir(home.path().join("store/images")).unwrap().next().is_none()
        },
        "nothing was baked"
    );
    home.run(&["plan"]).expect(3);

    let (first, token) = (planted(&home, "one"), planted(&home, "token"));
    let told = set(&home, "db-password", &first).expect(0);
    assert!(!told.stdout.contains(&first), "{}", told.stdout);
    set(&home, "token", &token).expect(0);
    // The test's own means find it where it is.
    let probe = tempfile::tempdir().unwrap();
    fs::write(probe.path().join("file"), format!("x{first}x")).unwrap();
    assert_eq!(files_with(probe.path(), &forms(&first)).len(), 1);

    home.up();
    let body_first = body(&home);
    for line in ["mode=400 owner=www-data:www-data", "on=tmpfs", "read-only", "other=440 root"] {
        assert!(body_first.lines().any(|found| found == line), "{line}: {body_first}");
    }
    assert!(body_first.contains(&format!("sum={}", sum(&first))), "{body_first}");
    assert_nowhere(&home, &first);
    assert_nowhere(&home, &token);
    home.run(&["verify", "--full"]).expect(0);

    // Rotated by replacement, and gone back from.
    let second = planted(&home, "two");
    let report = set(&home, "db-password", &second).expect(0).json();
    assert_eq!(report["services"], serde_json::json!(["site"]), "{report}");
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let why = plan["changes"][0]["reason"].as_str().unwrap();
    assert!(why.contains("`secret.db-password.version` changed from `1-"), "{why}");
    let up = home.up();
    assert_eq!(up["services"][0]["release"], 2, "{up}");
    assert!(body(&home).contains(&sum(&second)), "{}", body(&home));
    assert_nowhere(&home, &second);
    home.run(&["rollback", "site"]).expect(0);
    assert!(body(&home).contains(&sum(&first)), "{}", body(&home));

    // What is killed leaves nothing, and what takes its place has it again.
    let instances = home.status()["services"][0]["instances"].clone();
    let serving = instances.as_array().unwrap().iter().find(|one| one["state"] == "serving");
    signal(pid(&serving.unwrap()["pid"]), "KILL");
    until("the next server", || {
        let (status, body) = get(home.port, "/");
        status == 200
            && body.contains(&sum(&first))
            && home.status()["services"][0]["instances"].as_array().is_some_and(|all| {
                all.iter()
                    .any(|one| one["state"] == "serving" && one["pid"] != serving.unwrap()["pid"])
            })
    });
    signal(home.control_pid(), "KILL");
    home.up();
    assert_nowhere(&home, &second);

    let refused = home.run(&["secret", "rm", "db-password", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "secret_in_use", "{refused}");
    kept_apart_in_backups(&home, &[first.clone(), second, token]);
    home.run(&["down"]).expect(0);
    home.assert_clean();
    assert!(files_with(&home.path(), &forms(&first)).is_empty());
    home.run(&["secret", "rm", "db-password", "--force"]).expect(0);
    home.run(&["secret", "rm", "db-password"]).expect(5);
}

/// A backup has encrypted values, and their key only where it is asked for.
fn kept_apart_in_backups(home: &Home, values: &[String]) {
    let out = home.directory_beside("backups");
    let backup = |name: &str, words: &[&str]| -> (PathBuf, Value) {
        let out = out.join(name);
        let place = out.display().to_string();
        let mut arguments = vec!["home", "backup", &place, "--images", "none", "--json"];
        arguments.extend(words);
        let report = home.run(&arguments).expect(0).json();
        (out.join("home-1"), report)
    };
    let (plain, report) = backup("plain", &[]);
    assert_eq!(report["holds_secrets_key"], false, "{report}");
    assert!(plain.join("secrets/db-password").is_dir() && !plain.join("keys/secrets.key").exists());
    let (whole, report) = backup("whole", &["--with-secrets-key"]);
    assert_eq!(report["holds_secrets_key"], true, "{report}");
    assert!(whole.join("keys/secrets.key").is_file());
    for value in values {
        assert!(files_with(&out, &forms(value)).is_empty());
    }
}

#[test]
fn a_secret_is_set_from_standard_input_alone_and_within_bounds() {
    let home = Home::new();
    home.run(&["secret", "ls", "--json"]).expect(0);
    set(&home, "db", "").expect(2);
    set(&home, "db", &"x".repeat(70_000)).expect(2);
    set(&home, "No_Name", "x").expect(2);
    home.run(&["secret", "set", "db", "value"]).expect(2);
    home.run(&["secret", "rotate", "db"]).expect(5);
    set(&home, "db", "x").expect(0);
    let rotated = home.run(&["secret", "rotate", "db", "--json"]).expect(0).json();
    assert!(rotated["version"].as_str().unwrap().starts_with("2-"), "{rotated}");
    let listed = home.run(&["secret", "ls", "--json"]).expect(0).json();
    assert_eq!((&listed[0]["name"], &listed[0]["versions"]), (&"db".into(), &2.into()), "{listed}");
    let key = home.path().join("keys/secrets.key");
    let aside = home.path().join("keys/aside");
    fs::rename(&key, &aside).unwrap();
    let refused = set(&home, "db", "y").expect(3).json();
    assert_eq!(refused["error"]["code"], "secrets_key", "{refused}");
    // Another place for it.
    let mut command = home.command(&["secret", "rotate", "db"]);
    let rotated = Answer::of(&command.env("HORNERO_SECRETS_KEY_FILE", &aside).output().unwrap());
    rotated.expect(0);
}
