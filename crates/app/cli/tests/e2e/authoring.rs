//! What helps to write a `hornero.hcl`: `validate`, `fmt` and the files for editors; none of them needs a home.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Stdio,
};

use crate::home::Home;

const UNTIDY: &str =
    "image \"a\" {\ndebian=\"bookworm\"\n  packages = [ \"nginx-light\" ] # served\n}\n";
const TIDY: &str =
    "image \"a\" {\n  debian   = \"bookworm\"\n  packages = [\"nginx-light\"] # served\n}\n";

#[test]
fn files_get_their_canonical_form_and_keep_mode_owner_and_links() {
    let home = Home::with_own_store();
    home.write("real.hcl", UNTIDY);
    let real = home.project().join("real.hcl");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&real, Some(1234), Some(1235)).unwrap();
    std::os::unix::fs::symlink("real.hcl", home.project().join("hornero.hcl")).unwrap();

    let checked = home.run(&["fmt", "--check", "--json"]).expect(1);
    assert_eq!(checked.json()["files"][0]["changed"], true);
    assert_eq!(fs::read_to_string(&real).unwrap(), UNTIDY, "`--check` changes nothing");

    let changed = home.run(&["fmt"]).expect(0);
    assert_eq!(changed.stdout, "hornero.hcl\n");
    assert_eq!(fs::read_to_string(&real).unwrap(), TIDY);
    let metadata = fs::metadata(&real).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid(), metadata.gid()), (0o640, 1234, 1235));
    assert!(fs::symlink_metadata(home.project().join("hornero.hcl")).unwrap().is_symlink());
    assert_eq!(fs::read_dir(home.project()).unwrap().count(), 2, "nothing else is left");

    assert_eq!(home.run(&["fmt"]).expect(0).stdout, "");
    home.run(&["fmt", "--check"]).expect(0);
}

#[test]
fn a_mistake_in_one_file_keeps_no_other_from_its_form() {
    let home = Home::with_own_store();
    home.write("broken.hcl", "image {");
    home.write("fine.hcl", UNTIDY);
    let answer = home.run(&["fmt", "broken.hcl", "missing.hcl", "fine.hcl"]).expect(2);
    assert!(answer.stderr.contains("broken.hcl:1:"), "{}", answer.stderr);
    assert!(answer.stderr.contains("`missing.hcl` can't be read"), "{}", answer.stderr);
    assert_eq!(answer.stdout, "fine.hcl\n");
    assert_eq!(fs::read_to_string(home.project().join("broken.hcl")).unwrap(), "image {");
    assert_eq!(fs::read_to_string(home.project().join("fine.hcl")).unwrap(), TIDY);
}

#[test]
fn stdin_goes_to_stdout() {
    let home = Home::with_own_store();
    let mut command = home.command(&["fmt", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(UNTIDY.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), TIDY);
}

#[test]
fn validating_names_every_mistake_and_makes_no_home() {
    let home = Home::with_own_store();
    fs::remove_dir(home.path()).unwrap();
    home.write("hornero.hcl", TIDY);
    assert_eq!(home.run(&["validate"]).expect(0).stdout, "valid: 1 image\n");
    let report = home.run(&["validate", "--json"]).expect(0).json();
    assert_eq!(
        report,
        serde_json::json!({
            "valid": true, "images": ["a"], "services": [], "volumes": [],
        })
    );

    home.write("hornero.hcl", "image \"a\" {\n  debain = \"bookworm\"\n  comand = []\n}\n");
    let answer = home.run(&["validate"]).expect(2);
    for hint in ["did you mean `debian`?", "did you mean `command`?"] {
        assert!(answer.stderr.contains(hint), "{}", answer.stderr);
    }
    assert!(!home.path().exists(), "validating made a home");
}

#[test]
fn every_example_is_valid_and_in_its_canonical_form() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples");
    let home = Home::with_own_store();
    let mut count = 0;
    for example in fs::read_dir(&examples).unwrap() {
        let example = example.unwrap().path();
        if example.join("hornero.hcl").exists() {
            count += 1;
            home.run(&["fmt", "--check", &example.to_string_lossy()]).expect(0);
        }
    }
    assert!(count >= 3, "{}", examples.display());
    home.run(&["validate", &examples.join("site").to_string_lossy()]).expect(0);
}

/// Writes files into the project, has `init` look at them, and insists that what it wrote is valid and canonical.
fn begun(files: &[(&str, &str)], from: &[&str]) -> Home {
    let home = Home::new();
    for (path, text) in files {
        home.write(path, text);
    }
    home.run(&[&["init"], from].concat()).expect(0);
    home.run(&["validate"]).expect(0);
    home.run(&["fmt", "--check"]).expect(0);
    home
}

#[test]
fn init_writes_over_nothing() {
    let home = begun(&[("nginx.conf", "# mine\n")], &[]);
    assert_eq!(fs::read_to_string(home.project().join("nginx.conf")).unwrap(), "# mine\n");
    let before = fs::read(home.project().join("hornero.hcl")).unwrap();
    let refused = home.run(&["init"]).expect(3);
    assert!(refused.stderr.contains("is there already"), "{}", refused.stderr);
    assert_eq!(fs::read(home.project().join("hornero.hcl")).unwrap(), before);
    let outside = home.run(&["init", "--dry-run", "--from", "/etc/passwd"]).expect(2);
    assert!(outside.stderr.contains("is not in"), "{}", outside.stderr);
}

#[test]
fn init_reads_dockerfiles_compose_files_and_programs() {
    let dockerfile = "FROM debian:12\nRUN apt-get update && apt-get install -y nginx-light\nCOPY . /srv/\n\
                      EXPOSE 8080\nUSER www-data\nCMD [\"nginx\"]\n";
    begun(&[("Dockerfile", dockerfile), ("page.html", "")], &[]);
    let compose =
        "services:\n  web:\n    build: web\n    ports: ['8000:8080']\n  cache:\n    image: redis\n";
    begun(&[("compose.yaml", compose), ("web/Dockerfile", dockerfile)], &[]);
    let home = Home::new();
    fs::copy(env!("CARGO_BIN_EXE_hornero"), home.project().join("server")).unwrap();
    let report = home.run(&["init", "--json", "--from", "server"]).expect(0).json();
    assert_eq!(report["from"], "the program `server`");
    home.run(&["validate"]).expect(0);
}

/// The way of a newcomer: `init`, `up`, an answer.
#[test]
fn what_init_writes_comes_up() {
    let script = "import http.server as h\nh.HTTPServer((\"\", 8123), h.SimpleHTTPRequestHandler).serve_forever()\n";
    for (files, page) in [(&[][..], "It works"), (&[("server.py", script)][..], "server.py")] {
        let home = begun(files, &[]);
        // Each test has a port of its own.
        let path = home.project().join("hornero.hcl");
        let text = fs::read_to_string(&path).unwrap();
        let port = format!("listen = {}\n    address = \"127.0.0.1\"", home.port);
        assert!(text.contains("listen = 8000"), "{text}");
        fs::write(&path, text.replace("listen = 8000", &port)).unwrap();
        home.run(&["up"]).expect(0);
        let (status, body) = home.get("/");
        assert!(status == 200 && body.contains(page), "{status}: {body}");
        home.run(&["down"]).expect(0);
    }
}
