//! The API over TCP: who is let in by which way, what each may, and what nobody gets by attacking it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;

use crate::{
    home::{Answer, Home, Running, free_port, signal, until},
    site::Site,
};

/// Runs openssl.
fn openssl(arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A certificate for this host, one that signs those of clients, and one of a client with its key.
struct Certificates(PathBuf);

impl Certificates {
    fn made(at: PathBuf) -> Self {
        let dir = at.display();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        let san = "-addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE";
        openssl(&format!(
            "req -x509 {key} -subj /CN=hornero {san} -keyout {dir}/api.key -out {dir}/api.pem"
        ));
        openssl(&format!(
            "req -x509 {key} -subj /CN=clients -keyout {dir}/ca.key -out {dir}/ca.pem"
        ));
        let signed = format!(
            "-CA {dir}/ca.pem -CAkey {dir}/ca.key -addext basicConstraints=critical,CA:FALSE"
        );
        openssl(&format!(
            "req -x509 {key} {signed} -subj /CN=pager -keyout {dir}/pager.key -out {dir}/pager.crt"
        ));
        let pair =
            ["pager.crt", "pager.key"].map(|file| fs::read_to_string(at.join(file)).unwrap());
        fs::write(at.join("pager.pem"), pair.concat()).unwrap();
        Self(at)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

/// A token of a role, whose block is added to `blocks`.
fn token(home: &Home, name: &str, role: &str, blocks: &mut String) -> String {
    let made = home.run(&["token", "new", name, "--role", role, "--json"]).expect(0).json();
    blocks.push_str(made["block"].as_str().unwrap());
    made["token"].as_str().unwrap().to_owned()
}

/// What a command says that asks an API elsewhere: its home has nothing.
fn elsewhere(url: &str, token: &str, arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hornero"));
    command.args(arguments).env("HORNERO_API", url).env("HORNERO_TOKEN", token);
    command.env("HORNERO_HOME", "/nonexistent");
    Answer::of(&command.output().unwrap())
}

#[test]
fn tools_elsewhere_do_what_their_role_may_and_the_ledger_says_who() {
    let home = Home::new();
    let certificates = Certificates::made(home.directory_beside("certificates"));
    // Everybody gets at the socket; its directory is nobody's home.
    let public = tempfile::Builder::new().prefix("hornero-public-").tempdir().unwrap();
    fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let socket = public.path().join("group.sock").display().to_string();
    let (port, mut blocks) = (free_port(), String::new());
    let viewer = token(&home, "look", "viewer", &mut blocks);
    let operator = token(&home, "ops", "operator", &mut blocks);
    let settings = format!(
        "api {{\n  listen = \"127.0.0.1:{port}\"\n  certificate = \"{}\"\n  key = \"{}\"\n  client_ca = \"{}\"\n{blocks}  \
         client \"pager\" {{\n    role = \"operator\"\n  }}\n  socket = \"{}\"\n  group \"nogroup\" {{\n    \
         role = \"viewer\"\n  }}\n}}\n",
        certificates.path("api.pem"),
        certificates.path("api.key"),
        certificates.path("ca.pem"),
        socket,
    );
    fs::write(home.path().join("settings.hcl"), settings).unwrap();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    home.up();
    until("both ways to be open", || {
        let status = home.status();
        let ways = status["control"]["api"].as_array().cloned().unwrap_or_default();
        ways.len() == 2 && ways.iter().all(|way| way["fault"].is_null())
    });
    let url = format!("https://127.0.0.1:{port}");
    let ca = certificates.path("api.pem");
    let ask = |token: &str, arguments: &[&str]| {
        elsewhere(&url, token, &[arguments, &["--api-ca", &ca]].concat())
    };
    let seen = ask(&viewer, &["status", "--json"]).expect(0).json();
    assert_eq!(seen["services"][0]["name"], "site");
    ask(&viewer, &["logs", "site", "--json"]).expect(0);
    let refused = ask(&viewer, &["recycle", "site"]).expect(1);
    assert!(refused.stderr.contains("needs the role operator"), "{}", refused.stderr);
    let before = ids(&home);
    ask(&operator, &["recycle", "site", "--reason", "from elsewhere"]).expect(0);
    assert_ne!(ids(&home), before);
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    assert!(audit.contains("\"who\":\"token:ops\""), "{audit}");
    assert!(!audit.contains(&operator) && !audit.contains(&viewer), "no token is recorded");
    ask("wrong", &["status"]).expect(1);
    // Without a token, by a certificate.
    let pem = certificates.path("pager.pem");
    ask("", &["recycle", "site", "--api-certificate", &pem]).expect(0);
    assert!(home.run(&["audit", "--json"]).stdout.contains("certificate:pager"));
    // What works on the host says so, and certificates that nobody signed are not trusted.
    let refused = ask(&operator, &["up"]).expect(2);
    assert!(refused.stderr.contains("works on the host itself"), "{}", refused.stderr);
    elsewhere(&url, &viewer, &["status"]).expect(6);
    let refused = elsewhere("http://192.0.2.1:1", &viewer, &["status"]).expect(2);
    assert!(refused.stderr.contains("without TLS"), "{}", refused.stderr);
    // Members of groups, by their own socket: `nobody` looks, and daemon does not.
    let curl = |user: &str, arguments: &[&str]| -> String {
        let output = Command::new("setpriv")
            .args([
                &format!("--reuid={user}"),
                &format!("--regid={user}"),
                "--clear-groups",
                "curl",
                "-s",
            ])
            .args(["--max-time", "20", "--unix-socket", &socket])
            .args(arguments)
            .output();
        text(&output.unwrap())
    };
    let (nobody, daemon) = ("65534", "1");
    assert!(curl(nobody, &["http://x/v1/status"]).contains("\"services\""));
    let post = ["-d", "{\"object\":\"site\"}", "http://x/v1/recycle"];
    assert!(curl(nobody, &post).contains("needs_role"));
    assert!(curl(daemon, &["http://x/v1/status"]).contains("is in no group"));
    home.run(&["down", "--all"]).expect(0);
    home.assert_clean();
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ids(home: &Home) -> Vec<String> {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap().clone();
    instances.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
}

/// Sends bytes over a new connection and reads the answer to its end.
fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // What is refused early may not be read to its end.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn status_of(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Control without a service.
struct Idle {
    home: Home,
    control: Option<Running>,
}

impl Idle {
    fn started() -> Self {
        let mut idle = Self { home: Home::with_own_store(), control: None };
        idle.start();
        idle
    }

    fn start(&mut self) {
        self.control = Some(self.home.spawn(&["serve"]));
        until("control to answer", || {
            let status = self.home.run(&["status", "--json"]);
            status.code == 0 && status.json()["control"]["absent"] != true
        });
    }

    /// A link for a browser, and the port that it leads to.
    fn link(&self, arguments: &[&str]) -> (String, u16) {
        let made = self.home.run(&[&["dashboard", "--json"], arguments].concat()).expect(0).json();
        let url = made["url"].as_str().unwrap();
        let rest = url.strip_prefix("http://127.0.0.1:").unwrap();
        let (port, path) = rest.split_once('/').unwrap();
        (format!("/{path}"), port.parse().unwrap())
    }

    /// A browser that was let in.
    fn browser(&self, arguments: &[&str]) -> Browser {
        let (path, port) = self.link(arguments);
        let answer = exchange(
            port,
            &format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"),
        );
        assert_eq!(status_of(&answer), 303, "{answer}");
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Browser { port, cookie }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.control.take();
    }
}

struct Browser {
    port: u16,
    cookie: String,
}

impl Browser {
    fn head(&self, line: &str, more: &str) -> String {
        let Self { port, cookie } = self;
        format!(
            "{line} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncookie: {cookie}\r\nconnection: close\r\n{more}\r\n"
        )
    }

    fn asks(&self, line: &str, more: &str) -> (u16, String) {
        let answer = exchange(self.port, &self.head(line, more));
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status_of(&answer), body.unwrap_or_default())
    }

    fn session(&self) -> Value {
        serde_json::from_str(&self.asks("GET /v1/session", "").1).unwrap_or_default()
    }
}

#[test]
fn browsers_are_let_in_once_and_stay_over_a_restart() {
    let mut idle = Idle::started();
    let (path, port) = idle.link(&[]);
    let get = |path: &str| {
        exchange(
            port,
            &format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"),
        )
    };
    assert_eq!(status_of(&get(&path)), 303);
    let again = get(&path);
    assert!(status_of(&again) == 403 && again.contains("wrong_code"), "{again}");
    let page = get("/");
    for header in [
        "content-security-policy: default-src 'self'",
        "frame-ancestors 'none'",
        "x-frame-options: DENY",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.contains(header), "{header} of {page}");
    }
    assert!(!page.to_ascii_lowercase().contains("access-control-"), "{page}");
    let browser = idle.browser(&["--role", "operator"]);
    assert_eq!(browser.port, port, "one listener is enough");
    assert_eq!(
        (&browser.session()["user"], &browser.session()["role"]),
        (&"dashboard:root".into(), &"operator".into())
    );
    // Killed, and there again at the same port with the same browsers.
    signal(idle.home.control_pid(), "KILL");
    idle.start();
    until("the browser to be known again", || browser.session()["role"] == "operator");
    let (code, body) = browser.asks(
        "POST /v1/logout",
        &format!("origin: http://127.0.0.1:{port}\r\ncontent-length: 0\r\n"),
    );
    assert_eq!(code, 200, "{body}");
    assert_eq!(browser.asks("GET /v1/session", "").0, 401);
    let kept = fs::read_to_string(idle.home.path().join("api.logins.json")).unwrap();
    assert!(!kept.contains(browser.cookie.split_once('=').unwrap().1), "only hashes are kept");
}

#[test]
fn an_attacker_gets_nothing() {
    let idle = Idle::started();
    let viewer = idle.browser(&[]);
    let admin = idle.browser(&["--role", "admin"]);
    let port = viewer.port;
    let own = format!("origin: http://127.0.0.1:{port}\r\n");
    // What looks may not act, and pages of others may nothing at all.
    let post = "content-type: application/json\r\ncontent-length: 2\r\n";
    let act = |browser: &Browser, more: &str| {
        let head = browser.head("POST /v1/shutdown", &format!("{more}{post}"));
        exchange(port, &format!("{head}{{}}"))
    };
    assert!(act(&viewer, &own).contains("needs_role"));
    for other in [
        "",
        "origin: null\r\n",
        "origin: http://evil.example.com\r\n",
        "origin: http://127.0.0.1:1\r\n",
        "origin: http://localhost:1\r\n",
        "sec-fetch-site: same-site\r\n",
        "sec-fetch-site: cross-site\r\n",
    ] {
        let answer = act(&admin, other);
        assert!(status_of(&answer) == 403 && answer.contains("wrong_origin"), "{other}: {answer}");
    }
    for other in ["sec-fetch-site: cross-site\r\n", "origin: http://evil.example.com\r\n"] {
        assert_eq!(admin.asks("GET /v1/status", other).0, 403, "{other}");
    }
    // A name that leads here and is not ours.
    for host in ["evil.example.com", "127.0.0.1.evil.example.com", ""] {
        let request = format!(
            "GET /v1/status HTTP/1.1\r\nhost: {host}\r\ncookie: {}\r\nconnection: close\r\n\r\n",
            admin.cookie
        );
        assert_eq!(status_of(&exchange(port, &request)), 421, "{host}");
    }
    // Ways around.
    for path in [
        "/../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2fapi.logins.json",
        "//etc/passwd",
        "/v1/../etc/passwd",
        "/v1//status",
        "/V1/STATUS",
        "/v1/status/",
        "/v1/status%00",
        "/login/../v1/status",
    ] {
        let answer = exchange(
            port,
            &format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n"),
        );
        assert!(matches!(status_of(&answer), 401 | 404 | 400), "{path}: {answer}");
        assert!(!answer.contains("root:"), "{answer}");
        let (code, body) = admin.asks(&format!("GET {path}"), "");
        assert!(matches!(code, 404 | 400), "{path}: {code} {body}");
    }
    // Heads and bodies without end; whoever is nobody is refused before a body is read.
    let long = format!("x: {}\r\n", "a".repeat(200_000));
    assert!(matches!(admin.asks("GET /v1/status", &long).0, 431 | 400 | 0));
    let huge =
        "POST /v1/apply HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1099511627776\r\n\r\n";
    assert_eq!(status_of(&exchange(port, huge)), 401);
    let head = admin.head("POST /v1/apply", &format!("{own}content-length: 9000000\r\n"));
    // What is left unsent may take the answer with it.
    let code = status_of(&exchange(port, &format!("{head}{}", " ".repeat(9_000_000))));
    assert!(matches!(code, 400 | 0), "{code}");
    // Requests that are never ended, more than there are connections, from elsewhere and from here.
    let mut stalled = Vec::new();
    for source in ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.1"] {
        for begun in [
            "",
            "GET /v1/sta",
            "POST /v1/apply HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\n",
        ] {
            for _ in 0..40 {
                let mut stream = from(source, port);
                let _ = stream.write_all(begun.as_bytes());
                stalled.push(stream);
            }
        }
    }
    assert_eq!(viewer.session()["role"], "viewer");
    idle.home.run(&["status"]).expect(0);
    drop(stalled);
    // Guesses, until this address is not heard any more; the host's own socket is no matter of it.
    let guess = |number: u32| {
        exchange(
            port,
            &format!(
                "GET /v1/status HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {number}\r\n\r\n"
            ),
        )
    };
    let codes: Vec<u16> = (0..12).map(|number| status_of(&guess(number))).collect();
    assert!(codes.contains(&401) && codes[11] == 429, "{codes:?}");
    let answer = guess(12);
    assert!(
        answer.contains("retry-after: ") && answer.contains("\"code\":\"too_many_requests\""),
        "{answer}"
    );
    idle.home.run(&["status"]).expect(0);
    let log = fs::read_to_string(idle.home.path().join("api.logins.json")).unwrap();
    assert!(!log.contains("Bearer"));
}

/// A connection from another address of this host.
fn from(source: &str, port: u16) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

/// The ids and the data of a stream of events, as far as they are whole.
fn events(text: &str) -> Vec<(u64, Value)> {
    let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    let frames =
        whole.split("\n\n").filter(|frame| frame.contains("data: ") && !frame.contains("event: "));
    frames
        .map(|frame| {
            let of = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            (of("id: ").parse().unwrap(), serde_json::from_str(of("data: ")).unwrap())
        })
        .collect()
}

/// Follows events by curl into a file.
fn followed(home: &Home, out: &Path, after: u64) -> Running {
    let mut command = Command::new("curl");
    command.args(["-sN", "--unix-socket"]).arg(home.path().join("control.sock"));
    command.arg("-H").arg(format!("Last-Event-ID: {after}"));
    command.arg("http://x/v1/events?after=9999999").stdout(fs::File::create(out).unwrap());
    Running(command.spawn().unwrap())
}

#[test]
fn events_have_neither_gaps_nor_doubles_over_a_kill() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    home.up();
    let out = home.directory_beside("events");
    let (mut seen, mut last): (Vec<(u64, Value)>, u64) = (Vec::new(), 0);
    for round in 0..4 {
        let file = out.join(round.to_string());
        let reader = followed(&home, &file, last);
        let work = home.spawn(&["recycle", "site"]);
        let read = || events(&fs::read_to_string(&file).unwrap());
        until("something to happen", || read().len() > 2 + 2 * round);
        signal(home.control_pid(), "KILL");
        drop((work, reader));
        seen.extend(read());
        last = seen.last().unwrap().0;
        home.run(&["recycle", "site"]).expect(0);
    }
    let (file, newest) = (out.join("end"), home.status()["control"]["sequence"].as_u64().unwrap());
    let reader = followed(&home, &file, last);
    let read = || events(&fs::read_to_string(&file).unwrap());
    until("the rest", || read().last().is_some_and(|event| event.0 >= newest));
    seen.extend(read());
    drop(reader);
    let ids: Vec<u64> = seen.iter().map(|event| event.0).collect();
    let count = u64::try_from(ids.len()).unwrap();
    assert_eq!(ids, (1..=count).collect::<Vec<_>>(), "each once, in order");
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let recorded = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let recorded: Vec<Value> = recorded.take(ids.len()).collect();
    assert!(seen.iter().map(|event| &event.1).eq(recorded.iter()), "as `audit` shows them");
    home.run(&["down", "--all"]).expect(0);
}
