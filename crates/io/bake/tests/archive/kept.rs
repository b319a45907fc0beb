//! What is known of packages without asking any archive.

use hornero_archive::{Archive, Server};
use hornero_bake::{LockMode, PackagesForecast, forecast_packages};

use crate::{
    packages, served,
    support::home::{Home, debian, image, name},
};

fn forecast(home: &Home, of: &str) -> PackagesForecast {
    let all = forecast_packages(&home.context(), &home.spec, &home.source).unwrap();
    all[&name(of)].clone()
}

/// The packages that are missing, each with the first name that may have been meant.
fn missing(home: &Home, of: &str) -> Vec<(String, Option<String>)> {
    match forecast(home, of) {
        PackagesForecast::Known(missing) => missing
            .into_iter()
            .map(|(package, problem)| (package, problem.suggestions.into_iter().next()))
            .collect(),
        PackagesForecast::Unknown(why) => panic!("{why}"),
    }
}

fn unknown(home: &Home, of: &str) -> String {
    match forecast(home, of) {
        PackagesForecast::Unknown(why) => why,
        PackagesForecast::Known(missing) => panic!("{missing:?}"),
    }
}

#[test]
fn packages_that_no_kept_list_has_are_named_and_nobody_is_asked() {
    let archive = Archive::with(&packages());
    let (server, mut home) = served(&archive);
    let why = unknown(&home, "base");
    assert!(why.contains("were not read for this home so far"), "{why}");
    assert_eq!(server.requests(), Vec::<String>::new(), "nobody is asked");

    home.lock(LockMode::Keep).unwrap();
    let asked = server.requests().len();
    assert_eq!(missing(&home, "base"), [], "the lock has them");
    home.get("base").packages =
        ["sever", "old=0.8", "engine", "mail-agent"].map(str::to_owned).into();
    let found = missing(&home, "base");
    let wanted = [("sever", "server"), ("old=0.8", "old=0.9")];
    let wanted = wanted.map(|(package, meant)| (package.to_owned(), Some(meant.to_owned())));
    assert_eq!(found, wanted);
    assert_eq!(server.requests().len(), asked, "nobody is asked");
}

#[test]
fn lists_of_another_archive_say_nothing() {
    let archive = Archive::with(&packages());
    let (_server, mut home) = served(&archive);
    home.lock(LockMode::Keep).unwrap();
    let other = Server::start(archive.path());
    home.add(image("other", debian(&other.url(), &archive.keyring()), &["no-such"]));
    let why = unknown(&home, "other");
    assert!(why.contains(&other.url()), "{why}");
    assert_eq!(missing(&home, "base"), []);
    assert_eq!(other.requests().len(), 0);
    // A list that somebody put into the place of the kept one is none that was signed.
    let indexes = home.path.join("cache/indexes");
    for entry in std::fs::read_dir(indexes).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("Suite: ") {
            std::fs::write(&path, text.replace("Suite: ", "Suite: un")).unwrap();
        }
    }
    home.get("base").packages.push("no-such".to_owned());
    let why = unknown(&home, "base");
    assert!(why.contains("is refused") || why.contains("sign"), "{why}");
}
