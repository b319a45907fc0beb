//! Breaking the glass: recorded before it is shown, no more rights than the server, and the server is replaced.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    document,
    home::{Answer, Home, free_port, get, signal, until},
    site::Site,
    traffic::Traffic,
};

fn serving(home: &Home) -> Vec<String> {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap().clone();
    let serving = instances.into_iter().filter(|of| of["state"] == "serving");
    serving.map(|of| of["id"].as_str().unwrap().to_owned()).collect()
}

fn home() -> Home {
    let home = Home::new();
    Site::default().write(&home, "x");
    home.up();
    home
}

/// What breaking the glass of a server says of a script.
fn glass(home: &Home, id: &str, script: &str) -> Answer {
    let words =
        ["break-glass", id, "--reason", "it hangs", "--for", "5m", "--", "sh", "-c", script];
    home.run(&words)
}

fn sessions(home: &Home) -> Vec<Value> {
    home.run(&["break-glass", "ls", "--json"]).expect(0).json().as_array().unwrap().clone()
}

fn recording(home: &Home, session: &Value) -> PathBuf {
    home.path().join("glass").join(format!("{}.cast", session["session"].as_str().unwrap()))
}

fn events(home: &Home, kind: &str) -> Vec<Value> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["body"]["kind"] == kind).collect()
}

/// A session under way whose command has said `begun`.
struct Begun {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Begun {
    #[track_caller]
    fn new(home: &Home, id: &str, options: &[&str], script: &str) -> Self {
        let first = ["break-glass", id, "--reason", "look"];
        let words = [&first[..], options, &["--", "sh", "-c", script]].concat();
        let mut command = home.command(&words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        if line != "begun\n" {
            panic!("{:?}", Answer::of(&child.wait_with_output().unwrap()).stderr);
        }
        Self { child, stdout }
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn ended(mut self) -> Answer {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        Answer { stdout: rest, ..Answer::of(&self.child.wait_with_output().unwrap()) }
    }
}

/// For how many seconds the processes of a session sleep: long, and as nothing else on the host does.
fn nap() -> u32 {
    1_000_000_000 + std::process::id()
}

/// Waits, and so does a process that hides from its end.
fn waits() -> String {
    format!("setsid sleep {0} & echo begun; sleep {0}", nap())
}

/// How many processes of a session are left anywhere on the host: they are those that sleep so long.
fn sleepers() -> usize {
    let all = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let own = format!("sleep\0{}\0", nap());
    lines.filter(|line| line.starts_with(own.as_bytes())).count()
}

fn ended(home: &Home) -> Value {
    until("the end of the session", || {
        sessions(home).first().is_some_and(|of| !of["end"].is_null())
    });
    sessions(home)[0].clone()
}

fn replaced(home: &Home, id: &str) {
    until("the server to be replaced", || {
        let now = serving(home);
        now.len() == 2 && !now.iter().any(|other| other == id)
    });
}

#[test]
fn a_session_is_recorded_and_its_server_is_replaced_without_losing_a_request() {
    let home = home();
    let id = serving(&home)[0].clone();
    for missing in [
        &["break-glass", &id, "--for", "5m", "--", "true"][..],
        &["break-glass", &id, "--reason", "x", "--", "true"],
        &["break-glass", &id, "--reason", " ", "--for", "5m", "--", "true"],
        &["break-glass", &id, "--reason", "x", "--for", "5h", "--", "true"],
        // No terminal here.
        &["break-glass", &id, "--reason", "x", "--for", "5m"],
    ] {
        home.run(missing).expect(2);
    }
    let words = ["break-glass", "site-9-nobody", "--reason", "x", "--for", "5m", "--", "true"];
    home.run(&words).expect(5);
    assert_eq!(sessions(&home), Vec::<Value>::new());
    let traffic = Traffic::start(home.port);
    // The server as it sees itself: its user, its files, its processes, its network.
    let look = "id -un; cat /srv/site/index.html; grep -c nginx /proc/2/comm; \
                perl -MSocket -e 'socket(S,PF_INET,SOCK_STREAM,0); connect(S,sockaddr_in(8080,INADDR_LOOPBACK)) and print \"port\\n\"'; \
                printf '\\033]0;title\\007'; exit 7";
    let answer = glass(&home, &id, look).expect(7);
    assert_eq!(answer.stdout, "www-data\nx1\nport\n\u{1b}]0;title\u{7}", "{}", answer.stderr);
    replaced(&home, &id);
    traffic.stop_whole();
    let [session] = &sessions(&home)[..] else { panic!("{:?}", sessions(&home)) };
    assert_eq!(session["instance"], id.as_str());
    assert_eq!((&session["who"], &session["why"]), (&"root".into(), &"it hangs".into()));
    // The ledger knew first.
    let (begun, done) = (events(&home, "glass_broken"), events(&home, "glass_mended"));
    let recycled = events(&home, "recycle_set");
    assert_eq!((begun.len(), done.len(), recycled.len()), (1, 1, 1), "{recycled:?}");
    assert_eq!(begun[0]["why"], "it hangs");
    assert!(begun[0]["sequence"].as_u64() < done[0]["sequence"].as_u64());
    assert_eq!(done[0]["body"]["end"]["cause"]["code"], 7, "{done:?}");
    // What is replayed does nothing to a terminal, but where that is asked for.
    let name = session["session"].as_str().unwrap();
    let shown = home.run(&["break-glass", "replay", name]).expect(0).stdout;
    assert_eq!(shown, "www-data\nx1\nport\n\\u{1b}]0;title\\u{7}");
    let raw = home.run(&["break-glass", "replay", name, "--raw"]).expect(0).stdout;
    assert_eq!(raw, answer.stdout);
    let told = home.run(&["break-glass", "replay", name, "--json"]).expect(0).json();
    assert_eq!(told["last"], done[0]["body"]["end"]["recording"], "{told}");
    assert!(told["title"].as_str().unwrap().contains("it hangs (root)"), "{told}");
    // One that was changed is not shown at all.
    let path = recording(&home, session);
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("www-data", "nobody")).unwrap();
    let refused = home.run(&["break-glass", "replay", name, "--json"]).expect(1);
    assert_eq!(refused.json()["error"]["code"], "recording_changed");
    assert!(!refused.stdout.contains("nobody"), "{}", refused.stdout);
    fs::remove_file(&path).unwrap();
    home.run(&["break-glass", "replay", name]).expect(1);
    home.run(&["break-glass", "replay", "glass-nobody"]).expect(5);
    home.run(&["audit", "verify"]).expect(0);
    // What could not be executed leaves the server as it is.
    let other = serving(&home)[0].clone();
    let words = ["break-glass", &other, "--reason", "x", "--for", "5m", "--json", "--", "/no/such"];
    let none = home.run(&words).expect(125).json();
    assert_eq!((&none["reason"], &none["exit"]), (&"not_entered".into(), &125.into()), "{none}");
    until("nothing touched to be left", || home.status()["touched"].is_null());
    assert!(serving(&home).contains(&other));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn whoever_is_killed_a_session_ends_is_settled_and_its_server_replaced() {
    let home = home();
    let one = serving(&home)[0].clone();
    let session = Begun::new(&home, &one, &["--for", "1h"], &waits());
    until("both to sleep", || sleepers() == 2);
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains(&format!("touched: `root` is in `{one}`")), "{text}");
    let words = ["break-glass", &one, "--reason", "x", "--for", "5m", "--json", "--", "true"];
    let twice = home.run(&words).expect(3).json();
    assert_eq!(twice["error"]["code"], "glass_broken_already");
    // The client.
    signal(session.pid(), "KILL");
    let done = ended(&home);
    assert_eq!(done["end"]["reason"], "left", "{done}");
    until("nothing of it to be left", || sleepers() == 0);
    replaced(&home, &one);
    // The control process: nobody is left to tell, and what was shown is recorded.
    let two = serving(&home)[0].clone();
    let session = Begun::new(&home, &two, &["--for", "1h"], &waits());
    signal(home.control_pid(), "KILL");
    session.ended().expect(6);
    until("nothing of it to be left", || sleepers() == 0);
    home.run(&["up"]).expect(0);
    let done = ended(&home);
    assert_eq!((&done["end"]["reason"], &done["instance"]), (&"lost".into(), &two.as_str().into()));
    let name = done["session"].as_str().unwrap();
    assert_eq!(home.run(&["break-glass", "replay", name]).expect(0).stdout, "begun\n");
    replaced(&home, &two);
    // The server.
    let three = serving(&home)[0].clone();
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap().clone();
    let pid = instances.iter().find(|of| of["id"] == three.as_str()).unwrap()["pid"].clone();
    let session = Begun::new(&home, &three, &["--for", "1h"], &waits());
    signal(crate::home::pid(&pid), "KILL");
    session.ended().expect(137);
    until("nothing of it to be left", || sleepers() == 0);
    replaced(&home, &three);
    // Its time.
    let four = serving(&home)[0].clone();
    let session = Begun::new(&home, &four, &["--for", "10s"], &waits());
    let late = session.ended().expect(124);
    assert!(late.stderr.contains("is up"), "{}", late.stderr);
    assert_eq!(ended(&home)["end"]["reason"], "time");
    assert_eq!(sleepers(), 0);
    replaced(&home, &four);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn one_out_of_traffic_gets_no_requests_and_is_kept_while_somebody_is_in_it() {
    let home = home();
    let id = serving(&home)[0].clone();
    let traffic = Traffic::start(home.port);
    let script = "echo begun; until [ -e /tmp/go ]; do sleep 0.1; done; echo gone";
    let session = Begun::new(&home, &id, &["--for", "1h", "--out-of-traffic"], script);
    replaced(&home, &id);
    let is_there = || {
        let groups = home.control_groups();
        groups.iter().any(|group| group.join(&id).exists())
    };
    assert!(is_there(), "somebody is in it");
    // Where tests run in the background of a script, everything that they start ignores SIGINT.
    signal(session.pid(), "TERM");
    drop(session.ended());
    until("it to be gone", || !is_there());
    traffic.stop_whole();
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn no_recording_no_session() {
    let home = home();
    let id = serving(&home)[0].clone();
    let directory = home.path().join("glass");
    let refused = || {
        let words = [
            "break-glass",
            &id,
            "--reason",
            "x",
            "--for",
            "5m",
            "--json",
            "--",
            "touch",
            "/tmp/was",
        ];
        let refused = home.run(&words).expect(1).json();
        assert_eq!(refused["error"]["code"], "not_recorded", "{refused}");
        assert_eq!(events(&home, "glass_broken"), Vec::<Value>::new());
    };
    // Where recordings lie is something else, or leads elsewhere.
    fs::write(&directory, "x").unwrap();
    refused();
    fs::remove_file(&directory).unwrap();
    std::os::unix::fs::symlink("/tmp", &directory).unwrap();
    let words = ["break-glass", &id, "--reason", "x", "--for", "5m", "--", "true"];
    home.run(&words).expect(3);
    fs::remove_file(&directory).unwrap();
    // A disk that is full: at the beginning, and in the middle.
    fs::create_dir(&directory).unwrap();
    let disk = Disk::full(&directory);
    refused();
    disk.make_room();
    let floods = "echo begun; while :; do echo 0123456789012345678901234567890123456789; done";
    let answer = Begun::new(&home, &id, &["--for", "5m"], floods).ended().expect(125);
    assert!(answer.stderr.contains("can't be recorded any further"), "{}", answer.stderr);
    let done = ended(&home);
    assert_eq!(done["end"]["reason"], "not_recorded", "{done}");
    // What was shown is what was recorded.
    let name = done["session"].as_str().unwrap();
    let recorded = home.run(&["break-glass", "replay", name]).expect(0).stdout;
    assert_eq!(recorded, format!("begun\n{}", answer.stdout));
    replaced(&home, &id);
    drop(disk);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// A small disk where recordings lie.
struct Disk(PathBuf);

impl Disk {
    fn full(at: &std::path::Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k,mode=0700", "glass"])
            .arg(at)
            .status();
        assert!(mounted.unwrap().success());
        let disk = Self(at.to_owned());
        let _ = fs::write(disk.filler(), vec![0; 1 << 20]);
        disk
    }

    fn filler(&self) -> PathBuf {
        self.0.join(".filler")
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_session_gets_at_nothing_but_its_server() {
    let home = home();
    let id = serving(&home)[0].clone();
    // Each line that says GOT is something that a session must not have.
    let tries = format!(
        "ls {home} && echo GOT home; cat {home}/control.sock && echo GOT socket; \
         perl -MSocket -e 'socket(S,PF_UNIX,SOCK_STREAM,0); connect(S,sockaddr_un(\"{home}/control.sock\")) and print \"GOT control\\n\"'; \
         for p in /proc/[0-9]*; do ls $p/root{home} && echo GOT through $p; done; \
         mount -t tmpfs x /mnt && echo GOT mount; unshare -U true && echo GOT namespace; nsenter -t 1 -m true && echo GOT enter; \
         chroot / true && echo GOT chroot; mknod /tmp/sda b 8 0 && echo GOT device; kill -0 1 && echo GOT init; \
         echo 1 >/proc/sys/kernel/sysrq && echo GOT setting; touch /srv/site/x && echo GOT root; \
         cp /bin/true /tmp/true; /tmp/true && echo GOT scratch; \
         readlink /proc/$PPID/exe && echo GOT exe; cat /proc/$PPID/environ && echo GOT environ; cat /proc/$PPID/mem && echo GOT memory; \
         perl -e 'require \"syscall.ph\"; 1' ; perl -e 'print \"GOT input\\n\" if 0 == syscall(16, 0, 0x5412, \"x\")'; \
         perl -e 'print \"GOT trace\\n\" if 0 == syscall(101, 16, 2, 0, 0)'; \
         for fd in /proc/self/fd/*; do readlink $fd; done; id -u; grep -E 'Cap(Eff|Bnd)|Seccomp:|NoNewPrivs' /proc/self/status; echo tried",
        home = home.path().display()
    );
    let answer = glass(&home, &id, &tries).expect(0);
    assert!(answer.stdout.ends_with("tried\n"), "{}", answer.stdout);
    assert!(!answer.stdout.contains("GOT"), "{}", answer.stdout);
    for line in
        ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t1"]
    {
        assert!(answer.stdout.contains(line), "{line}: {}", answer.stdout);
    }
    assert!(
        !answer.stdout.contains("socket:["),
        "nothing of control is open in it: {}",
        answer.stdout
    );
    replaced(&home, &id);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn only_a_breaker_may_and_only_whoever_began_it_types() {
    let home = Home::new();
    let port = free_port();
    let mut settings = format!("api {{\n  listen = \"127.0.0.1:{port}\"\n");
    let mut tokens = Vec::new();
    for (name, role) in [("rel", "releaser"), ("glass", "breaker"), ("other", "breaker")] {
        let made = home.run(&["token", "new", name, "--role", role, "--json"]).expect(0).json();
        settings.push_str(made["block"].as_str().unwrap());
        tokens.push(made["token"].as_str().unwrap().to_owned());
    }
    settings.push_str("}\n");
    fs::write(home.path().join("settings.hcl"), settings).unwrap();
    Site::default().write(&home, "x");
    home.up();
    until("the way to be open", || {
        let status = home.status();
        status["control"]["api"]
            .as_array()
            .is_some_and(|ways| ways.iter().all(|way| way["fault"].is_null()))
    });
    let id = serving(&home)[0].clone();
    let ask = |token: &str, words: &[&str]| {
        let mut command = home.command(words);
        command.env("HORNERO_API", format!("http://127.0.0.1:{port}")).env("HORNERO_TOKEN", token);
        Answer::of(&command.output().unwrap())
    };
    let words = ["break-glass", &id, "--reason", "x", "--for", "5m", "--", "echo", "in"];
    let refused = ask(&tokens[0], &words).expect(1);
    assert!(refused.stderr.contains("needs the role breaker"), "{}", refused.stderr);
    assert_eq!(
        ask(&tokens[0], &["break-glass", "ls", "--json"]).expect(0).json(),
        Value::Array(vec![])
    );
    let session = ask(&tokens[1], &words).expect(0);
    assert_eq!(session.stdout, "in\n");
    assert_eq!(sessions(&home)[0]["who"], "token:glass");
    let name = sessions(&home)[0]["session"].as_str().unwrap().to_owned();
    let typed = |token: &str| {
        let output = Command::new("curl")
            .args(["-s", "-d", r#"{"text":"x"}"#, "-H", &format!("authorization: Bearer {token}")])
            .arg(format!("http://127.0.0.1:{port}/v1/glass/{name}/input"))
            .output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    assert!(typed(&tokens[0]).contains("needs_role"));
    assert!(typed(&tokens[2]).contains("no_such_session"));
    replaced(&home, &id);
    assert_eq!(get(home.port, "/").0, 200);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_shell_in_a_terminal_is_typed_in_and_recorded() {
    let home = home();
    let id = serving(&home)[0].clone();
    let binary = env!("CARGO_BIN_EXE_hornero");
    let line = format!("{binary} break-glass {id} --reason x --for 5m");
    // A terminal of its own, as a person has one.
    let mut command = Command::new("script");
    command
        .args(["-qec", &line, "/dev/null"])
        .env("HORNERO_HOME", home.path())
        .env("TERM", "vt100");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = Vec::new();
    let mut until_prompt = |shown: &mut Vec<u8>| {
        let mut byte = [0];
        while !shown.ends_with(b"$ ") {
            assert_eq!(stdout.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(shown));
            shown.push(byte[0]);
        }
        shown.push(b' ');
    };
    until_prompt(&mut shown);
    stdin.write_all(b"echo $TERM-$((40 + 2)); tty; printf '\\033]0;title\\007'\r").unwrap();
    until_prompt(&mut shown);
    stdin.write_all(b"exit 5\r").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5), "{}", String::from_utf8_lossy(&shown));
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.contains("vt100-42\r\n") && shown.contains("not a tty"), "{shown:?}");
    assert!(!shown.contains("\u{1b}]"), "a title is not let through: {shown:?}");
    let name = sessions(&home)[0]["session"].as_str().unwrap().to_owned();
    let told = home.run(&["break-glass", "replay", &name, "--json"]).expect(0).json();
    let of = |code: &str| -> String {
        let moments = told["moments"].as_array().unwrap().iter().filter(|of| of["code"] == code);
        moments.map(|of| of["data"].as_str().unwrap()).collect()
    };
    assert!(of("i").contains("exit 5\r"), "{told}");
    assert!(of("o").contains("\u{1b}]0;title"), "what it wrote is recorded as it was: {told}");
    replaced(&home, &id);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn the_guide_runs_as_printed() {
    let home = home();
    let servers = serving(&home);
    let (one, two) = (PathBuf::from(&servers[0]), PathBuf::from(&servers[1]));
    document::run(
        &home,
        "guides/break-glass.md",
        &[("site-7-k3j9x2ab", one), ("site-7-m8q2w4xz", two)],
    );
}
