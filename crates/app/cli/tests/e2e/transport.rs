//! Images through a real registry from one home to another, by the commands that people script.

use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
};

use hornero_ledger::Keys;
use hornero_model::PublicKey;

use crate::{
    home::{Home, free_port, pid, signal, until},
    site::Site,
};

/// Debian's registry on a port of its own, ended when dropped.
struct Registry {
    server: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (config, log) = (directory.path().join("config.yml"), directory.path().join("log"));
        let text = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n  secret: test\n",
            directory.path().join("data").display()
        );
        fs::write(&config, text).unwrap();
        let out = File::create(&log).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none").stdin(Stdio::null());
        let server = command.stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
        let mut registry = Self { server, port: 0, _directory: directory };
        until("the registry to listen", || {
            let told = fs::read_to_string(&log).unwrap_or_default();
            let rest = told.split("listening on 127.0.0.1:").nth(1).unwrap_or_default();
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            registry.port = digits.parse().unwrap_or(0);
            registry.port != 0
        });
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        signal(self.server.id() as i32, "TERM");
        let _ = self.server.wait();
    }
}

#[test]
fn what_one_home_pushed_another_pulls_and_runs_once_it_trusts_the_key() {
    let (builder, home, registry) = (Home::new(), Home::with_own_store(), Registry::start());
    Site::default().write(&builder, "through a registry");
    builder.run(&["build"]).expect(0);
    let reference = format!("127.0.0.1:{}/team/site:1", registry.port);
    let pushed = builder.run(&["image", "push", "site", &reference, "--json"]).expect(0).json();
    assert!(pushed["bytes_moved"].as_u64().unwrap() > 1_000_000, "{pushed}");
    let again = builder.run(&["image", "push", "site", &reference, "--json"]).expect(0).json();
    assert_eq!(again["blobs_moved"], 0, "{again}");

    let pulled = home.run(&["image", "pull", &reference, "--json"]).expect(0).json();
    assert_eq!(pulled["image"], pushed["image"], "it is the very same image");
    assert_eq!(pulled["name"], "site");
    let again = home.run(&["image", "pull", &reference, "--json"]).expect(0).json();
    assert_eq!(again["contents_moved"], 0, "{again}");

    let blocks = Site::default().blocks(home.port);
    let service =
        &blocks[blocks.find("service \"site\"").unwrap()..].replace("image.site", "image.web");
    let hcl = format!("image \"web\" {{\n  from = \"site\"\n}}\n{service}");
    home.write("hornero.hcl", &hcl);
    let refused = home.run(&["up", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "provenance_unknown_key", "{refused}");
    let key = Keys::open(&builder.path().join("keys")).unwrap();
    let key = PublicKey::from_bytes(*key.public().as_bytes());
    let trust = format!("trust \"builder\" {{\n  public_key = \"{key}\"\n}}\n");
    home.write("hornero.hcl", &format!("{trust}{hcl}"));
    home.up();
    assert_eq!(home.get("/"), (200, "through a registry".to_owned()));
    assert!(pid(&home.status()["control"]["pid"]) > 1);

    // Damage is mended from where it came from.
    let image: hornero_model::Digest = pulled["image"].as_str().unwrap().parse().unwrap();
    let object = crate::store::object(&home, &image, "/usr/sbin/nginx");
    let good = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    home.run(&["image", "fsck"]).expect(1);
    let mended = home.run(&["image", "fsck", "--from", &reference, "--json"]).expect(0).json();
    assert_eq!(mended["findings"][0]["result"], "mended", "{mended}");
    assert_eq!(fs::read(&object).unwrap(), good);
}

#[test]
fn an_image_is_found_by_the_beginning_of_its_digest() {
    let home = Home::with_own_store();
    let root = home.directory_beside("root");
    for (number, name) in ["one", "two"].iter().enumerate() {
        fs::write(root.join("file"), number.to_string()).unwrap();
        home.run(&["image", "import", root.to_str().unwrap(), "--name", name]).expect(0);
    }
    let one = home.run(&["image", "inspect", "one", "--json"]).expect(0).json();
    let digest = one["digest"].as_str().unwrap();
    let hex = &digest["sha256:".len()..];
    for beginning in [digest, hex, &hex[..12], &digest[.."sha256:".len() + 12]] {
        let found = home.run(&["image", "inspect", beginning, "--json"]).expect(0).json();
        assert_eq!(found["digest"], digest);
    }
    home.run(&["image", "inspect", &hex[..3]]).expect(5);
    let missing: String = hex[..12].chars().rev().collect();
    home.run(&["image", "inspect", &missing]).expect(5);
}

#[test]
fn one_layer_of_an_export_is_the_file_system_that_is_exported_by_itself() {
    let home = Home::with_own_store();
    let root = home.directory_beside("root");
    fs::write(root.join("file"), vec![7; 100_000]).unwrap();
    home.run(&["image", "import", root.to_str().unwrap(), "--name", "one"]).expect(0);
    let (layout, file) = (root.with_file_name("layout"), root.with_file_name("file"));
    let (layout, file) = (layout.to_str().unwrap(), file.to_str().unwrap());
    let export = ["image", "export", "one", "--json", "--format"];
    let run = |words: &[&str]| home.run(&[&export, words].concat());
    let tars = run(&["oci", layout, "--name", "tars"]).expect(0).json();
    assert_eq!(tars["layers"], "tar");
    let made = run(&["oci", "--layers", "erofs", layout, "--name", "mounted"]).expect(0).json();
    assert_eq!((&made["layers"], &made["image"]), (&"erofs".into(), &tars["image"]));
    let alone = run(&["erofs", file]).expect(0).json();
    assert!(alone["layers"].is_null(), "{alone}");
    let checked = Command::new("fsck.erofs").arg(file).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let digest = hornero_model::Digest::of(&fs::read(file).unwrap());
    let blob = format!("{layout}/blobs/sha256/{}", digest.hex());
    assert_eq!(fs::read(&blob).unwrap(), fs::read(file).unwrap());
    assert!(made["bytes"].as_u64() > alone["bytes"].as_u64(), "{made} {alone}");

    // The other one stays, and this one says why it does not come in.
    let came = home.run(&["image", "import", layout, "--image", "tars", "--json"]).expect(0);
    assert_eq!(came.json()["image"], tars["image"]);
    let told = home.run(&["image", "import", layout, "--image", "mounted"]).expect(1);
    for text in ["`application/vnd.erofs.layer.v1`", "`--layers tar`"] {
        assert!(told.stderr.contains(text), "{text}: {}", told.stderr);
    }
    let elsewhere = root.with_file_name("elsewhere");
    for (words, text) in [
        (["tar", "--layers", "erofs"].as_slice(), "`--format oci` only"),
        (&["oci", "--layers", "erofs", "--compression", "gzip"], "`--layers tar` only"),
    ] {
        let mut words = words.to_vec();
        words.push(elsewhere.to_str().unwrap());
        let told = run(&words).expect(2);
        assert!(told.stdout.contains(text), "{}{}", told.stdout, told.stderr);
        assert!(!elsewhere.exists());
    }
}

#[test]
fn pins_and_ceilings_hold() {
    let home = Home::with_own_store();
    let root = home.directory_beside("root");
    for (number, name) in ["one", "two"].iter().enumerate() {
        fs::write(root.join("file"), vec![b'0' + number as u8; 100_000]).unwrap();
        home.run(&["image", "import", root.to_str().unwrap(), "--name", name]).expect(0);
    }
    let digest = |name: &str| {
        let found = home.run(&["image", "inspect", name, "--json"]).expect(0).json();
        found["digest"].as_str().unwrap().to_owned()
    };
    let (one, two) = (digest("one"), digest("two"));
    home.run(&["image", "pin", "one"]).expect(0);
    home.run(&["image", "untag", "one"]).expect(0);
    home.run(&["image", "untag", "two"]).expect(0);
    let unmet = home.run(&["image", "gc", "--ceiling", "50KB", "--json"]).expect(1).json();
    assert_eq!(unmet["deleted"][0]["digest"], two, "what nothing keeps goes all the same: {unmet}");
    assert_eq!(unmet["ceiling"]["met"], false, "a pin is above every ceiling: {unmet}");
    home.run(&["image", "unpin", &one]).expect(0);
    let met = home.run(&["image", "gc", "--ceiling", "50KB", "--json"]).expect(0).json();
    assert_eq!(met["deleted"][0]["digest"], one, "{met}");
    assert_eq!(
        home.run(&["image", "ls", "--json"]).expect(0).json()["images"],
        serde_json::json!([])
    );
}

#[test]
fn transfers_that_cannot_be_made_say_what_to_do() {
    let home = Home::with_own_store();
    let root = home.directory_beside("root");
    let layout = root.parent().unwrap().join("layout");
    let layout = layout.to_str().unwrap();
    let mut digests = Vec::new();
    for (number, name) in ["one", "two"].iter().enumerate() {
        fs::write(root.join("file"), format!("content {number}")).unwrap();
        let import = ["image", "import", root.to_str().unwrap(), "--name", name, "--json"];
        digests.push(home.run(&import).expect(0).json()["image"].clone());
        home.run(&["image", "export", name, "--format", "oci", layout, "--name", name]).expect(0);
    }
    // A path that leads nowhere is no registry.
    let told = home.run(&["image", "import", "./no.such/root"]).expect(5);
    assert!(told.stderr.contains("`./no.such/root` does not exist"), "{}", told.stderr);
    // One of several is chosen by its name.
    let told = home.run(&["image", "import", layout, "--name", "x"]).expect(1);
    assert!(
        told.stderr.contains("`one`, `two`") && told.stderr.contains("--image"),
        "{}{}",
        told.stdout,
        told.stderr
    );
    let came = home.run(&["image", "import", layout, "--image", "two", "--json"]).expect(0).json();
    assert_eq!((&came["image"], &came["name"]), (&digests[1], &"two".into()));

    // Nobody is asked while everything is whole; afterwards it is told that the registry is not there.
    let port = free_port();
    let (address, from) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}/team/two:1"));
    home.run(&["image", "fsck", "--from", &from]).expect(0);
    let image: hornero_model::Digest = digests[1].as_str().unwrap().parse().unwrap();
    let object = crate::store::object(&home, &image, "/file");
    fs::remove_file(&object).unwrap();
    fs::write(&object, "damage").unwrap();
    let told = home.run(&["image", "fsck", "--from", &from, "--plain-http"]).expect(1);
    assert!(told.stdout.contains(&address), "{}{}", told.stdout, told.stderr);

    // A password for nobody in particular goes to nobody.
    let mut pull = home.command(&["image", "pull", &from]);
    pull.env("HORNERO_REGISTRY_USER", "maria").env("HORNERO_REGISTRY_PASSWORD", "s3cret");
    let output = pull.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("HORNERO_REGISTRY to that registry's") && !told.contains(&address),
        "{told}"
    );
}
