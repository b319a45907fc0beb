//! The real Ansible against a real Debian: what it makes, that it makes it again, and how it fails.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_bake::{
    Action, BakeContext, BakeError, BakeOptions, BakeRecord, BakedImage, Patience, StepKind,
    progress::BakeEvent,
};
use hornero_spec::{AnsibleProvision, Base, Provision, ProvisionWork, SecretName, SecretSource};
use hornero_store::TreePath;
use support::home::{Home, chain, image, name};

/// The home of a bake in a process of its own.
const HOME: &str = "HORNERO_TEST_ANSIBLE_HOME";
const VALUE: &str = "s3cr3t-value-of-a-token";

/// The secret that lies beside the playbook.
const VAULT: &str = "s3cr3t-password-of-the-vault";

const PLAYBOOK: &str = r#"
- hosts: web
  become: true
  vars:
    greeting: overridden
  roles: [app]
  tasks:
    - name: Delegated and local tasks stay in the sandbox
      command: cat /etc/hostname
      delegate_to: localhost
      register: delegated
    - assert: { that: delegated.stdout == "localhost" }
    - name: Use the secret
      shell: wc -c < /run/secrets/token > /srv/app/length; cat /run/secrets/token
      register: token
    - name: A secret that lies beside the playbook is where steps find secrets, and nowhere else
      shell: >-
        echo $(wc -c < /run/secrets/vault) {{ lookup('fileglob', playbook_dir ~ '/.vault*') or 'gone' }}
        > /srv/app/vault
    - debug: { var: token.stdout }
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - command: test -e /srv/app
"#;

const ROLE: &str = r#"
- name: Write the greeting
  template: { src: motd.j2, dest: /etc/motd, mode: "0640" }
  notify: Note it
- name: Make the user
  user: { name: app, uid: 1500, shell: /bin/sh, home: /srv/app }
- name: Set the mode
  file: { path: /srv/app, state: directory, owner: app, mode: "0750" }
- name: Work as the user
  shell: id -un > /srv/app/me
  become_user: app
- name: Copy a file
  copy: { src: page.html, dest: /srv/app/page.html, owner: app, group: app, mode: "0644" }
"#;

const HANDLERS: &str =
    "- name: Note it\n  copy: { content: \"handled\\n\", dest: /etc/handled, mode: \"0600\" }\n";

fn suite() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.expect("the machine is a Debian one").trim_matches('"').to_owned()
}

fn home() -> Home {
    let mut home = Home::new();
    declare(&mut home);
    home.write("ansible/site.yml", PLAYBOOK);
    home.write("ansible/roles/app/tasks/main.yml", ROLE);
    home.write("ansible/roles/app/handlers/main.yml", HANDLERS);
    home.write(
        "ansible/roles/app/templates/motd.j2",
        "{{ greeting }} {{ where }} {{ inventory_hostname }} {{ ansible_env.LEVEL }}\n",
    );
    home.write("ansible/roles/app/files/page.html", "page\n");
    home.write("ansible/group_vars/web.yml", "where: web\n");
    home.write("ansible/.vault_pass", VAULT);
    home
}

/// An image of packages, and one that a playbook makes on it.
fn declare(home: &mut Home) {
    let debian = Base::Debian { suite: suite(), mirror: None, keyring: None };
    home.add(image("base", debian, &["passwd", "python3"]));
    let mut site = image("site", Base::Image(name("base")), &[]);
    let token = SecretName::new("token").unwrap();
    site.secrets.insert(token.clone(), SecretSource::Environment("TOKEN".to_owned()));
    let vault = SecretName::new("vault").unwrap();
    site.secrets.insert(vault.clone(), SecretSource::File("ansible/.vault_pass".to_owned()));
    let ansible = AnsibleProvision {
        playbook: "ansible/site.yml".to_owned(),
        extra_vars: [("greeting".to_owned(), "hello".into())].into(),
        groups: vec!["web".to_owned()],
    };
    site.provisions = vec![Provision {
        work: ProvisionWork::Ansible(ansible),
        env: [("LEVEL".to_owned(), "high".to_owned())].into(),
        network: false,
        secrets: vec![token, vault],
    }];
    home.add(site);
}

fn context(home: &Home) -> BakeContext<'_> {
    let mut context = home.context();
    context.apt_dir = PathBuf::from("/etc/apt");
    context.patience = Patience { answer: Duration::from_secs(60), ..Patience::default() };
    context.environment = Arc::new(|name| (name == "TOKEN").then(|| VALUE.into()));
    context
}

fn bake(home: &Home) -> Result<BakedImage, BakeError> {
    let (store, names) = (home.store(), [name("site")]);
    let options = BakeOptions::default();
    hornero_bake::bake(&context(home), &store, &home.spec, &home.source, &names, options)
        .map(|mut baked| baked.remove(0))
}

fn bake_well(home: &Home) -> BakedImage {
    bake(home).unwrap_or_else(|error| panic!("{}\n{:#?}", chain(&error), lines(home)))
}

fn lines(home: &Home) -> Vec<String> {
    let line = |event| match event {
        BakeEvent::Output { line, .. } => Some(line),
        _ => None,
    };
    home.heard().into_iter().filter_map(line).collect()
}

#[test]
fn a_playbook_makes_an_image_and_makes_it_again() {
    if let Some(path) = std::env::var_os(HOME) {
        return bake_until_killed(&PathBuf::from(path));
    }
    let first = home();
    let site = bake_well(&first);
    assert_eq!(first.read(&site, "/etc/motd"), "hello web site high\n");
    assert_eq!(first.read(&site, "/etc/handled"), "handled\n");
    assert_eq!(first.read(&site, "/srv/app/page.html"), "page\n");
    assert_eq!(first.read(&site, "/srv/app/me"), "app\n");
    assert_eq!(first.read(&site, "/srv/app/length"), format!("{}\n", VALUE.len()));
    assert!(first.read(&site, "/etc/passwd").contains("app:x:1500:1500::/srv/app:/bin/sh\n"));
    let tree = first.store().tree(&site.digest).unwrap();
    let metadata = |path: &str| tree.get(&TreePath::new(path).unwrap()).unwrap().metadata.clone();
    assert_eq!(metadata("etc/motd").mode, 0o640);
    assert_eq!((metadata("srv/app").mode, metadata("srv/app").uid), (0o750, 1500));

    // Nothing of Ansible's own is left in the layer.
    let record = BakeRecord::of(&first.store(), &site.digest).unwrap().unwrap();
    let [step] = record.steps.as_slice() else { panic!("{:?}", record.steps) };
    assert_eq!(
        (step.kind, step.title.as_str()),
        (StepKind::Provision, "ansible `ansible/site.yml`")
    );
    assert!(step.inputs["ansible-playbook"].starts_with("ansible-playbook [core 2."));
    let layer = first.store().layer(&step.layers[0]).unwrap();
    let paths: Vec<String> = layer.entries().iter().map(|entry| entry.path.to_string()).collect();
    assert!(
        paths.iter().all(|path| !path.contains("ansible") && !path.contains("__pycache__")),
        "{paths:?}"
    );

    let shown = lines(&first);
    assert!(shown.iter().any(|line| line.starts_with("TASK [app : Make the user]")), "{shown:?}");
    assert!(shown.iter().any(|line| line.contains("[secret token]")), "{shown:?}");
    assert!(shown.iter().all(|line| !line.contains(VALUE)), "{shown:?}");
    assert!(shown.iter().all(|line| !line.starts_with("hornero:")), "{shown:?}");
    let json = serde_json::to_string(&record).unwrap();
    assert!(!json.contains(VALUE) && json.contains("TOKEN"));
    assert!(!json.contains(VAULT) && json.contains("ansible/.vault_pass"));
    assert_eq!(first.read(&site, "/srv/app/vault"), format!("{} gone\n", VAULT.len()));

    assert!(bake_well(&first).cached);
    for value in [VALUE, VAULT] {
        assert_eq!(files_with(&first.path, value), Vec::<PathBuf>::new());
    }

    // From the record alone, in another store: the same bytes.
    fs::rename(first.source.join("ansible"), first.source.join("away")).unwrap();
    first.write("ansible/.vault_pass", VAULT);
    let again = hornero_bake::reproduce(&context(&first), &first.store(), &site.digest);
    let again = again.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert!(again.is_same(), "{:?}", again.differences);
    is_not_run_for_others(&first, &site);
    fs::remove_dir_all(first.source.join("ansible")).unwrap();
    fs::rename(first.source.join("away"), first.source.join("ansible")).unwrap();

    // A changed file of a role runs the playbook again, and says so.
    let template = "ansible/roles/app/templates/motd.j2";
    first.write(template, "changed\n");
    let changed = bake_well(&first);
    let last = changed.steps.last().unwrap();
    assert_eq!(last.why, format!("`{template}` changed"));
    assert_eq!(first.read(&changed, "/etc/motd"), "changed\n");

    fails(&first);
    is_killed(&first);
    assert_eq!(files_with(&first.path, VALUE), Vec::<PathBuf>::new());
}

/// Every file below a directory that holds the text.
fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (kind, path) = (entry.file_type().unwrap(), entry.path());
        if kind.is_dir() {
            found.extend(files_with(&path, text));
        } else if kind.is_file()
            && memchr::memmem::find(&fs::read(&path).unwrap(), text.as_bytes()).is_some()
        {
            found.push(path);
        }
    }
    found
}

/// The bake in a process of its own, whose playbook never ends.
fn bake_until_killed(path: &Path) {
    let mut home = Home::at(path, &path.with_file_name("source"));
    declare(&mut home);
    let error = bake(&home).expect_err("the playbook never ends");
    panic!("{}", chain(&error));
}

/// Neither what a killed bake ran in the sandbox nor what it ran on the host is left.
fn is_killed(home: &Home) {
    let number = 5_000_000 + std::process::id();
    let (inside, outside) = (format!("{number}.1"), format!("{number}.2"));
    home.write(
        "ansible/site.yml",
        &format!(
            "- hosts: all\n  gather_facts: false\n  tasks:\n    \
             - shell: sleep {inside} > /dev/null 2>&1 & echo started\n    \
             - debug: {{ msg: \"{{{{ lookup('pipe', 'sleep {outside}') }}}}\" }}\n"
        ),
    );
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_playbook_makes_an_image_and_makes_it_again", "--nocapture"])
        .env(HOME, &home.path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runs = |text: &str| {
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).any(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| memchr::memmem::find(&line, text.as_bytes()).is_some())
        })
    };
    let until = |what: &str, is: &mut dyn FnMut() -> bool| {
        let started = Instant::now();
        while !is() {
            assert!(started.elapsed() < Duration::from_secs(120), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("the playbook runs", &mut || {
        assert!(child.try_wait().unwrap().is_none(), "the bake goes on");
        runs(&inside) && runs(&outside)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    until("nothing is left", &mut || !runs(&number.to_string()));
}

/// A playbook runs on the host: not for a record that another home may have written.
fn is_not_run_for_others(home: &Home, site: &BakedImage) {
    let store = home.store();
    let own = store.attachment(&site.digest, "bake").unwrap().unwrap();
    let mut record = BakeRecord::of(&store, &site.digest).unwrap().unwrap();
    for step in &mut record.steps {
        if let Some(Action::Provision(action)) = &mut step.action {
            action.secrets.clear();
        }
    }
    store.attach(&site.digest, "bake", &serde_json::to_vec(&record).unwrap()).unwrap();
    let error = hornero_bake::reproduce(&context(home), &store, &site.digest).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("its playbook would run on this host"), "{text}");
    store.attach(&site.digest, "bake", &own).unwrap();
}

/// A failing task, a playbook that is none, one that would write to the host, and one that kills its sandbox.
fn fails(home: &Home) {
    let error = |playbook: &str| {
        home.write("ansible/site.yml", playbook);
        chain(&bake(home).expect_err("the playbook fails"))
    };
    let text = error(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: Break\n      command: sh -c 'cat /run/secrets/token >&2; exit 5'\n",
    );
    assert!(text.contains("failed: Ansible ended with exit code 2"), "{text}");
    assert!(text.contains("TASK [Break]") && text.contains("non-zero return code"), "{text}");
    assert!(text.contains("[secret token]") && !text.contains(VALUE), "{text}");

    let text = error("- hosts: all\n  tasks: [{ nosuchmodule: {} }]\n");
    assert!(text.contains("couldn't resolve module/action 'nosuchmodule'"), "{text}");

    let text = error(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ fetch: { src: /etc/hostname, dest: /srv/fetched } }]\n",
    );
    assert!(text.contains("Read-only file system"), "{text}");

    let text = error(
        "- hosts: all\n  gather_facts: false\n  tasks: [{ shell: kill -9 $(cat /proc/1/task/1/children) }]\n",
    );
    assert!(text.contains("failed: killed by signal 9"), "{text}");
}
