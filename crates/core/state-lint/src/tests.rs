//! What is found in services that are made up: what is declared, what images say, what servers wrote.

use std::collections::BTreeMap;

use hornero_model::{
    InstanceId, ReleaseNumber, Timestamp, WrittenFile, WrittenFormat, WrittenInstance,
};

use super::*;

fn facts() -> StateFacts {
    StateFacts {
        service: "shop".parse().unwrap(),
        image: "shop".to_owned(),
        instances: 1,
        mounts: Vec::new(),
        scratch: Vec::new(),
        not_state: Vec::new(),
        command: vec!["/srv/shop".to_owned()],
        env: BTreeMap::new(),
        packages: Vec::new(),
        image_volumes: Vec::new(),
        data_directories: Vec::new(),
    }
}

fn texts(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

fn file(path: &str, bytes: u64) -> WrittenFile {
    WrittenFile { path: path.to_owned(), bytes, modified: Timestamp(1), open: false, format: None }
}

/// A server that had `before` and then has `after`.
fn look(before: Vec<WrittenFile>, after: Vec<WrittenFile>) -> StateLook {
    let seen = |files| WrittenInstance {
        id: InstanceId::new("shop-1-a").unwrap(),
        release: ReleaseNumber(1),
        files,
        missed: None,
    };
    StateLook { before: seen(before), after: seen(after) }
}

/// What is found, a line each.
fn told(facts: &StateFacts, looks: &[StateLook]) -> Vec<String> {
    let one = |finding: StateFinding| {
        let StateFinding { kind, path, place, written, .. } = finding;
        let bytes = written.map_or_else(String::new, |written| {
            format!(" {} bytes, {} new", written.bytes, written.grown_bytes)
        });
        format!("{kind:?} {path} {place:?}{bytes}")
    };
    lint(facts, looks).into_iter().map(one).collect()
}

#[test]
fn a_database_is_found_by_its_package_and_not_once_a_volume_has_it() {
    let packages = texts(&["libc6", "postgresql-15", "postgresql-client-15", "postgresql-common"]);
    let command = texts(&["/usr/lib/postgresql/15/bin/postgres", "-c", "ssl=off"]);
    let bare = StateFacts { packages, command, ..facts() };
    assert_eq!(told(&bare, &[]), ["Package /var/lib/postgresql ReadOnly"]);
    let scratch = StateFacts { scratch: texts(&["/run", "/var/lib/postgresql"]), ..bare.clone() };
    assert_eq!(told(&scratch, &[]), ["Package /var/lib/postgresql Scratch"]);
    for mount in ["/var/lib/postgresql", "/var/lib/postgresql/15/main", "/var/lib", "/data"] {
        let mounted = StateFacts { mounts: texts(&[mount]), ..bare.clone() };
        assert_eq!(told(&mounted, &[]), [""; 0], "{mount}");
    }
    let client = StateFacts { command: texts(&["/srv/shop"]), ..bare.clone() };
    assert_eq!(told(&client, &[]), [""; 0], "nothing starts it, and it could write nothing");
    let beside = StateFacts { mounts: texts(&["/data"]), ..scratch };
    assert_eq!(told(&beside, &[]), ["Package /var/lib/postgresql Scratch"], "written all the same");
    let declared = StateFacts { not_state: texts(&["/var/lib/postgresql"]), ..bare };
    assert_eq!(told(&declared, &[]), [""; 0]);
}

#[test]
fn packages_are_told_by_name_and_version_and_caches_by_their_command() {
    let scratch = || texts(&["/var/lib"]);
    let with =
        |package: &str| StateFacts { packages: texts(&[package]), scratch: scratch(), ..facts() };
    for package in
        ["mariadb-server", "mariadb-server-10.6", "redis-server=5:7.0", "rabbitmq-server"]
    {
        assert_eq!(told(&with(package), &[]).len(), 1, "{package}");
    }
    for package in ["postgresql-client-15", "redis-tools", "mariadb-server-core", "etcd-client"] {
        assert_eq!(told(&with(package), &[]), [""; 0], "{package}");
    }
    let started = |command: &[&str]| {
        told(&StateFacts { command: texts(command), ..with("redis-server") }, &[]).len()
    };
    assert_eq!(started(&["redis-server", "--save", ""]), 0);
    assert_eq!(started(&["redis-server", "--save", "", "--appendonly", "yes"]), 1);
    assert_eq!(started(&["redis-server", "--save", "60 1"]), 1);
}

#[test]
fn what_image_and_environment_say_is_found_once() {
    let mut declared = StateFacts {
        image_volumes: texts(&["/data/", "/config"]),
        scratch: texts(&["/data", "/run", "/var/lib/app", "/var/lib/nginx"]),
        data_directories: vec![
            DataDirectory { path: "/var/lib/app".to_owned(), uid: 33 },
            DataDirectory { path: "/var/lib/other".to_owned(), uid: 34 },
        ],
        ..facts()
    };
    let address = |text: &str| BTreeMap::from([("DATABASE_URL".to_owned(), text.to_owned())]);
    declared.env = address("sqlite:////srv/shop/shop.db?mode=rwc");
    let expected = [
        "ImageVolume /config ReadOnly",
        "ImageVolume /data Scratch",
        "DatabaseFile /srv/shop ReadOnly",
        "DataDirectory /var/lib/app Scratch",
    ];
    assert_eq!(told(&declared, &[]), expected);
    for elsewhere in ["sqlite::memory:", "postgres://db.internal/shop", "sqlite:///shop.db"] {
        let facts = StateFacts { env: address(elsewhere), ..facts() };
        assert_eq!(told(&facts, &[]), [""; 0], "{elsewhere}");
    }
}

#[test]
fn what_a_server_wrote_is_data_unless_it_is_known_to_be_none() {
    let facts = StateFacts { scratch: texts(&["/run", "/var/lib/app"]), ..facts() };
    let harmless = [
        "/run/app.pid",
        "/tmp/upload",
        "/var/lib/app/cache/page",
        "/var/lib/app/lock",
        "/var/lib/app/app.log",
        "/var/lib/app/app.log.1",
    ];
    let files: Vec<WrittenFile> = harmless.iter().map(|path| file(path, 9)).collect();
    assert_eq!(told(&facts, &[look(files.clone(), files.clone())]), [""; 0]);
    let database = WrittenFile { format: Some(WrittenFormat::Sqlite), ..file("/run/app.db", 50) };
    let before = vec![file("/var/lib/app/orders", 100), database.clone()];
    let mut after = files;
    after.extend([file("/var/lib/app/orders", 130), file("/var/lib/app/deep/new", 7), database]);
    let expected =
        ["Written /run Scratch 50 bytes, 0 new", "Written /var/lib/app Scratch 137 bytes, 37 new"];
    assert_eq!(told(&facts, &[look(before.clone(), after.clone())]), expected);
    let declared = StateFacts {
        not_state: texts(&["/var/lib/app/deep"]),
        mounts: texts(&["/run"]),
        ..facts.clone()
    };
    let expected = ["Written /var/lib/app Scratch 130 bytes, 30 new"];
    assert_eq!(told(&declared, &[look(before, after)]), expected);
}

#[test]
fn what_was_written_stands_with_what_holds_it() {
    let facts = StateFacts {
        packages: texts(&["redis-server"]),
        scratch: texts(&["/var/lib/redis"]),
        ..facts()
    };
    let files = vec![file("/var/lib/redis/appendonlydir/base.aof", 80)];
    let expected = ["Package /var/lib/redis Scratch 80 bytes, 0 new"];
    assert_eq!(told(&facts, &[look(files.clone(), files)]), expected);
}

#[test]
fn the_remedy_says_all_that_has_to_change() {
    let facts = StateFacts {
        instances: 3,
        packages: texts(&["redis-server"]),
        scratch: texts(&["/var/lib/redis"]),
        ..facts()
    };
    let remedy = lint(&facts, &[]).remove(0).remedy;
    assert_eq!(remedy.volume, "volume \"shop-redis\" {\n  size = \"1GiB\"\n}");
    let service =
        "  kind = \"stateful\"\n  mount \"/var/lib/redis\" { volume = volume.shop-redis }";
    assert_eq!(remedy.service, service);
    assert_eq!(remedy.not_state, "  not_state = [\"/var/lib/redis\"]");
    assert_eq!(remedy.also.len(), 2, "{:?}", remedy.also);
    let database =
        WrittenFile { format: Some(WrittenFormat::Sqlite), ..file("/tmp/a.db", 3 << 30) };
    let looks = [look(Vec::new(), vec![database])];
    let remedy = lint(&StateFacts { packages: Vec::new(), ..facts }, &looks).remove(0).remedy;
    assert!(remedy.service.contains("mount \"/var/lib/shop\""), "{}", remedy.service);
    assert!(remedy.volume.contains("\"16GiB\""), "{}", remedy.volume);
    assert!(remedy.also[0].contains("instead of `/tmp`"), "{:?}", remedy.also);
}

#[test]
fn what_is_installed_is_read_from_the_status_of_dpkg() {
    let status = "Package: redis-server\nStatus: install ok installed\nVersion: 5:7\n\n\
                  Package: slapd\nStatus: deinstall ok config-files\n\n\
                  Package: libc6\nStatus: hold ok installed\n";
    assert_eq!(installed(status), ["redis-server", "libc6"]);
}
