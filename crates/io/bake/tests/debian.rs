//! The real thing: Debian from this machine's own apt sources, with nginx on it.

mod support;

use std::{fs, path::PathBuf, time::Duration};

use hornero_bake::{LockMode, Patience};
use hornero_spec::Base;
use hornero_store::TreePath;
use support::home::{Home, image, name};

/// The suite of this machine.
fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("the machine is a Debian one").trim_matches('"').to_owned()
}

fn home() -> Home {
    let mut home = Home::new();
    let debian = Base::Debian { suite: suite(), mirror: None, keyring: None };
    home.add(image("base", debian, &["ca-certificates"]));
    let mut site = image("site", Base::Image(name("base")), &["nginx-light"]);
    site.run = vec!["nginx -t".to_owned()];
    site.config.user = "www-data".to_owned();
    home.add(site);
    home
}

fn bake(home: &Home) -> hornero_bake::BakedImage {
    let mut context = home.context();
    context.apt_dir = PathBuf::from("/etc/apt");
    context.patience = Patience { answer: Duration::from_secs(60), ..Patience::default() };
    let baked = hornero_bake::bake(
        &context,
        &home.store(),
        &home.spec,
        &home.source,
        &[name("site")],
        hornero_bake::BakeOptions::default(),
    );
    baked.unwrap_or_else(|error| panic!("{}", support::home::chain(&error))).remove(0)
}

#[test]
fn bakes_debian_with_nginx() {
    let first = home();
    let site = bake(&first);
    let read = |path: &str| first.read(&site, path);
    let passwd = read("/etc/passwd");
    assert!(passwd.contains("www-data:"), "{passwd}");
    let status = read("/var/lib/dpkg/status");
    let packages = status.lines().filter(|line| line.starts_with("Package: ")).count();
    let installed = status.lines().filter(|line| *line == "Status: install ok installed").count();
    assert_eq!(packages, installed, "every package is configured");
    let tree = first.store().tree(&site.digest).unwrap();
    for there in ["usr/sbin/nginx", "etc/ssl/certs/ca-certificates.crt", "etc/ld.so.cache", "bin"] {
        assert!(tree.get(&TreePath::new(there).unwrap()).is_some(), "{there}");
    }
    for gone in [
        "usr/sbin/policy-rc.d",
        "usr/sbin/ischroot",
        "var/log/dpkg.log",
        "var/lib/dpkg/lock",
        "etc/passwd-",
    ] {
        assert!(tree.get(&TreePath::new(gone).unwrap()).is_none(), "{gone}");
    }

    let lock = first.lock(LockMode::Frozen).unwrap();
    let base = &lock.images[&name("base")];
    let site_lock = &lock.images[&name("site")];
    assert!(base.packages.iter().any(|package| package.name == "dpkg"));
    assert!(base.packages.iter().all(|package| package.name != "apt"), "nobody asked for apt");
    assert!(site_lock.packages.iter().any(|package| package.name == "nginx-light"));
    assert!(site_lock.packages.iter().all(|package| package.name != "dpkg"), "the base has it");
    assert!(base.archives.iter().any(|archive| archive.suite == suite()));

    let again = bake(&first);
    assert!(again.cached && again.digest == site.digest);
}
