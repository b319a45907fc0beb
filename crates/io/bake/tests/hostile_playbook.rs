//! Playbooks of somebody else: what their plugins and lookups see of the host, by everything that Ansible evaluates.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod support;

use std::{
    fs,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use hornero_bake::{BakeContext, BakeError, BakeOptions, BakedImage, Patience};
use hornero_spec::{AnsibleProvision, Base, Provision, ProvisionWork};
use serde_json::Value;
use support::home::{Home, chain, image, name};

/// Says in the test's own process, started again, where its directory is.
const PLACE: &str = "HORNERO_TEST_HOSTILE_PLACE";
/// A secret in the environment of the bake.
const TOKEN: &str = "token-of-whoever-bakes";

/// What each plugin tries. It finds what to try in `targets.json`, and gives a JSON object.
const PROBE: &str = r#"
import json, os, socket, subprocess

def attempt(work):
    try:
        return str(work())
    except OSError as error:
        return "refused: %s" % error.__class__.__name__

def connect(family, address):
    with socket.socket(family) as peer:
        peer.settimeout(0.5)
        peer.connect(address)
        return "connected"

def write(path):
    with open(path, "w") as file:
        file.write("x")
    os.unlink(path)
    return "written"

def read(path):
    with open(path, "rb") as file:
        return "read %d" % len(file.read())

def report():
    with open("/playbook/targets.json") as file:
        targets = json.load(file)
    found = {}
    for path in targets["sockets"]:
        found["socket " + path] = attempt(lambda: connect(socket.AF_UNIX, path))
    found["abstract"] = attempt(lambda: connect(socket.AF_UNIX, "\0" + targets["abstract"]))
    for port in targets["ports"]:
        for host in targets["hosts"]:
            found["port %s %d" % (host, port)] = attempt(lambda: connect(socket.AF_INET, (host, port)))
    for path in targets["files"]:
        found["file " + path] = attempt(lambda: read(path))
    for path in ["/", "/playbook", "/usr/bin", "/ansible", "/etc", "/run/hornero"]:
        found["write " + path] = attempt(lambda: write(path + "/hornero-probe"))
    found["kill"] = attempt(lambda: os.kill(targets["pid"], 0))
    found["user namespace"] = "%d" % subprocess.call(["unshare", "-Ur", "true"], stderr=subprocess.DEVNULL)
    found["mount"] = "%d" % subprocess.call(["mount", "-t", "tmpfs", "none", "/tmp"], stderr=subprocess.DEVNULL)
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    for key in ["Uid", "Groups", "CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"]:
        found[key] = " ".join(status[key].split())
    found["root"] = " ".join(sorted(os.listdir("/")))
    found["run"] = " ".join(sorted(os.listdir("/run")))
    found["processes"] = "%d" % max(int(name) for name in os.listdir("/proc") if name.isdigit())
    found["first"] = open("/proc/1/cmdline").read()
    found["links"] = "%d" % (len(open("/proc/net/dev").read().splitlines()) - 2)
    found["environment"] = " ".join(sorted(os.environ))
    found["token"] = "%s" % any(targets["token"] in value for value in os.environ.values())
    return json.dumps(found)
"#;

const LOOKUP: &str = "
from ansible.plugins.lookup import LookupBase
class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        return [report()]
";
const FILTER: &str = "
class FilterModule:
    def filters(self):
        return {'probed': lambda _: report()}
";
/// On the connection being made, before any task: callbacks see everything.
const CALLBACK: &str = "
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = 'aggregate'
    CALLBACK_NAME = 'probe'
    def v2_playbook_on_start(self, playbook):
        open('/tmp/from-callback', 'w').write(report())
";
const ACTION: &str = "
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {'changed': False, 'found': report()}
";

const PLAYBOOK: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - file: { path: /srv/out, state: directory }
    - copy: { dest: /srv/out/lookup, content: "{{ lookup('probe') | string }}" }
    - copy: { dest: /srv/out/filter, content: "{{ '' | probed | string }}" }
    - copy: { dest: /srv/out/callback, content: "{{ lookup('file', '/tmp/from-callback') | string }}" }
    - probe_action:
      register: probed
    - copy: { dest: /srv/out/action, content: "{{ probed.found | string }}" }
    - copy:
        dest: /srv/out/pipe
        content: "{{ lookup('pipe', 'python3 -c \"import sys; sys.path.insert(0, chr(46)); import probe; print(probe.report())\"') | string }}"
    - copy:
        dest: /srv/out/words
        content: >-
          {{ lookup('env', 'TOKEN') }}|{{ lookup('pipe', 'cat /etc/shadow /proc/1/environ 2>/dev/null; true') }}|{{
          lookup('file', '/etc/shadow', errors='ignore') }}|{{ lookup('file', '../beside', errors='ignore') }}|{{
          lookup('pipe', 'cat ../beside /root/.ssh/* /home/*/.ssh/* 2>/dev/null; true') }}|
    - command: touch /srv/out/delegated
      delegate_to: localhost
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - command: touch /srv/out/local
"#;

const CONFIGURATION: &str = "[defaults]\ncow_path = PLACE/evil\nlog_path = PLACE/log\nlocal_tmp = PLACE/tmp\n\
    callbacks_enabled = probe\ncowsay_enabled_stencils = default\nexecutable = PLACE/evil\n";

fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("the machine is a Debian one").trim_matches('"').to_owned()
}

fn declare(home: &mut Home) {
    let debian = Base::Debian { suite: suite(), mirror: None, keyring: None };
    home.add(image("base", debian, &["python3"]));
    for (text, network) in [("isolated", false), ("connected", true)] {
        let mut definition = image(text, Base::Image(name("base")), &[]);
        let ansible = AnsibleProvision {
            playbook: "ansible/site.yml".to_owned(),
            extra_vars: Default::default(),
            groups: Vec::new(),
        };
        definition.provisions = vec![Provision {
            work: ProvisionWork::Ansible(ansible),
            env: Default::default(),
            network,
            secrets: Vec::new(),
        }];
        home.add(definition);
    }
}

fn bake(home: &Home, image: &str) -> BakedImage {
    try_bake(home, image).unwrap_or_else(|error| panic!("{}\n{:#?}", chain(&error), home.heard()))
}

fn try_bake(home: &Home, image: &str) -> Result<BakedImage, BakeError> {
    let mut context: BakeContext<'_> = home.context();
    context.apt_dir = PathBuf::from("/etc/apt");
    context.patience = Patience { answer: Duration::from_secs(60), ..Patience::default() };
    context.environment = Arc::new(|_| None);
    let (store, options) = (home.store(), BakeOptions::default());
    hornero_bake::bake(&context, &store, &home.spec, &home.source, &[name(image)], options)
        .map(|mut baked| baked.remove(0))
}

#[test]
fn a_playbook_sees_nothing_of_the_host() {
    if let Some(place) = std::env::var_os(PLACE) {
        return see_nothing(Path::new(&place));
    }
    let place = tempfile::tempdir().unwrap();
    let home = Home::at(&place.path().join("home"), &place.path().join("source"));
    // As a command that is given in the directory: Ansible's configuration there counts for nothing.
    let text = CONFIGURATION.replace("PLACE", place.path().to_str().unwrap());
    for path in ["ansible.cfg", "ansible/ansible.cfg"] {
        home.write(path, &text);
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_playbook_sees_nothing_of_the_host", "--nocapture"])
        .env(PLACE, place.path())
        .env("TOKEN", TOKEN)
        .current_dir(home.source)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

/// Makes what a playbook may try to reach, and one that tries.
fn see_nothing(place: &Path) {
    let mut home = Home::at(&place.join("home"), &place.join("source"));
    declare(&mut home);
    fs::create_dir_all(&home.path).unwrap();
    let evil = place.join("evil");
    fs::write(&evil, format!("#!/bin/sh\ntouch {}/ran\necho default\n", place.display())).unwrap();
    fs::set_permissions(&evil, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let sockets = [home.path.join("control.sock"), place.join("other.sock")];
    let _listening = sockets.each_ref().map(|path| {
        let listener = UnixListener::bind(path).unwrap();
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        listener
    });
    let abstract_name = format!("hornero-hostile-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    let _abstract = UnixListener::bind_addr(&address).unwrap();
    let tcp = ["127.0.0.1:0", "0.0.0.0:0"].map(|at| TcpListener::bind(at).unwrap());
    let key = home.path.join("key");
    fs::write(&key, "the signing key").unwrap();
    let beside = home.source.join("beside");
    fs::write(&beside, "not of the playbook").unwrap();
    let gateway = hornero_net::HomeNetwork::open(&home.path).unwrap().gateway().to_string();
    let targets = serde_json::json!({
        "sockets": sockets.each_ref().map(|path| path.display().to_string()),
        "abstract": abstract_name,
        "ports": tcp.each_ref().map(|listener| listener.local_addr().unwrap().port()),
        "hosts": hosts(&gateway),
        "files": ["/etc/shadow", "/etc/hornero", "/root/.bashrc", "/etc/machine-id", "/proc/1/environ", "/proc/1/root/etc/shadow", "/proc/kcore", "/dev/kmsg",
            "/dev/sda", "/dev/vda", key, beside],
        "pid": std::process::id(),
        "token": TOKEN,
    });
    home.write("ansible/targets.json", &targets.to_string());
    home.write("ansible/site.yml", PLAYBOOK);
    home.write("ansible/probe.py", PROBE);
    for (path, plugin) in [
        ("lookup_plugins/probe.py", LOOKUP),
        ("filter_plugins/probe.py", FILTER),
        ("callback_plugins/probe.py", CALLBACK),
        ("action_plugins/probe_action.py", ACTION),
    ] {
        home.write(&format!("ansible/{path}"), &format!("{PROBE}\n{plugin}"));
    }
    home.write("ansible/library/probe_action.py", "#!/usr/bin/python3\n");
    for target in [Path::new("/etc/shadow"), &key] {
        let link = home.source.join("ansible/leak");
        std::os::unix::fs::symlink(target, &link).unwrap();
        let error = chain(&try_bake(&home, "isolated").expect_err("a link leads out"));
        assert!(error.contains("out of what is copied"), "{error}");
        fs::remove_file(&link).unwrap();
    }
    for (image, links) in [("isolated", "1"), ("connected", "2")] {
        let baked = bake(&home, image);
        for way in ["lookup", "filter", "callback", "action", "pipe"] {
            let found = home.read(&baked, &format!("/srv/out/{way}"));
            let found: Value = serde_json::from_str(&found).unwrap_or_else(|_| panic!("{found}"));
            check(&format!("{image} {way}"), &found, links, place);
        }
        assert_eq!(home.read(&baked, "/srv/out/words"), "|||||", "{image}");
        // Made in the step's sandbox, or they would not be in the image.
        for made in ["delegated", "local"] {
            assert_eq!(home.read(&baked, &format!("/srv/out/{made}")), "");
        }
    }
    for made in ["ran", "log", "tmp"] {
        assert!(!place.join(made).exists(), "`{made}`: a configuration of the directory was read");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(place.to_str().unwrap()), "{mounts}");
    assert_eq!(fs::read_to_string(&key).unwrap(), "the signing key");
    hornero_bake::clean(&home.path).unwrap();
    let network = hornero_net::HomeNetwork::open(&home.path).unwrap();
    network.down().unwrap();
}

/// Every address of this host, and the one that it has for the home.
fn hosts(gateway: &str) -> Vec<String> {
    let listed = Command::new("ip").args(["-4", "-o", "addr"]).output().unwrap().stdout;
    let listed = String::from_utf8(listed).unwrap();
    let address = |line: &str| Some(line.split_whitespace().nth(3)?.split('/').next()?.to_owned());
    listed.lines().filter_map(address).chain([gateway.to_owned()]).collect()
}

fn check(way: &str, found: &Value, links: &str, place: &Path) {
    let found = found.as_object().unwrap();
    for (name, seen) in found {
        let seen = seen.as_str().unwrap();
        let kind = name.split(' ').next().unwrap();
        let fits = match kind {
            "socket" | "abstract" | "port" | "file" | "write" | "kill" => {
                seen.starts_with("refused: ")
            }
            "user" | "mount" => seen != "0",
            "Uid" => seen == "1000 1000 1000 1000",
            "Groups" => seen.is_empty(),
            "CapEff" | "CapPrm" | "CapBnd" | "CapAmb" => seen == "0000000000000000",
            "NoNewPrivs" => seen == "1",
            "Seccomp" => seen == "2",
            "run" => seen == "hornero",
            "processes" => seen.parse::<u32>().unwrap() < 1_000,
            "first" => !seen.contains(place.to_str().unwrap()),
            "links" => seen == links,
            "token" => seen == "False",
            "environment" => !seen.contains(PLACE) && !seen.contains("TOKEN"),
            "root" => seen.split(' ').all(|name| {
                [
                    "bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "etc", "proc", "dev",
                    "sys", "tmp", "run",
                ]
                .contains(&name)
                    || ["ansible", "playbook"].contains(&name)
            }),
            other => panic!("{way}: `{other}` is not checked"),
        };
        assert!(fits, "{way}: {name}: {seen}");
    }
}
