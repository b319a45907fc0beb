//! What a release carries beside its image: a change of it is a release of its own, without a bake, and with a way back.

use serde_json::Value;

use crate::{
    home::Home,
    site::{BASE, NGINX_CONF},
};

/// A server that hands out its environment, as it was when it started.
const IMAGE: &str = r#"
image "site" {
  from    = image.base
  copy "nginx.conf" { to = "/etc/nginx/nginx.conf" }
  copy "serve"      { to = "/srv/serve" }
  user    = "www-data"
  command = ["/srv/serve"]
  env     = { GREETING = "of the image", KEPT = "yes" }
  scratch = ["/run", "/var/lib/nginx", "/var/log/nginx", "/srv/site"]
}
"#;

const SERVE: &str = r#"#!/bin/sh
set -eu
env >/srv/site/index.html
cat /etc/shop.conf /run/shop/extra.conf >>/srv/site/index.html 2>/dev/null || true
stat -c 'mode=%a owner=%U:%G' /etc/shop.conf >>/srv/site/index.html 2>/dev/null || true
(echo changed=yes >>/etc/shop.conf) 2>/dev/null || true
exec /usr/sbin/nginx -g 'daemon off;'
"#;

fn write(home: &Home, service: &str) {
    home.write("nginx.conf", NGINX_CONF);
    home.write("serve", SERVE);
    let script = home.project().join("serve");
    std::fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let port = home.port;
    home.write(
        "hornero.hcl",
        &format!(
            r#"{BASE}{IMAGE}
service "site" {{
  image = image.site
  port "http" {{ container = 8080 }}
  health {{
    http     = {{ port = "http", path = "/" }}
    interval = "200ms"
  }}
  route {{
    listen  = {port}
    address = "127.0.0.1"
  }}
  rollout {{ watch = "200ms" }}
{service}
}}
"#
        ),
    );
}

/// Whether the server's environment has this line.
fn has(home: &Home, line: &str) -> bool {
    let (status, body) = home.get("/");
    assert_eq!(status, 200, "{body}");
    body.lines().any(|found| found == line)
}

fn only_change(home: &Home) -> (String, String) {
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{plan}");
    let text = |key: &str| changes[0][key].as_str().unwrap().to_owned();
    assert_eq!(text("kind"), "service");
    (text("action"), text("reason"))
}

fn release_and_image(up: &Value) -> (u64, String) {
    let service = &up["services"][0];
    (service["release"].as_u64().unwrap(), service["image"].as_str().unwrap().to_owned())
}

#[test]
fn a_changed_environment_is_a_release_with_its_own_way_back() {
    let home = Home::new();
    write(&home, "");
    let (first, image) = release_and_image(&home.up());
    assert!(has(&home, "GREETING=of the image") && has(&home, "KEPT=yes"));

    write(&home, r#"  env = { GREETING = "of the service", DB_PASSWORD = "do not show" }"#);
    let (action, why) = only_change(&home);
    assert_eq!(action, "replace", "{why}");
    assert!(why.contains("`env.GREETING` set to `of the service`"), "{why}");
    assert!(why.contains("`env.DB_PASSWORD` changed") && !why.contains("do not show"), "{why}");
    let (second, same) = release_and_image(&home.up());
    assert_eq!((second, same), (first + 1, image), "the image is the one that was there");
    assert!(has(&home, "GREETING=of the service") && has(&home, "KEPT=yes"));
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert!(plan["changes"].as_array().unwrap().is_empty(), "{plan}");

    home.run(&["rollback", "site"]).expect(0);
    assert!(has(&home, "GREETING=of the image"));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// A service with two files, one from a template.
fn files(greeting: &str) -> String {
    format!(
        r#"
  config "/etc/shop.conf" {{
    source = "shop.conf.tmpl"
    mode   = "0640"
    owner  = "root:www-data"
  }}
  config "/run/shop/extra.conf" {{ content = "extra=${{upper("{greeting}")}}\n" }}
"#
    )
}

#[test]
fn a_changed_file_is_a_release_with_its_own_way_back_from_the_store() {
    let home = Home::with_own_store();
    let cache = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e/cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(cache, home.path().join("cache")).unwrap();
    // Nothing is kept warm: whoever goes back needs what the store has.
    let rollout = "  rollout {\n    watch     = \"200ms\"\n    keep_warm = \"0s\"\n  }";
    let write = |greeting: &str| {
        write(&home, &files(greeting));
        let file = home.project().join("hornero.hcl");
        let text = std::fs::read_to_string(&file).unwrap();
        let plain = "  rollout { watch = \"200ms\" }";
        assert!(text.contains(plain));
        std::fs::write(&file, text.replace(plain, rollout)).unwrap();
        home.write("shop.conf.tmpl", &format!("greeting=${{lower(\"{greeting}\")}}\n"));
    };
    write("Hi");
    let (first, image) = release_and_image(&home.up());
    assert!(has(&home, "greeting=hi") && has(&home, "extra=HI"), "{}", home.get("/").1);
    assert!(has(&home, "mode=640 owner=root:www-data"), "{}", home.get("/").1);
    home.run(&["verify", "--full"]).expect(0);
    let shown = home.run(&["image", "inspect", "site"]).expect(0).stdout;
    assert!(!shown.contains("shop.conf"), "the image is as it was: {shown}");

    write("Ho");
    let (action, why) = only_change(&home);
    assert_eq!(action, "replace", "{why}");
    assert!(why.contains("`config./etc/shop.conf.content` changed from "), "{why}");
    let (second, same) = release_and_image(&home.up());
    assert_eq!((second, same), (first + 1, image));
    assert!(has(&home, "greeting=ho") && has(&home, "extra=HO"));

    crate::home::until("the first set to be gone", || {
        home.status()["services"][0]["instances"].as_array().is_some_and(|all| all.len() == 1)
    });
    let collected = home.run(&["image", "gc", "--json"]).expect(0);
    home.run(&["rollback", "site"]).expect(0);
    assert!(has(&home, "greeting=hi"), "{} {}", collected.stdout, home.get("/").1);
    home.run(&["verify"]).expect(0);
    home.run(&["home", "check", "--full"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn files_that_can_not_be_are_refused_before_anything_is_done() {
    let home = Home::new();
    write(&home, &files("Hi"));
    let refused = home.run(&["up"]).expect(2);
    assert!(refused.stderr.contains("shop.conf.tmpl"), "{}", refused.stderr);
    assert!(!home.path().join("ledger.db").exists(), "nothing was started");
    home.write("shop.conf.tmpl", "one\ngreeting=${nothing}\n");
    let refused = home.run(&["validate"]).expect(2);
    assert!(refused.stderr.contains("`shop.conf.tmpl`, line 2"), "{}", refused.stderr);
}
