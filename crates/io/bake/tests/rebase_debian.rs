//! The real thing: a server on Debian as it was before its security updates, moved onto the base with them.

mod support;

use std::{fs, path::PathBuf, time::Duration};

use hornero_archive::Relay;
use hornero_bake::{
    BakeContext, BakeOptions, BakedImage, LockMode, Patience, RebaseOptions, rebase,
};
use hornero_spec::Base;
use support::{
    home::{Home, chain, image, name},
    sandbox,
};

/// The suite of this machine.
fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("the machine is a Debian one").trim_matches('"').to_owned()
}

fn context(home: &Home) -> BakeContext<'_> {
    let mut context = home.context();
    context.apt_dir = PathBuf::from("/etc/apt");
    context.patience = Patience { answer: Duration::from_secs(60), ..Patience::default() };
    context
}

fn bake(home: &Home, title: &str) -> BakedImage {
    let (context, store, names) = (context(home), home.store(), [name(title)]);
    let options = BakeOptions::default();
    hornero_bake::bake(&context, &store, &home.spec, &home.source, &names, options)
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
        .remove(0)
}

#[test]
fn nginx_moves_onto_debians_security_updates_and_runs() {
    let relay = Relay::of_host(&suite());
    relay.hide(&["security"]);
    let mut home = Home::new();
    let debian = Base::Debian { suite: suite(), mirror: Some(relay.url()), keyring: None };
    home.add(image("base", debian, &["ca-certificates"]));
    let mut site = image("site", Base::Image(name("base")), &["nginx-light"]);
    site.run = vec!["nginx -t".to_owned()];
    site.config.user = "www-data".to_owned();
    home.add(site);
    let (old, site) = (bake(&home, "base"), bake(&home, "site"));

    relay.hide(&[]);
    let before = home.spec.clone();
    let locked_before = hornero_bake::Lock::read(&home.source).unwrap().unwrap();
    let lock =
        hornero_bake::lock(&context(&home), &before, &home.source, LockMode::Update).unwrap();
    lock.write(&home.source).unwrap();
    let new = bake(&home, "base");
    let store = home.store();
    // The server's own packages may have an update as well: then it is moved with those it was baked from.
    let own = |lock: &hornero_bake::Lock| {
        let packages = &lock.images[&name("site")].packages;
        packages.iter().map(|one| (one.name.clone(), one.version.clone())).collect::<Vec<_>>()
    };
    let same = own(&lock) == own(&locked_before);
    let moved = rebase(&store, &site.digest, &new.digest, RebaseOptions::default())
        .unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!((moved.old_base, moved.new_base), (old.digest, new.digest));
    let version = sandbox::run(&store, &moved.image, &["/usr/sbin/nginx", "-v"]);
    assert!(version.contains("nginx version"), "{version}");
    let listed = sandbox::run(&store, &moved.image, &["/usr/bin/dpkg-query", "-W"]);
    let expected = lock.images[&name("base")].packages.iter();
    for package in expected {
        let line = listed.lines().find(|line| {
            let (name, _) = line.split_once('\t').unwrap_or_default();
            name.split(':').next() == Some(&package.name)
        });
        let line = line.unwrap_or_else(|| panic!("no {}:\n{listed}", package.name));
        assert!(line.ends_with(&format!("\t{}", package.version)), "{line} {}", package.version);
    }
    if same {
        let again = bake(&home, "site");
        assert!(again.cached && again.digest == moved.image, "{:?}", again.steps);
    }
}
