//! Nothing serves that nobody who is trusted vouches for: not when it is promoted, and not when it starts again.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hornero_ledger::Keys;
use hornero_model::{Digest, PublicKey};
use hornero_provenance::{KeyId, Signer, Statement, sign};
use hornero_store::Store;
use serde_json::{Value, json};

use crate::{
    home::{Home, pid, signal, until},
    site::Site,
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
