//! An image is only made again where this home vouches for it: what is recorded of it is executed.

use hornero_model::Digest;
use hornero_store::Store;
use serde_json::{Value, json};

use crate::{home::Home, site::Site};

#[test]
fn a_bake_that_differs_the_second_time_names_its_files() {
    let home = Home::new();
    let odd = "run = [\"cat /proc/sys/kernel/random/uuid > /etc/odd\"]";
    Site { image: odd, ..Site::default() }.write(&home, "made twice");
    let differs = home.run(&["build", ".", "site", "--twice", "--json"]).expect(1).json();
    let file = &differs["twice"][0]["differences"][0];
    assert_eq!(
        (&file["path"], &file["what"]),
        (&json!("/etc/odd"), &json!(["content"])),
        "{differs}"
    );
    let text = differs["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("/etc/odd: content (run `cat /proc"), "{differs}");
}

#[test]
fn a_record_that_this_home_did_not_write_is_not_reproduced() {
    let home = Home::new();
    // An image of its own: the store is everybody's.
    Site::default().write(&home, &format!("made again for {}", home.path().display()));
    let built = home.run(&["build", "--json"]).expect(0).json();
    let images = built["images"].as_array().unwrap();
    let site = images.iter().find(|image| image["name"] == "site").expect("the site is built");
    let image = site["digest"].as_str().unwrap();
    let reproduce = |code: i32| home.run(&["reproduce", image, "--json"]).expect(code).json();
    assert_eq!(reproduce(0)["same"], true);

    let store = Store::open(home.path().join("store")).unwrap();
    let digest: Digest = image.parse().unwrap();
    let kinds = store.attachments(&digest).unwrap();
    let signed = kinds.iter().find(|kind| kind.starts_with("provenance.")).expect("it is signed");
    let envelope = store.attachment(&digest, signed).unwrap().unwrap();
    store.detach(&digest, signed).unwrap();
    let refused = reproduce(3);
    assert_eq!(refused["error"]["code"], "provenance_unsigned", "{refused}");
    let hint = refused["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("image import"), "{refused}");
    store.attach(&digest, signed, &envelope).unwrap();

    // A record that is not the one this home wrote asks for a file of this host.
    let own = store.attachment(&digest, "bake").unwrap().unwrap();
    let mut record: Value = serde_json::from_slice(&own).unwrap();
    let key = home.path().join("keys/signing.pk8");
    let step = record["steps"].as_array_mut().unwrap().last_mut().unwrap();
    step["action"] = json!({
        "action": "provision",
        "work": { "provision": "inline", "commands": ["cat /run/secrets/k > /etc/k"] },
        "env": {},
        "network": false,
        "secrets": { "k": { "file": key } },
    });
    store.attach(&digest, "bake", record.to_string().as_bytes()).unwrap();
    let refused = reproduce(3);
    let code = refused["error"]["code"].as_str().unwrap_or_default();
    assert!(code.starts_with("provenance_"), "{refused}");
    assert!(refused["differences"].is_null(), "nothing was made: {refused}");
    store.attach(&digest, "bake", &own).unwrap();
    assert_eq!(reproduce(0)["same"], true);
}
