//! A home whose control process is gone still tells what happened in it.

use crate::{
    home::{Home, signal, until},
    site::Site,
};

#[test]
fn what_happened_is_read_from_the_home_itself() {
    let home = Home::new();
    Site::default().write(&home, "one");
    home.up();
    let with = |arguments: &[&str]| home.run(arguments).expect(0).stdout;
    let history = with(&["history", "site", "--json"]);
    let receipts = with(&["receipt", "--json"]);
    let receipt = with(&["receipt", "1"]);
    let events = with(&["audit", "--json"]);
    let logs = with(&["logs", "site", "-n", "1", "--json"]);
    signal(home.control_pid(), "KILL");
    until("control to be gone", || home.run(&["status"]).code == 6);
    for (arguments, expected) in [
        (&["history", "site", "--json"][..], &history),
        (&["receipt", "--json"], &receipts),
        (&["receipts", "--service", "site", "--json"], &receipts),
        (&["receipt", "1"], &receipt),
        (&["audit", "--json"], &events),
        (&["logs", "site", "-n", "1", "--json"], &logs),
    ] {
        let told = home.run(arguments).expect(0);
        assert_eq!(&told.stdout, expected, "{arguments:?}");
        assert!(told.stderr.contains("no control process runs"), "{}", told.stderr);
    }
    let status = home.run(&["status"]).expect(6);
    assert!(status.stdout.contains("2/2"), "the edge says so: {}", status.stdout);
    assert!(status.stdout.contains("no control process runs"), "{}", status.stdout);
    let status = home.run(&["status", "--json"]).expect(6).json();
    assert_eq!(status["control"]["absent"], true, "{status}");
    assert_eq!(status["services"][0]["release"], 1, "{status}");
    assert_eq!(status["error"]["exit"], 6, "{status}");
    home.run(&["history", "nobody"]).expect(5);
    home.run(&["receipt", "99"]).expect(5);
    home.run(&["logs", "nobody"]).expect(5);
}

#[test]
fn the_last_lines_of_a_log_are_those_of_all_its_servers() {
    let home = Home::new();
    let command = r#"["/bin/sh", "-c", "for n in 1 2 3 4 5; do echo line $n; done; exec /usr/sbin/nginx -g 'daemon off;'"]"#;
    Site { command, ..Site::default() }.write(&home, "one");
    home.up();
    let all = home.run(&["logs", "site"]).expect(0).stdout;
    let mut by_time: Vec<&str> = all.lines().collect();
    by_time.sort_by_key(|line| line.split(' ').next().unwrap().to_owned());
    let last = home.run(&["logs", "site", "-n", "3"]).expect(0).stdout;
    let times = |lines: Vec<&str>| -> Vec<String> {
        lines.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(times(last.lines().collect()), times(by_time[by_time.len() - 3..].to_vec()));
    assert_eq!(home.run(&["logs", "site", "-n", "0"]).expect(0).stdout, "");
    home.run(&["logs", "site", "-n", "100000"]).expect(2);
}
