//! Control under a service manager: what it tells it, and what its end leaves running.

use std::{
    os::unix::net::UnixDatagram,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    home::{Home, PATIENCE, Running, signal, until},
    site::Site,
};

/// The exit code of a control process that was told to end while servers go on; the unit's `SuccessExitStatus`.
const ENDED_SERVING: i32 = 143;

/// A service manager's side of sd_notify(3), and the control process that it started.
struct Manager {
    socket: UnixDatagram,
    control: Child,
    /// Every message so far.
    told: Vec<String>,
}

impl Manager {
    /// Starts control as a unit with a watchdog of 900 ms would.
    fn start(home: &Home) -> Self {
        let path = home.path().with_file_name("notify.sock");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let mut command = home.command(&["serve"]);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "900000");
        Self { socket, control: command.spawn().unwrap(), told: Vec::new() }
    }

    /// Takes messages until one has `line`; gives that message.
    #[track_caller]
    fn until_told(&mut self, line: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut bytes = [0; 4096];
            if let Ok(length) = self.socket.recv(&mut bytes) {
                let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
                self.told.push(message.clone());
                if message.lines().any(|told| told.starts_with(line)) {
                    return message;
                }
            }
            assert!(Instant::now() < deadline, "no `{line}` in {:#?}", self.told);
        }
    }

    /// Ends control as `systemctl stop` does; gives its exit code.
    #[track_caller]
    fn stop(&mut self) -> Option<i32> {
        signal(i32::try_from(self.control.id()).unwrap(), "TERM");
        self.until_told("STOPPING=1");
        self.control.wait().unwrap().code()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.control.kill();
        let _ = self.control.wait();
    }
}

#[test]
fn the_service_manager_is_told_of_start_life_and_end() {
    let home = Home::with_own_store();
    let mut manager = Manager::start(&home);
    manager.until_told("STATUS=starting: opening the ledger");
    assert!(manager.told.iter().all(|message| message.contains("EXTEND_TIMEOUT_USEC=")));
    manager.until_told("READY=1");
    home.run(&["status"]).expect(0);
    for _ in 0..3 {
        manager.until_told("WATCHDOG=1");
    }
    assert_eq!(manager.stop(), Some(0), "nothing is left to serve");
    home.assert_clean();
}

#[test]
fn a_control_process_that_hangs_gives_no_sign_of_life() {
    let home = Home::with_own_store();
    let mut manager = Manager::start(&home);
    manager.until_told("READY=1");
    let control = i32::try_from(manager.control.id()).unwrap();
    let task = format!("/proc/{control}/stat");
    manager.until_told("WATCHDOG=1");
    signal(control, "STOP");
    until("control to be stopped", || std::fs::read_to_string(&task).unwrap().contains(") T "));
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    // More than the whole of what the watchdog allows.
    manager.socket.set_read_timeout(Some(Duration::from_millis(1_000))).unwrap();
    assert!(manager.socket.recv(&mut [0; 4096]).is_err());
    signal(control, "CONT");
    manager.until_told("WATCHDOG=1");
}

#[test]
fn stopping_the_unit_leaves_servers_and_traffic_as_they_are() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    let control = home.control_pid();
    signal(control, "KILL");
    until("control to be gone", || !Path::new(&format!("/proc/{control}/exe")).exists());
    let mut manager = Manager::start(&home);
    let ready = manager.until_told("READY=1");
    assert!(ready.contains("STATUS=1 service is up"), "{ready}");
    assert_eq!(manager.stop(), Some(ENDED_SERVING));
    assert_eq!(home.get("/"), (200, "page".to_owned()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn systemd_understands_every_line_of_the_unit() {
    let unit = include_str!("../../../../../packaging/hornero.service");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hornero.service");
    std::fs::write(&path, unit.replace("/usr/bin/hornero", env!("CARGO_BIN_EXE_hornero"))).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (sound, _, complaints) = analyze(&["verify", "--man=no"]);
    assert!(sound && complaints.is_empty(), "{complaints}");
    // In tenths; what is left is what starting servers takes, as the unit's comments say.
    let (within, report, _) = analyze(&["security", "--offline=true", "--threshold=88"]);
    assert!(within, "{report}");
}

/// Ends everything of a home at once, as a power cut does: control, edge, launcher, shims, and with these the servers.
/// What the kernel keeps, such as bridge and packet filter, is left for the next start to deal with.
fn cut_the_power(home: &Home) {
    let pids = processes(home);
    // Stopped first: what is left must not record how the others ended.
    pids.iter().for_each(|pid| signal(*pid, "STOP"));
    pids.iter().for_each(|pid| signal(*pid, "KILL"));
    until_gone(&pids);
}

/// Ends everything of a home as a host does that goes down in good order: the unit first, then SIGTERM for whoever is
/// left.
fn shut_down(home: &Home) {
    let control = home.control_pid();
    signal(control, "TERM");
    until_gone(&[control]);
    let pids = processes(home);
    pids.iter().for_each(|pid| signal(*pid, "TERM"));
    until_gone(&pids);
}

/// Control, edge, launcher and shims.
fn processes(home: &Home) -> Vec<i32> {
    let own = home.path().display().to_string();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&format!("--home {own} ")) {
            pids.push(pid);
        }
    }
    pids
}

fn until_gone(pids: &[i32]) {
    let gone = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    until("every process to be gone", || pids.iter().all(gone));
}

/// Starts control on another start of the host, with nothing but what is on disk.
fn start_on_next_boot(home: &Home) -> Running {
    let mut command = home.command(&["serve"]);
    let log = std::fs::File::create(home.path().join("serve.log")).unwrap();
    command.env("HORNERO_BOOT_ID", "the-next-one").stdout(Stdio::null()).stderr(log);
    Running(command.spawn().unwrap())
}

#[test]
fn after_a_power_cut_services_are_up_again_by_themselves() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    let before = home.status()["services"][0]["instances"].clone();
    cut_the_power(&home);
    // Torn by the cut: records that were never synced. One must not take the rest with it.
    let first = before[0]["id"].as_str().unwrap();
    std::fs::write(home.path().join("instances").join(first).join("spec.json"), b"{\"for").unwrap();

    let _control = start_on_next_boot(&home);
    until("the site to answer", || home.get("/") == (200, "page".to_owned()));
    until("both servers to serve", || {
        let status = home.run(&["status", "--json"]);
        status.code == 0 && {
            let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
            let instances = status["services"][0]["instances"].as_array().unwrap().clone();
            instances.iter().filter(|instance| instance["state"] == "serving").count() == 2
        }
    });
    let after = home.status()["services"][0]["instances"].clone();
    assert_eq!(home.status()["services"][0]["release"], 1, "the same release");
    for instance in after.as_array().unwrap() {
        assert!(before.as_array().unwrap().iter().all(|old| old["id"] != instance["id"]));
    }
    until("the log to say how long it took", || {
        let log = std::fs::read_to_string(home.path().join("serve.log")).unwrap();
        log.contains("the service is healthy ") && log.contains(" s after start")
    });
    let history = home.run(&["history", "site"]).expect(0).stdout;
    assert!(history.contains("host started again "), "{history}");
    let history = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(history[0]["host_started"].as_array().unwrap().len(), 1, "{history}");
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    assert!(audit.contains("\"kind\":\"host_started\""), "{audit}");
    assert!(audit.contains("host_restarted"), "{audit}");
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_reboot_in_good_order_blames_no_release_either() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    shut_down(&home);
    let _control = start_on_next_boot(&home);
    until("the site to answer", || home.get("/") == (200, "page".to_owned()));
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let failed: Vec<&str> =
        audit.lines().filter(|line| line.contains("\"state\":\"failed\"")).collect();
    assert_eq!(failed.len(), 2, "{audit}");
    assert!(failed.iter().all(|line| line.contains("host_restarted")), "{failed:#?}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// The table on disk names backends of the last start of the host, whose addresses may be others' by now.
#[test]
fn an_edge_routes_to_no_backend_of_another_start_of_the_host() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    cut_the_power(&home);
    let mut command = home.command(&["edge"]);
    command.env("HORNERO_BOOT_ID", "the-next-one").stdout(Stdio::null()).stderr(Stdio::null());
    let edge = Running(command.spawn().unwrap());
    // It listens and knows of no server: that is told, and nothing is sent anywhere.
    until("the edge to answer", || std::net::TcpStream::connect(("127.0.0.1", home.port)).is_ok());
    assert_eq!(home.get("/").0, 503);
    drop(edge);
    let _control = start_on_next_boot(&home);
    until("the site to answer", || home.get("/") == (200, "page".to_owned()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn control_and_edge_log_json_when_asked() {
    let home = Home::with_own_store();
    let log = home.path().with_file_name("log");
    let mut command = home.command(&["serve", "--log-format", "json", "--log-level", "debug"]);
    command.stderr(std::fs::File::create(&log).unwrap());
    let control = Running(command.spawn().unwrap());
    until("control to answer", || home.run(&["status"]).code == 0);
    for path in [log, home.path().join("edge/edge.log")] {
        let text = std::fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect(line);
            for (field, is_right) in [
                ("timestamp", line["timestamp"].is_string()),
                ("level", line["level"].is_string()),
                ("target", line["target"].as_str().is_some_and(|of| of.starts_with("hornero"))),
                ("message", line["message"].is_string()),
                ("fields", line["fields"].is_object()),
            ] {
                assert!(is_right, "{field} in {line}");
            }
        }
        let first: serde_json::Value = serde_json::from_str(first).unwrap();
        assert!(first["fields"]["version"].is_string(), "{first}");
        assert!(first["fields"]["process"].is_u64(), "{first}");
    }
    signal(control.pid(), "TERM");
}

/// The journal's stream is known by device and inode; any file can stand for it.
#[test]
fn lines_for_the_journal_carry_their_priority() {
    use std::os::unix::fs::MetadataExt as _;
    let home = Home::with_own_store();
    let log = home.path().with_file_name("journal");
    let file = std::fs::File::create(&log).unwrap();
    let found = file.metadata().unwrap();
    let mut command = home.command(&["serve"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino())).stderr(file);
    let control = Running(command.spawn().unwrap());
    until("control to answer", || home.run(&["status"]).code == 0);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.starts_with("<6>control starts "), "{text}");
    assert!(text.contains("<6>the edge starts "), "the edge logs to the same journal: {text}");
    assert!(text.lines().all(|line| line.starts_with('<')), "{text}");
    assert!(!home.path().join("edge/edge.log").exists());
    signal(control.pid(), "TERM");
}

/// Twenty servers on a host that was started again: what Hornero itself takes until they are healthy.
#[test]
fn twenty_servers_are_up_again_in_parallel() {
    let home = Home::new();
    Site { instances: 20, ..Site::default() }.write(&home, "page");
    home.up();
    cut_the_power(&home);
    let begun = Instant::now();
    let _control = start_on_next_boot(&home);
    until("the site to answer", || home.get("/") == (200, "page".to_owned()));
    let first = begun.elapsed();
    let log = || std::fs::read_to_string(home.path().join("serve.log")).unwrap_or_default();
    until("all to be healthy", || log().contains("the service is healthy "));
    let line =
        log().lines().find(|line| line.contains("the service is healthy ")).unwrap().to_owned();
    println!("first answer after {:.2} s; {line}", first.as_secs_f64());
    let serving = home.status()["services"][0]["instances"].as_array().unwrap().clone();
    assert_eq!(serving.iter().filter(|instance| instance["state"] == "serving").count(), 20);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
