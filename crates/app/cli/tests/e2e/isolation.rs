//! What must not happen: starting from a damaged image, homes that see each other, a way into other servers.

use std::{fs, path::PathBuf};

use crate::{
    home::{Home, free_port, get, until},
    site::{BASE, NGINX_CONF, Site},
    traffic::Traffic,
};

#[test]
fn one_flipped_byte_is_noticed_before_a_server_starts_from_it() {
    let home = Home::new();
    let page = format!("page of {}", home.path().display());
    let site = Site { rollout: r#"keep_warm = "1ms""#, ..Site::default() };
    site.write(&home, &page);
    home.up();
    site.write(&home, "another page");
    home.up();
    until("the first release's servers to go", || {
        let instances = home.status()["services"][0]["instances"].as_array().unwrap().clone();
        instances.iter().all(|instance| instance["release"] == 2)
    });
    let object = object_with(&home, &page);
    let mut bytes = fs::read(&object).unwrap();
    bytes[0] ^= 1;
    fs::set_permissions(&object, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::write(&object, &bytes).unwrap();
    let refused = home.run(&["rollback", "site"]).expect(1);
    assert!(refused.stderr.contains("/srv/site/index.html"), "names the file: {}", refused.stderr);
    assert_eq!(home.get("/"), (200, "another page".to_owned()), "what served before serves still");

    site.write(&home, &page);
    home.up();
    assert_eq!(home.get("/"), (200, page), "baking again has mended it");
}

/// The object of the store whose content is `content`.
fn object_with(home: &Home, content: &str) -> PathBuf {
    let digest = hornero_model::Digest::of(content.as_bytes()).hex();
    let path = home.path().join("store/objects").join(&digest[..2]).join(&digest[2..]);
    assert!(path.exists(), "{}", path.display());
    path
}

#[test]
fn two_homes_do_not_see_each_other() {
    let (one, two) = (Home::new(), Home::new());
    Site::default().write(&one, "page of one");
    Site::default().write(&two, "page of two");
    one.up();
    two.up();
    assert_eq!(one.get("/").1, "page of one");
    assert_eq!(two.get("/").1, "page of two");
    let (first, second) = (one.status(), two.status());
    assert_ne!(
        first["services"][0]["internal"]["address"],
        second["services"][0]["internal"]["address"]
    );
    one.run(&["down"]).expect(0);
    one.assert_clean();
    assert_eq!(get(two.port, "/"), (200, "page of two".to_owned()), "the other home goes on");
    two.run(&["audit", "verify"]).expect(0);
}

#[test]
fn services_call_each_other_by_name_while_both_are_replaced() {
    let home = Home::new();
    let (web, api) = (home.port, free_port());
    // nginx takes its name server from its configuration, so the one that the instance was given is put in at start.
    let command = r#"["/bin/sh", "-c", "sed s/RESOLVER/$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)/ /etc/nginx/nginx.conf > /run/nginx.conf && exec nginx -c /run/nginx.conf -g 'daemon off;'"]"#;
    home.write(
        "nginx.conf",
        &NGINX_CONF.replace(
            "root /srv/site;",
            "root /srv/site;\n resolver RESOLVER;\n location /through { set $api http://api.internal:8080; proxy_pass $api/; }",
        ),
    );
    let write = |version: &str| {
        home.write("public/index.html", &format!("api {version}"));
        let api_site = Site { name: "api", command, image: "", ..Site::default() };
        let web_site = Site {
            name: "web",
            command,
            image: "",
            service: "depends_on = [service.api]",
            ..Site::default()
        };
        home.write(
            "hornero.hcl",
            &format!("{BASE}{}{}", api_site.blocks(api), web_site.blocks(web)),
        );
    };
    write("1");
    home.run(&["up"]).expect(0);
    assert_eq!(get(web, "/through"), (200, "api 1".to_owned()));
    let traffic = Traffic::start_at(web, "/through");
    for version in ["2", "3", "4"] {
        write(version);
        let up = home.up();
        assert_eq!(up["services"].as_array().unwrap().len(), 2);
        assert_eq!(get(web, "/through"), (200, format!("api {version}")));
    }
    assert!(traffic.stop_whole().started > 50);
}
