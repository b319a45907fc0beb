//! A server that fails leaves a sealed bundle, and its autopsy begins with the cause.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    home::{Home, signal, until},
    site::Site,
};

/// The autopsy of the newest bundle of a home.
fn newest(home: &Home) -> Value {
    until("a bundle", || {
        let listed = home.run(&["bundle", "ls", "--json"]).expect(0).json();
        listed.as_array().is_some_and(|listed| !listed.is_empty())
    });
    home.run(&["autopsy", "--json"]).expect(0).json()
}

/// What a server of a first release with this command fails of.
fn autopsy_of(command: &str, health: &str, service: &str) -> (Home, Value) {
    let home = Home::new();
    Site { instances: 1, command, image: "", health, service, ..Site::default() }.write(&home, "x");
    let failed = home.run(&["up", "--json"]).expect(1).json();
    let hint = failed["error"]["hint"].as_str().unwrap();
    let said = newest(&home);
    let id = said["instance"].as_str().unwrap();
    assert!(hint.contains(&format!(" autopsy {id}`")), "{hint}");
    assert_eq!((&said["intact"], &said["of_this_home"]), (&true.into(), &true.into()));
    (home, said)
}

fn summary(said: &Value) -> &str {
    said["summary"].as_str().unwrap()
}

#[test]
fn the_cause_of_a_crash_is_named_with_its_frame() {
    // Reads address 8, as a program with a bug does; the kernel writes down where.
    let command = r#"["/usr/bin/perl", "-e", "print STDERR qq(about to\n); unpack('p', pack('Q', 8)); sleep 60"]"#;
    let (home, said) = autopsy_of(command, "", "");
    assert_eq!(said["cause"], "crashed", "{said:#}");
    assert!(summary(&said).starts_with("crashed by signal 11 (SIGSEGV)"), "{said:#}");
    let kernel = said["evidence"][0].as_str().unwrap();
    assert!(kernel.contains("segfault at 8"), "{said:#}");
    // The kernel names the object of the store; people know the file of the image.
    assert!(summary(&said).contains("/libc.so.6+0x"), "the frame: {said:#}");
    assert_eq!(said["exit"]["signal"], 11);
    // What the ledger has is what the file is.
    let events = home.run(&["audit", "--json"]).expect(0).stdout;
    let sealed = events.lines().filter(|line| line.contains("bundle_sealed"));
    let digest = said["digest"].as_str().unwrap();
    assert!(sealed.clone().any(|line| line.contains(digest)), "{events}");
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn one_that_was_killed_for_memory_is_told_with_figures() {
    let command = r#"["/usr/bin/perl", "-e", "my $all = 'x' x (256 << 20); sleep 60"]"#;
    let service = r#"resources = { memory = "48MiB" }"#;
    let (home, said) = autopsy_of(command, "", service);
    assert_eq!(said["cause"], "killed_for_memory", "{said:#}");
    assert!(summary(&said).contains("within its limit of 48.0 MiB"), "{said:#}");
    assert!(summary(&said).contains("it had at most 4"), "{said:#}");
    let figures = &said["figures"];
    assert!(figures["out_of_memory_kills"].as_u64().unwrap() >= 1, "{figures}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn one_that_writes_to_its_root_is_told_what_to_add() {
    // Of one that ends within milliseconds of its start nothing may be left to hold on to.
    let command = r#"["/bin/sh", "-c", "echo kept > /run/before; sleep 1; mkdir /srv/state"]"#;
    let (home, said) = autopsy_of(command, "", "");
    assert_eq!(said["cause"], "read_only", "{said:#}");
    assert!(
        summary(&said).contains("read-only at `/srv/state`: add `/srv` to `scratch`"),
        "{said:#}"
    );
    // It had ended when it was noticed, and what it wrote is there all the same.
    let path = said["bundle"].as_str().unwrap();
    let bundle = hornero_forensics::read(Path::new(path)).unwrap();
    assert_eq!(bundle.contents.files.get("/run/before").map(Vec::as_slice), Some(&b"kept\n"[..]));
    let id = said["instance"].as_str().unwrap();
    let out = home.directory_beside("out").join("it.bundle");
    let out = out.to_str().unwrap();
    home.run(&["bundle", "export", id, out, "--json"]).expect(0);
    home.run(&["bundle", "export", id, out]).expect(1);
    // On another machine: no ledger, no key, and the same words.
    let elsewhere = Home::with_own_store();
    let there = elsewhere.run(&["autopsy", out, "--json"]).expect(0).json();
    assert_eq!((&there["summary"], &there["intact"]), (&said["summary"], &true.into()));
    assert_eq!(there["of_this_home"], false);
    let mut bytes = fs::read(out).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(out, bytes).unwrap();
    let touched = elsewhere.run(&["autopsy", out, "--json"]).expect(1).json();
    assert_eq!(touched["error"]["code"], "bundle_changed");
    home.run(&["autopsy", "site-9-nobody"]).expect(5);
}

#[test]
fn one_that_cannot_bind_is_told_the_port() {
    let command = r#"["/bin/sh", "-c", "perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0); bind(S,sockaddr_in(8080,INADDR_ANY)); listen(S,1); sleep 60' & sleep 1; exec /usr/sbin/nginx -g 'daemon off;'"]"#;
    let (_home, said) = autopsy_of(command, "", "");
    assert_eq!(said["cause"], "not_bound", "{said:#}");
    assert!(summary(&said).starts_with("could not bind port 8080"), "{said:#}");
}

#[test]
fn one_that_hangs_is_looked_at_while_it_does() {
    // It listens, takes nothing, and counts.
    let command = r#"["/usr/bin/perl", "-MSocket", "-e", "socket(S,PF_INET,SOCK_STREAM,0); setsockopt(S,SOL_SOCKET,SO_REUSEADDR,1); bind(S,sockaddr_in(8080,INADDR_ANY)); listen(S,16); open(F,'>/run/state'); print F 'counting'; close F; while (1) {}", "--", "--api-token=geheim"]"#;
    let health = "timeout = \"300ms\"\n    start_timeout = \"3s\"";
    let (_home, said) = autopsy_of(command, health, "");
    assert_eq!(said["cause"], "unresponsive", "{said:#}");
    assert!(summary(&said).starts_with("health check timed out while it was busy"), "{said:#}");
    assert_eq!(said["exit"], Value::Null);
    let path = said["bundle"].as_str().unwrap();
    let bundle = hornero_forensics::read(Path::new(path)).unwrap();
    let contents = bundle.contents;
    assert!(contents.manifest.frozen, "{:?}", contents.manifest);
    assert!(
        contents.sockets.iter().any(|of| of.listens_on() == Some(8080)),
        "{:?}",
        contents.sockets
    );
    let perl = contents.processes.iter().find(|of| of.name == "perl").unwrap();
    assert_eq!(perl.command.last().map(String::as_str), Some("--api-token=[secret]"));
    assert!(perl.files.values().any(|file| file.starts_with("socket:")), "{:?}", perl.files);
    assert_eq!(contents.files.get("/run/state").map(Vec::as_slice), Some(&b"counting"[..]));
    assert!(contents.health.iter().any(|seen| seen.error.is_some()), "{:?}", contents.health);
}

#[test]
fn no_bundle_has_a_secret() {
    let home = Home::new();
    let mut set = home.command(&["secret", "set", "db"]);
    let planted = "correct horse battery staple";
    let mut child = set.stdin(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), planted.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    // It is where it is mounted, in its environment, in a file of scratch and in names there, in its log, and in a command line.
    let command = r#"["/bin/sh", "-c", "export DB=$(cat /run/secrets/db); echo with $DB; echo $DB > /run/copy; echo fine > /run/other; mkdir \"/run/of $DB\"; ln -s \"/$DB\" /run/link; sh -c 'sleep 600; true' $DB & sleep 600"]"#;
    let service = "secret \"db\" {\n    path = \"/run/secrets/db\"\n  }";
    let health = "start_timeout = \"2s\"";
    let site = Site { instances: 1, command, image: "", service, health, ..Site::default() };
    site.write(&home, "x");
    home.run(&["up"]).expect(1);
    let said = newest(&home);
    let path = said["bundle"].as_str().unwrap();
    let bundle = hornero_forensics::read(Path::new(path)).unwrap();
    let all = format!("{:?}", bundle.contents);
    assert!(!all.contains(planted), "{all}");
    let held = |files: &[u8]| files.windows(planted.len()).any(|part| part == planted.as_bytes());
    assert!(!bundle.contents.files.values().any(|file| held(file)));
    assert!(!said.to_string().contains(planted));
    // What was written is seen all the same.
    let paths: Vec<&str> = bundle.contents.scratch.iter().map(|of| of.path.as_str()).collect();
    assert!(paths.contains(&"/run/copy") && paths.contains(&"/run/other"), "{paths:?}");
    assert!(paths.contains(&"/run/of [secret]") && paths.contains(&"/run/link"), "{paths:?}");
    assert!(!paths.contains(&"/run/secrets/db"), "{paths:?}");
    assert!(bundle.contents.files.contains_key("/run/other"));
    assert!(said["last_lines"][0].as_str().unwrap().contains("with [secret]"), "{said:#}");
}

#[test]
fn replacing_waits_for_no_bundle_and_a_loop_fills_no_disk() {
    let home = Home::new();
    fs::write(home.path().join("settings.hcl"), "bundles {\n  per_hour = 2\n}\n").unwrap();
    Site { instances: 2, ..Site::default() }.write(&home, "x");
    home.up();
    let listed =
        || home.run(&["bundle", "ls", "--json"]).expect(0).json().as_array().unwrap().len();
    let pids = || {
        let status = home.status();
        let instances = status["services"][0]["instances"].as_array().unwrap().clone();
        let serving = instances.iter().filter(|of| of["state"] == "serving");
        serving.map(|of| crate::home::pid(&of["pid"])).collect::<Vec<_>>()
    };
    for round in 1..=3 {
        let before = pids();
        signal(before[0], "KILL");
        until("it to be replaced", || {
            let now = pids();
            now.len() == 2 && !now.contains(&before[0])
        });
        if round < 3 {
            until("its bundle", || listed() == round);
        }
    }
    let said = home.run(&["autopsy", "--json"]).expect(0).json();
    assert_eq!(said["cause"], "killed", "{said:#}");
    let compared = said["evidence"].to_string();
    assert!(compared.contains("healthy siblings"), "{said:#}");
    let status = home.run(&["status"]).expect(0).stdout;
    let id = said["instance"].as_str().unwrap();
    assert!(status.contains(&format!("`hornero autopsy {id}`")), "{status}");
    // Control is killed while one is owed: the next one makes it, and nothing half-made is left.
    let control = home.control_pid();
    signal(control, "KILL");
    home.run(&["up"]).expect(0);
    assert_eq!(listed(), 2, "the third of this hour is not made");
    let names = fs::read_dir(home.path().join("bundles")).unwrap().flatten();
    for name in names.map(|entry| entry.file_name()) {
        assert!(name.to_string_lossy().ends_with(".bundle"), "{name:?}");
    }
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
