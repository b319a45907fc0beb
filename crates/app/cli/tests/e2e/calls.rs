//! Who calls whom: calls between real servers are counted, and what nobody declared is told.

use serde_json::{Value, json};

use crate::{
    home::{Home, free_port, get},
    site::{BASE, NGINX_CONF, Site},
};

/// A site that passes `/through` on to `zoo`, by its name inside; nginx wants its name server in its configuration.
const COMMAND: &str = r#"["/bin/sh", "-c", "sed s/RESOLVER/$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)/ /etc/nginx/nginx.conf > /run/nginx.conf && exec nginx -c /run/nginx.conf -g 'daemon off;'"]"#;

/// `app` calls `zoo`, and says so or not.
fn write(home: &Home, ports: (u16, u16), service: &str) {
    home.write("public/index.html", "page");
    home.write(
        "nginx.conf",
        &NGINX_CONF.replace(
            "root /srv/site;",
            "root /srv/site;\n resolver RESOLVER;\n location /through { set $zoo http://zoo.internal:8080; proxy_pass $zoo/; }",
        ),
    );
    let site = |name, service| Site {
        name,
        command: COMMAND,
        image: "",
        instances: 1,
        service,
        ..Site::default()
    };
    let (app, zoo) = (site("app", service), site("zoo", ""));
    home.write("hornero.hcl", &format!("{BASE}{}{}", app.blocks(ports.0), zoo.blocks(ports.1)));
}

fn calls(home: &Home) -> Vec<Value> {
    home.status()["calls"].as_array().cloned().unwrap_or_default()
}

#[test]
fn what_nobody_declared_is_told_until_somebody_does() {
    let home = Home::new();
    let ports = (home.port, free_port());
    write(&home, ports, "");
    let up = home.up();
    assert_eq!(up["services"][0]["name"], "app", "nothing says that `zoo` comes first");
    assert_eq!(calls(&home), [] as [Value; 0], "the edge's own probes are nobody's calls");
    for _ in 0..3 {
        assert_eq!(get(ports.0, "/through"), (200, "page".to_owned()));
    }
    // Requests from outside are no calls of a service.
    assert_eq!(get(ports.1, "/").0, 200);
    let seen = calls(&home);
    assert_eq!(seen.len(), 1, "{seen:?}");
    let call = &seen[0];
    assert_eq!((&call["from"], &call["to"]), (&json!("app"), &json!("zoo")));
    assert_eq!((&call["requests"], &call["declared"]), (&json!(3), &json!(false)));
    assert!(call["last"].is_string() || call["last"].is_number(), "{call}");
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("note: `app` called `zoo` 3 times"), "{text}");
    assert!(text.contains("depends_on = [service.zoo]"), "{text}");
    let plan = home.run(&["plan"]).expect(0);
    assert!(plan.stderr.contains("note: `app` called `zoo` 3 times"), "{}", plan.stderr);
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["undeclared_calls"][0]["requests"], 3, "{plan}");

    // Whoever says so is told no more, and `zoo` comes first from then on.
    write(&home, ports, "depends_on = [service.zoo]");
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(plan["undeclared_calls"], json!(null), "{plan}");
    let up = home.up();
    assert_eq!(up["services"][0]["name"], "zoo");
    assert_eq!(get(ports.0, "/through").0, 200);
    let seen = calls(&home);
    assert_eq!((&seen[0]["requests"], &seen[0]["declared"]), (&json!(4), &json!(true)));
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(!text.contains("note: `app` called"), "{text}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
