//! What commands say, and what they mean by a name, a directory and a lock.

use std::{fs, time::Instant};

use crate::{
    home::{Home, PATIENCE, free_port, get},
    site::{BASE, NGINX_CONF, Site},
};

/// A second directory beside the project, with a service of its own; gives it and the service's port.
fn beside(home: &Home, name: &str) -> (std::path::PathBuf, u16) {
    let directory = home.directory_beside(name);
    let port = free_port();
    let site = Site { name, instances: 1, ..Site::default() };
    fs::create_dir(directory.join("public")).unwrap();
    fs::write(directory.join("public/index.html"), name).unwrap();
    fs::write(directory.join("nginx.conf"), NGINX_CONF).unwrap();
    fs::write(directory.join("hornero.hcl"), format!("{BASE}{}", site.blocks(port))).unwrap();
    (directory, port)
}

#[test]
fn down_in_a_directory_is_about_what_it_declares() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "site");
    home.up();
    let (shop, port) = beside(&home, "shop");
    home.run_in(&shop, &["up"]).expect(0);
    home.run_in(&shop, &["down"]).expect(0);
    assert_eq!(home.get("/"), (200, "site".to_owned()), "another directory's service goes on");
    assert_eq!(get(port, "/").0, 0);
    home.run_in(&shop, &["up"]).expect(0);
    // A file that can't be read says nothing of what is meant.
    home.write("hornero.hcl", "image \"a\" {\n  debian = \"bookworm\n}\n");
    let mistaken = home.run(&["down"]).expect(2);
    assert!(mistaken.stderr.contains("hornero.hcl:2:12"), "{}", mistaken.stderr);
    assert!(mistaken.stderr.contains("down --all"), "{}", mistaken.stderr);
    home.run(&["down", "--all"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_second_control_process_says_at_once_that_there_is_one() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    home.up();
    let begun = Instant::now();
    let second = home.run(&["serve"]).expect(1);
    assert!(second.stderr.contains("another control process serves"), "{}", second.stderr);
    assert!(begun.elapsed() < PATIENCE / 10, "{:?}", begun.elapsed());
}

#[test]
fn a_plan_with_a_lock_that_is_missing_fails_as_a_build_does() {
    let home = Home::new();
    Site::default().write(&home, "one");
    for command in ["plan", "build"] {
        let refused = home.run(&[command, "--locked"]).expect(1);
        assert!(refused.stderr.contains("hornero.lock"), "{command}: {}", refused.stderr);
        // What is pasted from it is about this home.
        let named = format!("hornero --home {} lock", home.path().display());
        assert!(refused.stderr.contains(&named), "{command}: {}", refused.stderr);
    }
}

#[test]
fn a_plan_names_a_port_that_another_program_has_and_a_certificate_that_is_missing() {
    let home = Home::new();
    // The cache of all tests may hold the archive's lists from another one.
    fs::remove_file(home.path().join("cache")).unwrap();
    Site::default().write(&home, "one");
    let taken = std::net::TcpListener::bind(("127.0.0.1", home.port)).unwrap();
    let hcl = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let tls = r#"address = "127.0.0.1"
    tls     = { certificate = "/no/such/certificate", key = "/no/such/key" }"#;
    home.write("hornero.hcl", &hcl.replace(r#"address = "127.0.0.1""#, tls));
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let reasons: Vec<&str> = plan["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons.len(), 2, "{plan}");
    assert!(reasons[0].contains("another program listens"), "{plan}");
    assert!(reasons[1].contains("/no/such/certificate"), "{plan}");
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    for (problem, key) in plan["problems"].as_array().unwrap().iter().zip(["listen", "tls"]) {
        let line = problem["line"].as_u64().unwrap() as usize;
        let written = text.lines().nth(line - 1).unwrap().trim_start();
        assert!(written.starts_with(key), "{line}: {problem}");
        assert!(problem["file"].as_str().unwrap().ends_with("hornero.hcl"), "{problem}");
        assert!(!problem["hint"].as_str().unwrap().is_empty(), "{problem}");
    }
    // Nothing was read from an archive for this home yet, so nobody knows what it has.
    assert_eq!(plan["not_checked"][0]["what"], "packages", "{plan}");
    let told = home.run(&["plan"]).expect(0).stderr;
    assert!(told.contains("  at hornero.hcl:") && told.contains("  hint: "), "{told}");
    assert!(told.contains("not checked: image."), "{told}");
    drop(taken);
}

#[test]
fn all_that_a_build_step_prints_is_kept() {
    let home = Home::new();
    let line = "x".repeat(300);
    let steps = format!("run = [\"echo {line}; echo it goes wrong >&2; exit 3\"]");
    home.write(
        "hornero.hcl",
        &format!("{BASE}\nimage \"b\" {{\n  from = image.base\n  {steps}\n}}\n"),
    );
    let failed = home.run(&["build"]).expect(1);
    let log = home.path().join("build-logs/b.log");
    assert!(failed.stderr.contains(log.to_str().unwrap()), "{}", failed.stderr);
    let text = fs::read_to_string(log).unwrap();
    assert!(text.contains(&line) && text.contains("it goes wrong"), "{text}");
}

#[test]
fn a_command_whose_progress_nobody_reads_does_its_work() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = home.command(&["up"]).stderr(writer).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(home.get("/").1.trim(), "one");
    // And what is wrong with a command is still told by its exit code.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let refused = home.command(&["rollback", "site"]).stderr(writer).output().unwrap();
    assert_ne!(refused.status.code(), Some(101));
    home.run(&["down"]).expect(0);
}
