//! The store from the command line: what keeps an image, what goes, damage that is mended, images in and out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hornero_model::Digest;
use hornero_store::{EntryKind, Store};
use serde_json::Value;

use crate::{
    home::{Home, until},
    site::Site,
};

/// A home with a store of its own, for what is deleted and damaged; packages are those of all tests.
fn home() -> Home {
    let home = Home::with_own_store();
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e/cache");
    fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, home.path().join("cache")).unwrap();
    home
}

fn digests(value: &Value) -> Vec<String> {
    let images = value.as_array().unwrap().iter();
    images.map(|image| image["digest"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn gc_safe_nothing_goes_that_serves_or_that_a_rollback_needs() {
    let home = home();
    let quick = Site { rollout: r#"keep_warm = "1s""#, instances: 1, ..Site::default() };
    for page in ["one", "two", "three", "four"] {
        quick.write(&home, page);
        home.up();
    }
    let image = |release: &str| {
        let found = home.run(&["image", "inspect", release, "--json"]).expect(0).json();
        found["digest"].as_str().unwrap().to_owned()
    };
    let releases: Vec<String> = (1..=4).map(|number| image(&format!("site@{number}"))).collect();

    until("warm sets to be gone", || {
        let status = home.status();
        status["services"][0]["instances"].as_array().is_some_and(|all| all.len() == 1)
    });
    // By default the last five proven releases are kept.
    let usual = home.run(&["image", "gc", "--dry-run", "--json"]).expect(0).json();
    assert!(digests(&usual["deleted"]).is_empty(), "{usual}");
    home.run(&["image", "pin", "site@1"]).expect(0);
    let rules = ["image", "gc", "--keep-releases", "0", "--json"];
    let foreseen = home.run(&[&rules[..], &["--dry-run"]].concat()).expect(0).json();
    assert!(!digests(&foreseen["deleted"]).contains(&releases[3]), "what serves stays: {foreseen}");
    let went = home.run(&rules).expect(0).json();
    assert_eq!(went["deleted"], foreseen["deleted"], "a dry run foretells");
    let gone = digests(&went["deleted"]);
    assert!(gone.contains(&releases[1]), "nothing needs site@2: {went}");
    for kept in [&releases[0], &releases[2], &releases[3]] {
        assert!(!gone.contains(kept), "pinned, rollback target, serving: {went}");
    }
    assert!(went["freed_bytes"].as_u64().unwrap() > 0);

    let why = home.run(&["image", "why-kept", "site@3", "--json"]).expect(0).json();
    assert!(why["reasons"].to_string().contains("rollback"), "{why}");
    home.run(&["image", "inspect", "site@2"]).expect(5);
    home.run(&["rollback", "site", "--json"]).expect(0);
    assert_eq!(home.get("/"), (200, "three".to_owned()));
    let refused = home.run(&["rollback", "site", "--to", "2", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "image_gone", "its bytes are gone: {refused}");
    assert_eq!(home.get("/"), (200, "three".to_owned()), "and nothing happened");
    let du = home.run(&["image", "du", "--json"]).expect(0).json();
    assert!(du["saved_bytes"].as_u64().unwrap() > du["total_bytes"].as_u64().unwrap(), "{du}");
}

/// The object of a file of an image.
pub fn object(home: &Home, image: &Digest, path: &str) -> PathBuf {
    let store = Store::open(home.path().join("store")).unwrap();
    let tree = store.tree(image).unwrap();
    let entry = tree.entries().iter().find(|entry| entry.path.to_string() == path).unwrap();
    let EntryKind::File { digest, .. } = entry.kind else { panic!("{path} is no file") };
    let hex = digest.hex();
    home.path().join("store/objects").join(&hex[..2]).join(&hex[2..])
}

#[test]
fn what_is_damaged_is_named_and_mended_from_the_package_cache() {
    let home = home();
    Site::default().write(&home, "page");
    let built = home.run(&["build", "--json"]).expect(0).json();
    let images = built["images"].as_array().unwrap();
    let site = images.iter().find(|image| image["name"] == "site").unwrap();
    let site: Digest = site["digest"].as_str().unwrap().parse().unwrap();
    let damaged = object(&home, &site, "/usr/bin/bash");
    let good = fs::read(&damaged).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::remove_file(&damaged).unwrap();
    fs::write(&damaged, &bad).unwrap();
    let told = home.run(&["image", "verify", "site", "--json"]).expect(1);
    assert!(told.stdout.contains("/usr/bin/bash"), "{}", told.stdout);
    let mended = home.run(&["image", "fsck", "--json"]).expect(0).json();
    assert_eq!(mended["findings"][0]["result"], "mended", "{mended}");
    assert_eq!(fs::read(&damaged).unwrap(), good);
    home.run(&["image", "verify", "site"]).expect(0);
}

#[test]
fn an_image_goes_out_as_a_layout_and_comes_in_elsewhere_but_only_runs_where_it_is_trusted() {
    let home = home();
    Site::default().write(&home, "page");
    home.run(&["build"]).expect(0);
    let out = home.project().join("layout");
    let out = out.to_str().unwrap();
    home.run(&["image", "export", "site", "--format", "oci", out]).expect(0);
    let index = fs::read_to_string(Path::new(out).join("index.json")).unwrap();
    assert!(index.contains("org.opencontainers.image.ref.name"), "{index}");

    let other = self::home();
    let came = other.run(&["image", "import", out, "--name", "site", "--json"]).expect(0).json();
    let site = home.run(&["image", "inspect", "site", "--json"]).expect(0).json();
    assert_eq!(came["image"], site["digest"], "it keeps its identity");
    let packages = other.run(&["image", "sbom", "site", "--format", "cyclonedx"]).expect(0).json();
    assert!(packages["components"].to_string().contains("nginx-light"));
    let project = format!(
        "image \"web\" {{ from = \"site\" }}\nservice \"web\" {{\n  image = image.web\n  \
         port \"http\" {{ container = 8080 }}\n  route {{\n    listen = {}\n    port = \"http\"\n  }}\n}}\n",
        other.port
    );
    other.write("hornero.hcl", &project);
    other.up();
    assert_eq!(other.get("/"), (200, "page".to_owned()), "who imports vouches");

    home.run(&["image", "untag", "nothing"]).expect(5);
    home.run(&["image", "untag", "site"]).expect(0);
    let went = home.run(&["image", "gc", "--json"]).expect(0).json();
    assert!(
        digests(&went["deleted"]).contains(&site["digest"].as_str().unwrap().to_owned()),
        "{went}"
    );
}

#[test]
fn directories_may_call_different_images_by_one_name() {
    let home = home();
    Site::default().write(&home, "ours");
    home.run(&["build"]).expect(0);
    let other = home.directory_beside("other");
    for file in ["hornero.hcl", "nginx.conf"] {
        fs::copy(home.project().join(file), other.join(file)).unwrap();
    }
    fs::create_dir(other.join("public")).unwrap();
    fs::write(other.join("public/index.html"), "theirs").unwrap();
    home.run(&["build", other.to_str().unwrap()]).expect(0);

    let page = |directory: &Path| {
        let image =
            home.run_in(directory, &["image", "inspect", "site", "--json"]).expect(0).json();
        let image: Digest = image["digest"].as_str().unwrap().parse().unwrap();
        fs::read_to_string(object(&home, &image, "/srv/site/index.html")).unwrap()
    };
    assert_eq!(page(&home.project()), "ours");
    assert_eq!(page(&other), "theirs");
    assert_eq!(page(Path::new("/")), "theirs", "elsewhere it is the one made last");

    let ours = home.run(&["image", "inspect", "site", "--json"]).expect(0).json();
    let ours = ours["digest"].as_str().unwrap();
    let went = home.run(&["image", "gc", "--json"]).expect(0).json();
    assert_eq!(digests(&went["deleted"]), [""; 0], "each directory keeps its own: {went}");
    let why = home.run(&["image", "why-kept", ours]).expect(0).stdout;
    assert!(why.contains("the name `site` of "), "{why}");

    // A directory that is gone keeps nothing.
    fs::remove_file(home.project().join("hornero.hcl")).unwrap();
    let went = home.run(&["image", "gc", "--json"]).expect(0).json();
    assert_eq!(digests(&went["deleted"]), [ours], "{went}");
    assert_eq!(page(&other), "theirs");
}

#[test]
fn a_damaged_image_does_not_hide_the_others() {
    let home = home();
    Site::default().write(&home, "page");
    let built = home.run(&["build", "--json"]).expect(0).json();
    let named = |name: &str| {
        let images = built["images"].as_array().unwrap();
        let image = images.iter().find(|image| image["name"] == name).unwrap();
        image["digest"].as_str().unwrap().to_owned()
    };
    let manifest = home.path().join("store/images").join(&named("site")["sha256:".len()..]);
    fs::write(&manifest, "{}").unwrap();
    let listed = home.run(&["image", "ls", "--json"]).expect(0).json();
    assert_eq!(digests(&listed["images"]), [named("base")]);
    assert_eq!(listed["damaged"], serde_json::json!([named("site")]));
    assert!(home.run(&["image", "ls"]).expect(0).stdout.contains("`hornero image fsck`"));

    // A damaged name hides nothing either, and is written anew.
    let name = home.path().join("store/refs/image/base");
    fs::write(&name, "").unwrap();
    let listed = home.run(&["image", "ls", "--json"]).expect(0).json();
    assert_eq!(listed["damaged_names"], serde_json::json!(["image/base"]));
    home.run(&["image", "gc"]).expect(1);
    home.run(&["build", ".", "base", "--verify"]).expect(0);
    let listed = home.run(&["image", "ls", "--json"]).expect(0).json();
    assert_eq!(listed["damaged_names"], serde_json::json!([]));
    fs::write(&name, "").unwrap();
    home.run_in(Path::new("/"), &["image", "untag", "base"]).expect(0);
    assert!(!name.exists());
}

#[test]
fn a_base_that_an_image_does_not_hold_on_is_refused_with_every_reason() {
    let home = home();
    Site::default().write(&home, "page");
    home.run(&["build"]).expect(0);
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    // A base without the web server that the site's configuration replaces.
    home.write("hornero.hcl", &text.replace(", \"nginx-light\"", ""));
    home.run(&["build", ".", "base"]).expect(0);
    let refused =
        home.run(&["image", "rebase", "site", "--base", "base", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "rebase_refused", "{refused}");
    let reasons = refused["refusals"].as_array().unwrap();
    assert!(reasons.iter().any(|one| one["file"] == "/etc/nginx/nginx.conf"), "{refused}");
    let forced = home
        .run(&["image", "rebase", "site", "--base", "base", "--force", "--json"])
        .expect(0)
        .json();
    assert_eq!(forced["forced"], true);
    let record =
        home.run(&["image", "inspect", forced["image"].as_str().unwrap(), "--json"]).expect(0);
    assert_eq!(record.json()["bake"]["moved"]["forced"], true);
}
