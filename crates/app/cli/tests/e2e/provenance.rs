//! Nothing serves that nobody who is trusted vouches for: not when it is promoted, and not when it starts again.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hornero_ledger::Keys;
use hornero_model::{Digest, PublicKey};
use hornero_provenance::{KeyId, Policy, Signer, Statement, sign, verify};
use hornero_store::Store;
use serde_json::{Value, json};

use crate::{
    home::{Home, pid, signal, until},
    site::Site,
    validators,
};

/// A key pair of a home or of a stranger.
struct Key(Keys);

impl Key {
    fn of(home: &Home) -> Self {
        Self(Keys::open(&home.path().join("keys")).unwrap())
    }

    /// Where a home's envelope of an image is attached.
    fn kind(&self) -> String {
        KeyId::of(&self.public_key()).attachment()
    }
}

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(*self.0.public().as_bytes())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign_envelope(message)
    }
}

/// Something bad to do with an image's envelopes.
type Tampering<'h> = fn(&Envelopes<'h>);

/// The envelopes of one image, to do bad things with; what was there comes back when it is dropped.
struct Envelopes<'h> {
    store: Store,
    image: Digest,
    own: Key,
    good: Vec<u8>,
    stranger: Key,
    _directory: tempfile::TempDir,
    _home: &'h Home,
}

impl<'h> Envelopes<'h> {
    fn of(home: &'h Home, image: &Digest) -> Self {
        let store = Store::open(home.path().join("store")).unwrap();
        let own = Key::of(home);
        let good = store.attachment(image, &own.kind()).unwrap().expect("what is baked is signed");
        let directory = tempfile::tempdir().unwrap();
        let stranger = Key(Keys::open_or_create(directory.path()).unwrap());
        Self { store, image: *image, own, good, stranger, _directory: directory, _home: home }
    }

    fn put(&self, envelope: &[u8]) {
        self.store.attach(&self.image, &self.own.kind(), envelope).unwrap();
    }

    fn restore(&self) {
        self.store.detach(&self.image, &self.stranger.kind()).unwrap();
        self.put(&self.good);
    }

    /// The statement of the good envelope.
    fn statement(&self) -> Statement {
        let envelope: Value = serde_json::from_slice(&self.good).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&payload).unwrap()
    }

    /// Takes the envelope away.
    fn unsign(&self) {
        self.store.detach(&self.image, &self.own.kind()).unwrap();
    }

    /// Only a stranger has signed.
    fn sign_by_stranger(&self) {
        self.unsign();
        let envelope = sign(&self.statement(), &self.stranger);
        self.store.attach(&self.image, &self.stranger.kind(), &envelope).unwrap();
    }

    /// What was signed says something else now.
    fn change(&self) {
        let mut envelope: Value = serde_json::from_slice(&self.good).unwrap();
        let mut statement = self.statement();
        statement.predicate.run_details.builder.id.push('x');
        envelope["payload"] = json!(STANDARD.encode(statement.encode()));
        self.put(envelope.to_string().as_bytes());
    }

    /// The home's own envelope of another image.
    fn replay(&self) {
        let mut statement = self.statement();
        statement.subject[0].digest.insert("sha256".to_owned(), Digest::of(b"other").hex());
        self.put(&sign(&statement, &self.own));
    }

    /// Every way of being refused, with its code.
    fn tamperings() -> [(&'static str, Tampering<'h>); 4] {
        [
            ("provenance_unsigned", Self::unsign),
            ("provenance_unknown_key", Self::sign_by_stranger),
            ("provenance_changed", Self::change),
            ("provenance_replayed", Self::replay),
        ]
    }
}

impl Drop for Envelopes<'_> {
    fn drop(&mut self) {
        // The store is everybody's: no other test must find a stranger's envelope.
        let _ = self.store.detach(&self.image, &self.stranger.kind());
    }
}

/// The image of a release, and all that it was made from.
fn release(home: &Home, number: u64) -> Value {
    let lines = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut releases = events.map(|event| event["body"]["release"].clone());
    releases.find(|release| release["number"] == number).expect("the release was made")
}

fn image_of(release: &Value) -> Digest {
    release["spec"]["image"].as_str().unwrap().parse().unwrap()
}

/// Asks control directly, as a client that signs nothing: the status and the last line of the answer.
fn apply(home: &Home, spec: &Value) -> (u16, Value) {
    let intent = json!({ "why": "a test", "commit": null });
    let body = json!({ "services": [spec], "intent": intent }).to_string();
    let mut socket = UnixStream::connect(home.path().join("control.sock")).unwrap();
    write!(
        socket,
        "POST /v1/apply HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let last = body.lines().rfind(|line| line.starts_with('{')).unwrap();
    (status, serde_json::from_str(last).unwrap())
}

#[test]
fn public_readers_accept_what_a_home_signs() {
    let home = Home::new();
    Site::default().write(&home, "signed");
    let built = home.run(&["build", "--json"]).expect(0).json();
    let image = built["images"][0]["digest"].as_str().unwrap().parse().unwrap();
    let envelopes = Envelopes::of(&home, &image);
    let path = home.project().join("envelope.json");
    std::fs::write(&path, &envelopes.good).unwrap();
    let key: String =
        envelopes.own.public_key().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let said = validators::check(&["envelope", path.to_str().unwrap(), &key]);
    assert_eq!(said, "https://slsa.dev/provenance/v1 1");
}

#[test]
fn what_nobody_trusted_signed_is_refused_before_it_is_promoted() {
    let home = Home::new();
    let site = Site { instances: 1, ..Site::default() };
    site.write(&home, "signed for the first time");
    home.up();
    let first = release(&home, 1);
    let mut wanted = first["spec"].clone();
    wanted["instances"] = json!(2);
    let envelopes = Envelopes::of(&home, &image_of(&first));
    for (code, tamper) in Envelopes::tamperings() {
        envelopes.restore();
        tamper(&envelopes);
        let (status, problem) = apply(&home, &wanted);
        assert_eq!((status, problem["code"].as_str()), (409, Some(code)), "{problem}");
    }
    // The command tells the code as well; it does not sign over what somebody altered.
    let refused = home.run(&["up", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "provenance_replayed", "{refused}");
    assert_eq!(
        home.run(&["history", "site", "--json"]).expect(0).json().as_array().unwrap().len(),
        1
    );
    assert_eq!(home.get("/").0, 200, "what serves goes on");
    // The policy of the service itself is what counts.
    envelopes.restore();
    envelopes.sign_by_stranger();
    wanted["trust"] =
        json!([{ "name": "stranger", "public_key": envelopes.stranger.public_key() }]);
    let (status, outcome) = apply(&home, &wanted);
    assert_eq!((status, outcome["outcome"]["result"].as_str()), (200, Some("done")), "{outcome}");
    // What the home itself bakes and nobody signed is signed with the next `up`.
    envelopes.unsign();
    home.up();
    envelopes.store.attachment(&envelopes.image, &envelopes.own.kind()).unwrap().expect("signed");
}

#[test]
fn what_is_altered_after_its_release_is_not_gone_back_to() {
    let home = Home::new();
    let rollout = r#"keep_warm = "1ms""#;
    let site = Site { instances: 1, rollout, ..Site::default() };
    site.write(&home, "the first, signed");
    home.up();
    site.write(&home, "the second, signed");
    home.up();
    until("the first release to be gone", || {
        let status = home.status();
        let instances = status["services"][0]["instances"].as_array().unwrap();
        instances.iter().all(|instance| instance["release"] == 2)
    });
    let envelopes = Envelopes::of(&home, &image_of(&release(&home, 1)));
    for (code, tamper) in Envelopes::tamperings() {
        envelopes.restore();
        tamper(&envelopes);
        let refused = home.run(&["rollback", "site", "--json"]).expect(3).json();
        assert_eq!(refused["error"]["code"], code, "{refused}");
        assert_eq!(home.get("/"), (200, "the second, signed".to_owned()));
    }
    envelopes.restore();
    home.run(&["rollback", "site", "--to", "1"]).expect(0);
    assert_eq!(home.get("/"), (200, "the first, signed".to_owned()));
}

#[test]
fn what_is_altered_while_it_runs_does_not_start_again() {
    let home = Home::new();
    let site = Site { instances: 1, ..Site::default() };
    site.write(&home, "altered while it runs");
    home.up();
    let envelopes = Envelopes::of(&home, &image_of(&release(&home, 1)));
    // It was accepted when it started, and that is not remembered.
    envelopes.change();
    let instance = home.status()["services"][0]["instances"][0].clone();
    signal(pid(&instance["pid"]), "KILL");
    until("the refused start to be recorded", || {
        home.run(&["audit", "--json"]).expect(0).stdout.contains("provenance_changed")
    });
    envelopes.restore();
    until("an instance to serve again", || home.get("/").0 == 200);
}

#[test]
fn a_trust_block_lets_in_what_another_home_baked() {
    let (builder, home) = (Home::new(), Home::new());
    Site::default().write(&builder, "baked elsewhere");
    let built = builder.run(&["build", "--json"]).expect(0).json();
    let images = built["images"].as_array().unwrap();
    let site = images.iter().find(|image| image["name"] == "site").unwrap();
    let digest = site["digest"].as_str().unwrap();
    let port = home.port;
    let blocks = Site::default().blocks(port);
    // The same service on an image of the store, as one that was pulled is.
    let service = &blocks[blocks.find("service \"site\"").unwrap()..];
    let hcl = format!("image \"site\" {{\n  from = \"{digest}\"\n}}\n{service}");
    home.write("hornero.hcl", &hcl);
    let refused = home.run(&["up", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "provenance_unknown_key", "{refused}");
    let key = Key::of(&builder).public_key();
    let trust = format!("trust \"builder\" {{\n  public_key = \"{key}\"\n}}\n");
    home.write("hornero.hcl", &format!("{trust}{hcl}"));
    home.up();
    assert_eq!(home.get("/"), (200, "baked elsewhere".to_owned()));
}

/// What one home baked, as another one has it that pulled it: with an envelope by its builder, and the sender's rubbish
/// under the name of this home's own key.
struct Pulled<'h> {
    home: &'h Home,
    builder: &'h Home,
    store: Store,
    image: Digest,
}

impl<'h> Pulled<'h> {
    fn new(home: &'h Home, builder: &'h Home, image: Digest) -> Self {
        let store = Store::open(home.path().join("store")).unwrap();
        let stranger = Key(Keys::open_or_create(&home.project().join("stranger")).unwrap());
        // A home has its key before it pulls anything.
        Keys::open_or_create(&home.path().join("keys")).unwrap();
        let envelope = store.attachment(&image, &Key::of(builder).kind()).unwrap().unwrap();
        let envelope: Value = serde_json::from_slice(&envelope).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let rubbish = sign(&serde_json::from_slice(&payload).unwrap(), &stranger);
        store.attach(&image, &Key::of(home).kind(), &rubbish).unwrap();
        Self { home, builder, store, image }
    }

    fn trust(&self) -> String {
        let key = Key::of(self.builder).public_key();
        format!("trust \"builder\" {{\n  public_key = \"{key}\"\n}}\n")
    }

    /// Runs a command on what is declared, which has to be refused without a `trust` block.
    #[track_caller]
    fn refuse(&self, hcl: &str, arguments: &[&str]) {
        self.home.write("hornero.hcl", hcl);
        let refused = self.home.run(&[arguments, &["--json"]].concat()).expect(3).json();
        assert_eq!(refused["error"]["code"], "provenance_unknown_key", "{refused}");
    }

    /// Whether this home signed an image, as its key tells.
    fn is_signed(&self, image: &Digest) -> bool {
        let key = Key::of(self.home).public_key();
        let policy = Policy { keys: vec![("home".to_owned(), key)] };
        let envelope = self.store.attachment(image, &Key::of(self.home).kind()).unwrap();
        envelope.is_some_and(|envelope| verify(&envelope, image, &policy).is_ok())
    }
}

/// The digest of an image among those that were built.
fn built(home: &Home, arguments: &[&str], name: &str) -> Digest {
    let answer = home.run(&[&["build", "--json"], arguments].concat()).expect(0).json();
    let images = answer["images"].as_array().unwrap().clone();
    let found = images.iter().find(|image| image["name"] == name).expect("it was built");
    found["digest"].as_str().unwrap().parse().unwrap()
}

#[test]
fn what_is_made_on_an_untrusted_image_is_neither_signed_nor_run() {
    let (builder, home) = (Home::new(), Home::new());
    // Without tests, which nothing inherits, an image made on it by nothing but its name is the very same.
    Site { image: "", ..Site::default() }.write(&builder, "baked elsewhere, and pulled");
    let pulled = Pulled::new(&home, &builder, built(&builder, &[], "site"));
    let blocks = Site::default().blocks(home.port);
    let service =
        blocks[blocks.find("service \"site\"").unwrap()..].replace("image.site", "image.app");
    home.write("more/index.html", "on top of it");
    let below = format!("image \"below\" {{\n  from = \"{}\"\n}}\n", pulled.image);
    // With steps of its own, the image between is no longer the one that was pulled.
    let between =
        "image \"between\" {\n  from = image.below\n  copy \"more/\" { to = \"/srv/more/\" }\n}\n";
    let app = |base: &str| {
        let run = r#"run = ["/bin/touch /srv/touched"]"#;
        format!(
            "image \"app\" {{\n  from = image.{base}\n  copy \"more/\" {{ to = \"/srv/site/\" }}\n  {run}\n}}\n"
        )
    };
    for base in ["below", "between"] {
        let hcl = format!("{below}{between}{}{service}", app(base));
        pulled.refuse(&hcl, &["build", ".", "app"]);
        pulled.refuse(&hcl, &["build"]);
        pulled.refuse(&hcl, &["up"]);
        pulled.refuse(&hcl, &["patch"]);
    }
    assert!(!home.path().join("control.sock").exists(), "nothing came so far as to be promoted");

    let hcl = format!("{}{below}{between}{}{service}", pulled.trust(), app("between"));
    home.write("hornero.hcl", &hcl);
    let image = built(&home, &[".", "app"], "app");
    assert!(pulled.is_signed(&image), "what it is made on may be trusted");
    assert_eq!(built(&home, &[".", "below"], "below"), pulled.image);
    home.up();
    assert_eq!(home.get("/"), (200, "on top of it".to_owned()));
    assert!(!pulled.is_signed(&pulled.image), "nobody here made it");
}

#[test]
fn no_image_is_placed_on_an_untrusted_base() {
    let (builder, home) = (Home::new(), Home::new());
    let site = Site { instances: 1, ..Site::default() };
    site.write(&home, "on its own base");
    home.up();
    site.write(&builder, "on its own base");
    // A base that somebody altered: its record says that it is what the site is made on.
    let good = built(&builder, &[], "base");
    let store = Store::open(home.path().join("store")).unwrap();
    let mut manifest = store.image(&good).unwrap();
    manifest.config.workdir = "/altered".to_owned();
    let altered = store.put_image(&manifest).unwrap();
    let record = store.attachment(&good, "bake").unwrap().unwrap();
    let record = String::from_utf8(record).unwrap().replace(&good.hex(), &altered.hex());
    store.attach(&altered, "bake", record.as_bytes()).unwrap();
    let statement = |image: &Digest| {
        let envelope = store.attachment(&good, &Key::of(&builder).kind()).unwrap().unwrap();
        let envelope: Value = serde_json::from_slice(&envelope).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let mut statement: Statement = serde_json::from_slice(&payload).unwrap();
        statement.subject[0].digest.insert("sha256".to_owned(), image.hex());
        statement.beside(&Digest::of(record.as_bytes()))
    };
    let by_builder = Key::of(&builder);
    store.attach(&altered, &by_builder.kind(), &sign(&statement(&altered), &by_builder)).unwrap();
    let pulled = Pulled::new(&home, &builder, altered);

    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    pulled.refuse(&hcl, &["up", "--base", &altered.to_string()]);
    let releases = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(releases.as_array().unwrap().len(), 1, "{releases}");
    // Its own base is one that this home signed.
    home.run(&["up", "--base", &good.to_string()]).expect(0);
    home.write("hornero.hcl", &format!("{}{hcl}", pulled.trust()));
    home.run(&["up", "--base", &altered.to_string()]).expect(0);
    assert_eq!(home.get("/"), (200, "on its own base".to_owned()));
    // Who trusts the key does not trust what others say of how it was made.
    store.attach(&altered, "bake", record.replace("bookworm", "bullseye").as_bytes()).unwrap();
    let refused = home.run(&["up", "--base", &altered.to_string(), "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "provenance_changed", "{refused}");
}

#[test]
fn a_record_that_was_altered_on_its_way_is_refused_and_taken_away() {
    let (builder, home) = (Home::new(), Home::new());
    let site = Site { instances: 1, image: "", ..Site::default() };
    site.write(&builder, "with an altered record");
    let pulled = Pulled::new(&home, &builder, built(&builder, &[], "site"));
    let record = pulled.store.attachment(&pulled.image, "bake").unwrap().unwrap();
    let altered = String::from_utf8(record.clone()).unwrap().replace("nginx.conf", "njinx.conf");
    assert_ne!(altered.as_bytes(), record);
    let blocks = site.blocks(home.port);
    let service = &blocks[blocks.find("service \"site\"").unwrap()..];
    let image = format!("image \"site\" {{\n  from = \"{}\"\n}}\n", pulled.image);
    home.write("hornero.hcl", &format!("{}{image}{service}", pulled.trust()));
    for arguments in [["build", "--json"], ["up", "--json"]] {
        pulled.store.attach(&pulled.image, "bake", altered.as_bytes()).unwrap();
        let refused = home.run(&arguments).expect(3).json();
        assert_eq!(refused["error"]["code"], "provenance_changed", "{refused}");
        let text = refused["error"].to_string();
        assert!(text.contains("the record of how image") && text.contains("pull"), "{text}");
        // It would keep out the right one.
        assert_eq!(pulled.store.attachment(&pulled.image, "bake").unwrap(), None);
    }
    pulled.store.attach(&pulled.image, "bake", &record).unwrap();
    home.up();
    assert_eq!(home.get("/"), (200, "with an altered record".to_owned()));
    // Control asks as well, whoever asks it.
    pulled.store.attach(&pulled.image, "bake", altered.as_bytes()).unwrap();
    let mut wanted = release(&home, 1)["spec"].clone();
    wanted["instances"] = json!(2);
    let (status, problem) = apply(&home, &wanted);
    assert_eq!((status, problem["code"].as_str()), (409, Some("provenance_changed")), "{problem}");
    // What serves is what was signed, and starts again.
    let instance = home.status()["services"][0]["instances"][0].clone();
    signal(pid(&instance["pid"]), "KILL");
    until("another instance to serve", || {
        let status = home.status();
        let instances = status["services"][0]["instances"].as_array().unwrap().clone();
        home.get("/").0 == 200 && instances.iter().any(|one| one["id"] != instance["id"])
    });
    // Baked here, from the same packages whatever the archive has by now, it has a record of this home.
    site.write(&home, "with an altered record");
    let lock = |home: &Home| home.project().join("hornero.lock");
    std::fs::copy(lock(&builder), lock(&home)).unwrap();
    assert_eq!(built(&home, &[], "site"), pulled.image);
    assert!(pulled.is_signed(&pulled.image));
    assert_eq!(pulled.store.attachment(&pulled.image, "bake").unwrap(), Some(record));
}

#[test]
fn what_is_baked_again_by_other_steps_is_signed_anew() {
    let home = Home::new();
    let site = |run: &str| {
        let image = format!("run = [\"{run}\"]");
        let site = Site { instances: 1, image: &image, ..Site::default() };
        site.write(&home, "the same by other steps");
    };
    site("/bin/true");
    home.up();
    let image = image_of(&release(&home, 1));
    let before = Envelopes::of(&home, &image);
    let record = || before.store.attachment(&image, "bake").unwrap().unwrap();
    let named = |envelopes: &Envelopes<'_>| {
        let definition = envelopes.statement().predicate.build_definition;
        definition.internal_parameters["record"].as_str().unwrap().to_owned()
    };
    assert_eq!(named(&before), Digest::of(&record()).hex());

    // The store of all tests has what was run in it before.
    site(&format!("/bin/true {}", home.path().display()));
    assert_eq!(built(&home, &[], "site"), image);
    let after = Envelopes::of(&home, &image);
    assert_ne!(named(&after), named(&before));
    assert_eq!(named(&after), Digest::of(&record()).hex());
    // Warm, nothing is signed again.
    assert_eq!(built(&home, &[], "site"), image);
    assert_eq!(Envelopes::of(&home, &image).good, after.good);
    // As a bake that failed before it signed leaves it: what runs goes on, and the next one mends it.
    before.store.attach(&image, &before.own.kind(), &before.good).unwrap();
    home.up();
    assert_eq!(named(&Envelopes::of(&home, &image)), named(&after));
    assert_eq!(home.get("/"), (200, "the same by other steps".to_owned()));
}

#[test]
fn what_a_revoked_key_signed_is_not_gone_back_to() {
    let (builder, home) = (Home::new(), Home::new());
    // Without tests, which nothing inherits, an image made on it by nothing but its name is the very same.
    let rollout = r#"keep_warm = "1ms""#;
    let site = Site { instances: 1, image: "", rollout, ..Site::default() };
    site.write(&builder, "by a key that leaks");
    let theirs = built(&builder, &[], "site");
    let pulled = Pulled::new(&home, &builder, theirs);
    let blocks = site.blocks(home.port);
    let service = &blocks[blocks.find("service \"site\"").unwrap()..];
    let image = format!("image \"site\" {{\n  from = \"{theirs}\"\n}}\n");
    home.write("hornero.hcl", &format!("{}{image}{service}", pulled.trust()));
    home.up();
    assert_eq!(image_of(&release(&home, 1)), theirs);
    assert!(!pulled.is_signed(&theirs), "nobody here made it");
    assert_eq!(home.get("/"), (200, "by a key that leaks".to_owned()));

    site.write(&home, "baked here");
    let ours = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.up();
    let refused = home.run(&["rollback", "site", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "provenance_unknown_key", "{refused}");
    let text = refused["error"].to_string();
    assert!(text.contains("does not trust any more") && text.contains("`trust` block"), "{text}");
    assert_eq!(home.get("/"), (200, "baked here".to_owned()));
    // It is what the ledger says, and no memory of one process.
    let control = home.control_pid();
    signal(control, "KILL");
    until("control to be gone", || !std::path::Path::new(&format!("/proc/{control}/exe")).exists());
    let refused = home.run(&["rollback", "site", "--to", "1", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "provenance_unknown_key", "{refused}");

    home.write("hornero.hcl", &format!("{}{ours}", pulled.trust()));
    home.up();
    home.run(&["rollback", "site", "--to", "1"]).expect(0);
    assert_eq!(home.get("/"), (200, "by a key that leaks".to_owned()));
}

#[test]
fn a_patch_tests_what_a_trusted_key_signed() {
    const NAME: &str = "image/patched-elsewhere";
    let (builder, home) = (Home::new(), Home::new());
    let image = r#"test "is whole" { run = ["/bin/true"] }"#;
    let site = Site { image, ..Site::default() };
    site.write(&builder, "baked elsewhere, with a test");
    let before = Pulled::new(&home, &builder, built(&builder, &[], "site"));
    before.store.set_ref(NAME, &before.image).unwrap();
    // No service runs it, and it is the very same as what was pulled.
    let hcl = format!("image \"site\" {{\n  from = \"patched-elsewhere\"\n  {image}\n}}\n");
    home.write("hornero.hcl", &format!("{}{hcl}", before.trust()));
    assert_eq!(built(&home, &[], "site"), before.image);

    site.write(&builder, "patched elsewhere, with a test");
    let after = Pulled::new(&home, &builder, built(&builder, &[], "site"));
    after.store.set_ref(NAME, &after.image).unwrap();
    let patched = home.run(&["patch", "--json"]);
    after.store.remove_ref(NAME).unwrap();
    let patched = patched.expect(0).json();
    assert_eq!(patched["images"][0]["new"], after.image.to_string(), "{patched}");
    let test = &patched["tests"][0]["tests"][0];
    assert_eq!((&test["name"], &test["passed"]), (&json!("is whole"), &json!(true)), "{patched}");
}
