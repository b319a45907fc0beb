//! Provisions by shell, build secrets, and what keeps them out of everything.

mod support;

use std::{fs, path::Path, sync::Arc};

use hornero_archive::{Archive, Package, shell};
use hornero_bake::{
    BakeError, BakeOptions, BakeRecord, BakedImage, LayerSource, StepKind, progress::BakeEvent,
};
use hornero_spec::{
    AnsibleProvision, Base, CopySource, Provision, ProvisionWork, SecretName, SecretSource,
    SourceKind,
};
use hornero_store::TreePath;
use support::home::{Home, chain, image, name};

const VALUE: &str = "s3cr3t-\"value\"-of-a-token";

fn provision(work: ProvisionWork) -> Provision {
    Provision { work, env: Default::default(), network: false, secrets: Vec::new() }
}

fn inline(commands: &[&str]) -> Provision {
    provision(ProvisionWork::Inline(commands.iter().map(|one| (*one).to_owned()).collect()))
}

fn secret() -> SecretName {
    SecretName::new("token").unwrap()
}

fn archive() -> Archive {
    let place = Package::new("place", "1").essential().file("srv/README", 0o644, "").file(
        "root/README",
        0o644,
        "",
    );
    Archive::with(&[shell(), place.file("var/tmp/README", 0o644, "")])
}

fn home(archive: &Archive) -> Home {
    let mut home = Home::with_base(archive, &[]);
    home.add(image("site", Base::Image(name("base")), &[]));
    home
}

/// Bakes `site` where the environment has `TOKEN`.
fn bake(home: &Home, token: Option<&str>) -> Result<BakedImage, BakeError> {
    let mut context = home.context();
    let token = token.map(str::to_owned);
    context.environment =
        Arc::new(move |name| (name == "TOKEN").then(|| token.clone().map(Into::into)).flatten());
    let (store, names) = (home.store(), [name("site")]);
    let options = BakeOptions::default();
    hornero_bake::bake(&context, &store, &home.spec, &home.source, &names, options)
        .map(|mut baked| baked.remove(0))
}

/// Every file below a directory that holds the text.
fn holding(dir: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![dir.to_owned()];
    let mut files = 0;
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                files += 1;
                let bytes = fs::read(entry.path()).unwrap();
                if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                    found.push(entry.path().display().to_string());
                }
            }
        }
    }
    assert!(files > 20, "the home has more files than {files}");
    found
}

fn lines(home: &Home) -> Vec<String> {
    let line = |event| match event {
        BakeEvent::Output { line, .. } => Some(line),
        _ => None,
    };
    home.heard().into_iter().filter_map(line).collect()
}

#[test]
fn shell_provisions_run_in_order_between_copies_and_run() {
    let archive = archive();
    let mut home = home(&archive);
    home.write(
        "setup.sh",
        "#!/bin/sh -e\necho script $LEVEL >> /srv/log; [ -f /run/hornero/script ]\n",
    );
    let site = home.get("site");
    site.config.env.insert("LEVEL".to_owned(), "low".to_owned());
    site.provisions = vec![
        inline(&["echo one >> /srv/log", "cd /srv", "echo $PWD $LEVEL >> log"]),
        provision(ProvisionWork::Script("setup.sh".to_owned())),
    ];
    site.provisions[1].env.insert("LEVEL".to_owned(), "high".to_owned());
    site.run = vec!["echo run >> /srv/log".to_owned()];
    let first = home.bake_one("site");
    assert_eq!(home.read(&first, "/srv/log"), "one\n/srv low\nscript high\nrun\n");
    let tree = home.store().tree(&first.digest).unwrap();
    assert!(tree.get(&TreePath::new("run/hornero").unwrap()).is_none());

    let record = BakeRecord::of(&home.store(), &first.digest).unwrap().unwrap();
    let steps: Vec<_> = record.steps.iter().map(|step| (step.kind, step.title.as_str())).collect();
    assert_eq!(
        steps,
        [
            (StepKind::Provision, "shell `echo one >> /srv/log; cd /srv; echo $PWD $LEVEL >> log`"),
            (StepKind::Provision, "shell `setup.sh`"),
            (StepKind::Run, "run `echo run >> /srv/log`"),
        ]
    );
    let title = "shell `setup.sh`".to_owned();
    assert_eq!(record.steps[1].sources, [LayerSource::Provision { title }]);

    assert!(home.bake_one("site").cached);
    let why = |home: &Home| -> Vec<String> {
        home.bake_one("site").steps.iter().map(|step| step.why.clone()).collect()
    };
    home.write("setup.sh", "echo other >> /srv/log\n");
    assert_eq!(why(&home), ["", "`setup.sh` changed", "what lies below it changed"]);
    home.get("site").provisions[1].env.insert("LEVEL".to_owned(), "higher".to_owned());
    assert_eq!(why(&home)[1], "`env LEVEL` changed");
}

#[test]
fn the_first_command_that_fails_ends_a_provision() {
    let archive = archive();
    let mut home = home(&archive);
    home.get("site").provisions = vec![inline(&["echo before", "false", "echo after"])];
    let error = home.bake_error("site");
    assert_eq!(
        error,
        "shell `echo before; false; echo after` of image `site` failed: exit code 1\nbefore"
    );
    home.write("setup.sh", "\x7fELF");
    home.get("site").provisions = vec![provision(ProvisionWork::Script("setup.sh".to_owned()))];
    assert!(home.bake_error("site").contains("it is a program, not a script"));
}

#[test]
fn a_secret_is_there_for_its_step_alone_and_nowhere_afterwards() {
    let archive = archive();
    let mut home = home(&archive);
    let site = home.get("site");
    site.secrets.insert(secret(), SecretSource::Environment("TOKEN".to_owned()));
    let use_it = "read -r value < /run/secrets/token || true; echo \"got $value\"; echo ${#value} > /srv/length; \
                  echo $value > /var/tmp/cache; echo $value > /var/log/app.log; echo $value > /tmp/x; \
                  echo x > /run/secrets/token || echo read-only";
    site.provisions = vec![
        inline(&[use_it]),
        inline(&["[ -e /run/secrets/token ] && echo there > /srv/found || echo gone > /srv/found"]),
    ];
    site.provisions[0].secrets = vec![secret()];
    let baked = bake(&home, Some(VALUE)).unwrap();
    assert_eq!(home.read(&baked, "/srv/length"), format!("{}\n", VALUE.len()));
    assert_eq!(home.read(&baked, "/srv/found"), "gone\n");
    let shown = lines(&home);
    assert!(shown.contains(&"got [secret token]".to_owned()), "{shown:?}");
    assert!(shown.contains(&"read-only".to_owned()), "{shown:?}");
    assert!(shown.iter().all(|line| !line.contains("s3cr3t")), "{shown:?}");
    assert_eq!(holding(&home.path, "s3cr3t-"), Vec::<String>::new());
    let store = home.store();
    for entry in store.tree(&baked.digest).unwrap().entries() {
        if let hornero_store::EntryKind::File { digest, .. } = &entry.kind {
            let bytes = store.read_object(digest).unwrap();
            assert!(!String::from_utf8_lossy(&bytes).contains("s3cr3t-"), "{}", entry.path);
        }
    }

    // Only its name is an input: another value, or none at all, bakes nothing anew.
    for token in [Some("another-value"), None] {
        let again = bake(&home, token).unwrap();
        assert!(again.cached && again.digest == baked.digest);
    }
    home.get("site").provisions[0].secrets = Vec::new();
    let without = bake(&home, Some(VALUE)).unwrap();
    assert_eq!(without.steps[0].why, "`secret token` is gone");
    assert_eq!(home.read(&without, "/srv/length"), "0\n", "a step that names none has none");
}

#[test]
fn the_file_of_a_secret_is_copied_into_no_image() {
    let archive = archive();
    let mut home = home(&archive);
    home.add(image("other", Base::Image(name("base")), &[]));
    home.write("app/page", "page\n");
    home.write("app/deep/.vault", VALUE);
    let site = home.get("site");
    site.secrets.insert(secret(), SecretSource::File("app/deep/.vault".to_owned()));
    let copy = |from: &str, kind| CopySource {
        from: from.to_owned(),
        kind,
        to: "/srv/app".to_owned(),
        mode: None,
        owner: Default::default(),
    };
    let refused = |home: &Home, image: &str, path: &str| {
        let expected = format!(
            "copy source `{path}` of image `{image}` cannot be copied: secret `token` lies inside what is copied: \
             move it out"
        );
        assert_eq!(home.bake_error(image), expected);
    };
    // Another image of the directory has no right to it either.
    for image in ["site", "other"] {
        home.get(image).copies = vec![copy(".", SourceKind::Directory)];
        refused(&home, image, "./app/deep/.vault");
        home.get(image).copies = vec![copy("app/deep/.vault", SourceKind::File)];
        refused(&home, image, "app/deep/.vault");
        home.get(image).copies = vec![copy("app", SourceKind::Directory)];
        refused(&home, image, "app/deep/.vault");
    }
    // By whatever name it is there.
    let vault = home.source.join("app/deep/.vault");
    fs::hard_link(&vault, home.source.join("app/page2")).unwrap();
    fs::rename(&vault, home.source.join("vault")).unwrap();
    home.get("site").secrets = [(secret(), SecretSource::File("link".to_owned()))].into();
    std::os::unix::fs::symlink("vault", home.source.join("link")).unwrap();
    refused(&home, "site", "app/page2");
    fs::remove_file(home.source.join("app/page2")).unwrap();
    let script = provision(ProvisionWork::Script("vault".to_owned()));
    home.get("site").provisions = vec![script];
    let error = home.bake_error("site");
    assert!(
        error.ends_with("secret `token` is read from it, and what a step runs is kept"),
        "{error}"
    );
    home.get("site").provisions.clear();
    home.bake_one("site");
    assert_eq!(holding(&home.path, "s3cr3t-"), Vec::<String>::new());
}

#[test]
fn a_secret_that_a_step_keeps_fails_the_bake_before_it_is_stored() {
    let archive = archive();
    let mut home = home(&archive);
    let site = home.get("site");
    site.secrets.insert(secret(), SecretSource::File("../token".to_owned()));
    site.provisions = vec![inline(&[
        "read -r value < /run/secrets/token; echo \"token=$value\" > /root/.npmrc; echo $value >&2",
    ])];
    site.provisions[0].secrets = vec![secret()];
    let token = home.source.parent().unwrap().join("token");
    let error = bake(&home, None).unwrap_err();
    assert!(error.to_string().contains("secret `token` of image `site` cannot be used"), "{error}");
    fs::write(&token, format!("{VALUE}\n")).unwrap();
    let error = bake(&home, None).unwrap_err();
    let text = chain(&error);
    assert!(text.ends_with("of image `site` wrote secret `token` to `/root/.npmrc`"), "{text}");
    assert!(error.hint().unwrap().contains("/run/secrets"));
    assert_eq!(holding(&home.path, "s3cr3t-"), Vec::<String>::new());

    // A step that fails tells its last lines, but not the secret in them.
    home.get("site").provisions[0].work = ProvisionWork::Inline(vec![
        "read -r value < /run/secrets/token; echo \"refused: $value\"; exit 3".to_owned(),
    ]);
    let text = chain(&bake(&home, None).unwrap_err());
    assert!(text.ends_with("failed: exit code 3\nrefused: [secret token]"), "{text}");
    assert_eq!(holding(&home.path, "s3cr3t-"), Vec::<String>::new());
}

#[test]
fn a_secret_without_a_usable_value_is_refused_when_its_step_runs() {
    let archive = archive();
    let mut home = home(&archive);
    let site = home.get("site");
    site.secrets.insert(secret(), SecretSource::Environment("TOKEN".to_owned()));
    site.provisions = vec![inline(&["true"])];
    site.provisions[0].secrets = vec![secret()];
    let error = |token| chain(&bake(&home, token).unwrap_err());
    assert!(error(None).ends_with("environment variable `TOKEN` is not set"), "{}", error(None));
    let short = error(Some("1234567"));
    assert!(short.contains("shorter than 8 bytes") && !short.contains("1234567"), "{short}");
}

#[test]
fn a_record_is_enough_to_provision_again() {
    let archive = archive();
    let mut home = home(&archive);
    home.write("setup.sh", "#!/bin/sh\necho script >> /srv/log\n");
    let site = home.get("site");
    site.secrets.insert(secret(), SecretSource::Environment("TOKEN".to_owned()));
    let length = "read -r value < /run/secrets/token || true; echo ${#value} $LEVEL >> /srv/log";
    site.provisions =
        vec![inline(&[length]), provision(ProvisionWork::Script("setup.sh".to_owned()))];
    site.provisions[0].secrets = vec![secret()];
    site.provisions[0].env.insert("LEVEL".to_owned(), "high".to_owned());
    let baked = bake(&home, Some(VALUE)).unwrap();
    fs::remove_file(home.source.join("setup.sh")).unwrap();
    let again = |token: Option<&'static str>| {
        let mut context = home.context();
        context.environment = Arc::new(move |_| token.map(Into::into));
        hornero_bake::reproduce(&context, &home.store(), &baked.digest)
    };
    assert!(again(Some(VALUE)).unwrap().is_same());
    let other = again(Some("another value")).unwrap();
    let paths: Vec<&str> = other.differences.iter().map(|file| file.path.as_str()).collect();
    assert!(!other.is_same() && paths == ["/srv/log"], "{paths:?}");
    assert!(again(None).unwrap_err().to_string().contains("secret `token`"));
    assert_eq!(holding(&home.path, "s3cr3t-"), Vec::<String>::new());
}

/// Takes down the network of a home, also when its test fails.
struct Network(std::path::PathBuf);

impl Drop for Network {
    fn drop(&mut self) {
        if let Ok(network) = hornero_net::HomeNetwork::open(&self.0) {
            let _ = network.down();
        }
    }
}

#[test]
fn a_provision_has_a_network_only_where_it_is_declared() {
    let archive = archive();
    let mut home = home(&archive);
    home.bake_one("base");
    let _network = Network(home.path.clone());
    let links = "while read -r line; do echo \"link $line\"; done < /proc/net/dev; exit 9";
    home.get("site").provisions = vec![inline(&[links])];
    let error = home.bake_error("site");
    assert!(error.contains("link lo:") && !error.contains("link eth0:"), "{error}");
    home.get("site").provisions[0].network = true;
    let error = home.bake_error("site");
    assert!(error.contains("link eth0:"), "{error}");
}

#[test]
fn a_playbook_needs_python_in_the_image() {
    let archive = archive();
    let mut home = home(&archive);
    home.write("site.yml", "- hosts: all\n");
    let ansible = AnsibleProvision {
        playbook: "site.yml".to_owned(),
        extra_vars: Default::default(),
        groups: Vec::new(),
    };
    home.get("site").provisions = vec![provision(ProvisionWork::Ansible(ansible))];
    let error = home.bake(&["site"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ansible `site.yml` of image `site` needs Python in the image: it has no `/usr/bin/python3`"
    );
    assert!(error.hint().unwrap().contains("`python3` to the `packages`"));
}

#[test]
fn a_record_from_elsewhere_gets_no_secret_of_this_host() {
    let archive = archive();
    let mut home = home(&archive);
    home.get("site").provisions = vec![inline(&["echo done > /srv/log"])];
    let baked = bake(&home, None).unwrap();
    let store = home.store();
    let kept = home.path.join("kept");
    fs::write(&kept, VALUE).unwrap();
    let mut record = hornero_bake::BakeRecord::of(&store, &baked.digest).unwrap().unwrap();
    let Some(hornero_bake::Action::Provision(action)) = &mut record.steps[0].action else {
        panic!("{record:?}")
    };
    let origin = hornero_bake::SecretOrigin::File(kept.display().to_string());
    action.secrets.insert("token".to_owned(), origin);
    store.attach(&baked.digest, "bake", &serde_json::to_vec(&record).unwrap()).unwrap();
    let error = hornero_bake::reproduce(&home.context(), &store, &baked.digest).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`token`") && text.contains("not one that this home wrote"), "{text}");
}
