//! Statements are made, signed, accepted and refused as the policy says, and others verify them too.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

use std::{collections::BTreeMap, fs};

use expect_test::expect;
use hornero_model::{Digest, PublicKey, Timestamp};
use hornero_provenance::{
    Archive, Attested, ENVELOPE_BYTES_MAX, ENVELOPE_COUNT_MAX, KeyId, Origin, PAYLOAD_TYPE,
    Package, Parent, Policy, ProvenanceRefusal, Signer, Source, Statement, attest, pae, sign,
    verify, verify_any,
};
use proptest::prelude::*;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

struct TestKey(Ed25519KeyPair);

impl TestKey {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl Signer for TestKey {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.0.public_key().as_ref().try_into().unwrap())
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().unwrap()
    }
}

fn image(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn about(name: &str) -> Attested {
    Attested {
        name: name.to_owned(),
        image: image(name),
        origin: Origin::Bake,
        definition: BTreeMap::from([("steps".to_owned(), json!(["packages", "copy public/"]))]),
        format_epoch: 1,
        parents: vec![Parent { role: "base".to_owned(), image: image("base") }],
        packages: vec![Package {
            name: "libstdc++6".to_owned(),
            version: "1:12.2.0-14+deb12u1".to_owned(),
            architecture: "amd64".to_owned(),
            distribution: "debian-12".to_owned(),
            digest: image("libstdc++6.deb"),
        }],
        archives: vec![Archive {
            uri: "http://archive.example/debian/".to_owned(),
            suite: "bookworm".to_owned(),
            digest: image("InRelease"),
        }],
        sources: vec![Source { title: "copy public/".to_owned(), digest: image("public") }],
        version: "0.1.0".to_owned(),
        invocation: "0".repeat(64),
        started: None,
        finished: None,
    }
}

fn envelope(name: &str, key: &TestKey) -> Vec<u8> {
    sign(&attest(&about(name)), key)
}

fn trusting(keys: &[&TestKey]) -> Policy {
    let named = keys.iter().enumerate().map(|(at, key)| (format!("key {at}"), key.public_key()));
    Policy { keys: named.collect() }
}

/// Insists on what becomes of envelopes offered for the image `site`.
#[track_caller]
fn check(envelopes: &[Vec<u8>], policy: &Policy, expected: Result<&str, &str>) {
    let seen = verify_any(envelopes, &image("site"), None, policy);
    let seen =
        seen.as_ref().map(|verified| verified.key.as_str()).map_err(|refusal| refusal.code());
    assert_eq!(seen, expected);
}

#[test]
fn a_statement_says_all_that_went_in() {
    let statement = attest(&Attested { finished: Some(Timestamp(0)), ..about("site") });
    expect![[r#"
        {
          "_type": "https://in-toto.io/Statement/v1",
          "subject": [
            {
              "name": "site",
              "digest": {
                "sha256": "fbae041b02c41ed0fd8a4efb039bc780dd6af4a1f0c420f42561ae705dda43fe"
              }
            }
          ],
          "predicateType": "https://slsa.dev/provenance/v1",
          "predicate": {
            "buildDefinition": {
              "buildType": "https://hornero.dev/bake/v1",
              "externalParameters": {
                "name": "site",
                "steps": [
                  "packages",
                  "copy public/"
                ]
              },
              "internalParameters": {
                "formatEpoch": 1
              },
              "resolvedDependencies": [
                {
                  "name": "base",
                  "uri": "hornero:image:sha256:cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2",
                  "digest": {
                    "sha256": "cae662172fd450bb0cd710a769079c05bfc5d8e35efa6576edc7d0377afdd4a2"
                  }
                },
                {
                  "name": "bookworm",
                  "uri": "http://archive.example/debian/dists/bookworm/InRelease",
                  "digest": {
                    "sha256": "5bfc87e96c5fc54b15067c0e113156812a0af4dc86aaf43b462addaa77728d08"
                  }
                },
                {
                  "name": "libstdc++6",
                  "uri": "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
                  "digest": {
                    "sha256": "0bb01bb95a36af1ed07b7b4ed32ffa52ffac97dad66fab150d32d12562a7a288"
                  }
                },
                {
                  "name": "copy public/",
                  "digest": {
                    "sha256": "efa1f375d76194fa51a3556a97e641e61685f914d446979da50a551a4333ffd7"
                  }
                }
              ]
            },
            "runDetails": {
              "builder": {
                "id": "https://hornero.dev/builder/v1",
                "version": {
                  "hornero": "0.1.0"
                }
              },
              "metadata": {
                "invocationId": "0000000000000000000000000000000000000000000000000000000000000000",
                "finishedOn": "1970-01-01T00:00:00.000Z"
              }
            }
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&statement).unwrap());
    let again: Statement = serde_json::from_slice(&statement.encode()).unwrap();
    assert_eq!(again, statement);
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let key = TestKey::new(1);
    assert_eq!(envelope("site", &key), envelope("site", &key));
}

#[test]
fn a_trusted_key_is_accepted_and_told() {
    let (own, friend) = (TestKey::new(1), TestKey::new(2));
    let policy = trusting(&[&own, &friend]);
    check(&[envelope("site", &own)], &policy, Ok("key 0"));
    check(&[envelope("site", &friend)], &policy, Ok("key 1"));
    let verified = verify(&envelope("site", &own), &image("site"), &policy).unwrap();
    assert_eq!(verified.statement, attest(&about("site")).encode());
    assert_eq!(verified.key_id, KeyId::of(&own.public_key()));
}

#[test]
fn each_refusal_has_its_code() {
    let (own, stranger) = (TestKey::new(1), TestKey::new(9));
    let policy = trusting(&[&own]);
    let mut signed_nothing: Value = serde_json::from_slice(&envelope("site", &own)).unwrap();
    signed_nothing["signatures"] = json!([]);
    check(&[], &policy, Err("provenance_unsigned"));
    check(&[signed_nothing.to_string().into()], &policy, Err("provenance_unsigned"));
    check(&[envelope("site", &stranger)], &policy, Err("provenance_unknown_key"));
    check(&[envelope("site", &own)], &trusting(&[]), Err("provenance_unknown_key"));
    check(&[envelope("other", &own)], &policy, Err("provenance_replayed"));
    check(&[b"".to_vec()], &policy, Err("provenance_changed"));
    check(&[b"[]".to_vec()], &policy, Err("provenance_changed"));
    check(&[vec![b'{'; ENVELOPE_BYTES_MAX + 1]], &policy, Err("provenance_changed"));
}

#[test]
fn one_good_envelope_suffices_and_else_the_most_telling_refusal_is_given() {
    let (own, stranger) = (TestKey::new(1), TestKey::new(9));
    let policy = trusting(&[&own]);
    let (good, replayed) = (envelope("site", &own), envelope("other", &own));
    let (unknown, changed) = (envelope("site", &stranger), b"{}".to_vec());
    let bad = [unknown.clone(), changed.clone(), replayed.clone()];
    check(&[&bad[..], std::slice::from_ref(&good)].concat(), &policy, Ok("key 0"));
    check(&bad, &policy, Err("provenance_changed"));
    check(&[unknown.clone(), replayed], &policy, Err("provenance_replayed"));
    check(&[unknown], &policy, Err("provenance_unknown_key"));
    let crowd: Vec<_> = std::iter::repeat_n(changed, ENVELOPE_COUNT_MAX).chain([good]).collect();
    check(&crowd, &policy, Err("provenance_changed"));
}

#[test]
fn another_key_cannot_take_a_trusted_name() {
    let (own, stranger) = (TestKey::new(1), TestKey::new(9));
    let mut forged: Value = serde_json::from_slice(&envelope("site", &stranger)).unwrap();
    forged["signatures"][0]["keyid"] = json!(KeyId::of(&own.public_key()).to_string());
    check(&[forged.to_string().into()], &trusting(&[&own]), Err("provenance_changed"));
}

#[test]
fn a_second_signature_counts_as_well() {
    let (own, stranger) = (TestKey::new(1), TestKey::new(9));
    let mut both: Value = serde_json::from_slice(&envelope("site", &stranger)).unwrap();
    let own_one: Value = serde_json::from_slice(&envelope("site", &own)).unwrap();
    both["signatures"].as_array_mut().unwrap().push(own_one["signatures"][0].clone());
    both["more"] = json!("a field that a later version has");
    check(&[both.to_string().into()], &trusting(&[&own]), Ok("key 0"));
    let crowd = vec![own_one["signatures"][0].clone(); 17];
    both["signatures"] = crowd.into();
    check(&[both.to_string().into()], &trusting(&[&own]), Err("provenance_changed"));
}

#[test]
fn what_is_signed_has_to_be_a_statement_of_provenance() {
    let own = TestKey::new(1);
    let edits: [fn(&mut Statement); 3] = [
        |statement| statement.kind = "https://in-toto.io/Statement/v0.1".to_owned(),
        |statement| statement.predicate_type = "https://spdx.dev/Document".to_owned(),
        |statement| statement.subject.clear(),
    ];
    let codes = ["provenance_unsupported", "provenance_unsupported", "provenance_replayed"];
    for (edit, code) in edits.iter().zip(codes) {
        let mut statement = attest(&about("site"));
        edit(&mut statement);
        check(&[sign(&statement, &own)], &trusting(&[&own]), Err(code));
    }
}

/// An envelope around any bytes, signed as another program would.
fn envelope_of(payload: &[u8], key: &TestKey) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let signature = key.sign(&pae(PAYLOAD_TYPE, payload));
    let signature = json!({
        "keyid": KeyId::of(&key.public_key()).to_string(), "sig": STANDARD.encode(signature),
    });
    let payload = STANDARD.encode(payload);
    json!({ "payload": payload, "payloadType": PAYLOAD_TYPE, "signatures": [signature] })
        .to_string()
        .into()
}

#[test]
fn statements_of_other_programs_are_read() {
    let own = TestKey::new(1);
    let policy = trusting(&[&own]);
    let about = |subject: Value, predicate_type: &str| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subject,
            "predicateType": predicate_type, "predicate": { "anything": ["at", "all"] },
        });
        envelope_of(statement.to_string().as_bytes(), &own)
    };
    let digest = json!({ "sha512": "00", "sha256": image("site").hex() });
    let nameless =
        json!([{ "digest": { "sha256": "00" } }, { "digest": digest, "uri": "oci:site" }]);
    check(&[about(nameless.clone(), "https://slsa.dev/provenance/v1")], &policy, Ok("key 0"));
    // Signed by somebody who is trusted, and nothing of it was changed: it says something else.
    let bill = about(nameless, "https://spdx.dev/Document");
    check(std::slice::from_ref(&bill), &policy, Err("provenance_unsupported"));
    check(&[envelope_of(b"no statement", &own)], &policy, Err("provenance_unsupported"));
    check(&[bill, envelope("site", &own)], &policy, Ok("key 0"));
}

#[test]
fn a_statement_counts_beside_the_record_that_it_names() {
    #[track_caller]
    fn check(
        statements: &[Statement],
        record: Option<&str>,
        expected: Result<(), ProvenanceRefusal>,
    ) {
        let own = TestKey::new(1);
        let envelopes = statements.iter().map(|statement| sign(statement, &own));
        let record = record.map(image);
        let seen = verify_any(envelopes, &image("site"), record.as_ref(), &trusting(&[&own]));
        assert_eq!(seen.map(drop), expected);
    }
    let old = attest(&about("site"));
    let named = old.clone().beside(&image("record"));
    let replayed = attest(&about("other")).beside(&image("altered"));
    let mut foreign = old.clone().beside(&image("a word of another program"));
    foreign.predicate.build_definition.build_type = "https://example.com/build".to_owned();
    let refused = Err(ProvenanceRefusal::OtherRecord { image: image("site") });
    check(std::slice::from_ref(&named), Some("record"), Ok(()));
    check(std::slice::from_ref(&named), None, Ok(()));
    check(std::slice::from_ref(&old), Some("record"), Ok(()));
    check(std::slice::from_ref(&foreign), Some("record"), Ok(()));
    check(std::slice::from_ref(&named), Some("altered"), refused.clone());
    check(&[replayed, named.clone()], Some("altered"), refused);
    check(&[old.beside(&image("altered")), named], Some("altered"), Ok(()));
    let refusal = ProvenanceRefusal::OtherRecord { image: image("site") };
    assert_eq!(refusal.code(), "provenance_changed");
    let text = format!("{refusal}; {}", refusal.hint());
    assert!(text.contains("is not the one that was signed") && text.contains("pull"), "{text}");
}

/// The URL-safe alphabet has to be taken too.
#[test]
fn either_base64_alphabet_is_read() {
    let own = TestKey::new(1);
    let mut wire: Value = serde_json::from_slice(&envelope("site", &own)).unwrap();
    for text in [wire["payload"].clone(), wire["signatures"][0]["sig"].clone()] {
        let other = text.as_str().unwrap().replace('+', "-").replace('/', "_");
        let place = if text == wire["payload"] {
            &mut wire["payload"]
        } else {
            &mut wire["signatures"][0]["sig"]
        };
        *place = json!(other);
    }
    check(&[wire.to_string().into()], &trusting(&[&own]), Ok("key 0"));
}

#[test]
fn no_flipped_bit_is_accepted() {
    let own = TestKey::new(1);
    let policy = trusting(&[&own]);
    let good = envelope("site", &own);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let seen = verify(&bad, &image("site"), &policy);
            assert!(seen.is_err(), "bit {bit} of byte {at}: {}", String::from_utf8_lossy(&bad));
        }
    }
    for end in 0..good.len() {
        assert!(verify(&good[..end], &image("site"), &policy).is_err(), "cut at {end}");
    }
}

proptest! {
    /// Whatever is done to an envelope, what is accepted is what was signed.
    #[test]
    fn only_what_was_signed_is_accepted(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4)
    ) {
        let own = TestKey::new(1);
        let mut bytes = envelope("site", &own);
        for (at, byte, how) in edits {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(verified) = verify(&bytes, &image("site"), &trusting(&[&own])) {
            prop_assert_eq!(verified.statement, attest(&about("site")).encode());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(verify(&bytes, &image("site"), &trusting(&[&TestKey::new(1)])).is_err());
    }
}

/// Somebody with nothing but OpenSSL and the specification can verify an envelope.
#[test]
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "OpenSSL itself is asked")]
fn openssl_verifies_an_envelope() {
    use std::process::Command;

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    // SubjectPublicKeyInfo of ed25519 (RFC 8410, section 4).
    const PREFIX: &[u8] = &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    let own = TestKey::new(1);
    let wire: Value = serde_json::from_slice(&envelope("site", &own)).unwrap();
    let decode = |text: &Value| STANDARD.decode(text.as_str().unwrap()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let key = file("key.der", &[PREFIX, own.public_key().as_bytes()].concat());
    let signature = file("signature", &decode(&wire["signatures"][0]["sig"]));
    let mut message = pae(PAYLOAD_TYPE, &decode(&wire["payload"]));
    let verifies = |message: &[u8]| {
        let status = Command::new("openssl")
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER", "-inkey"])
            .arg(&key)
            .arg("-sigfile")
            .arg(&signature)
            .arg("-in")
            .arg(file("message", message))
            .output();
        status.unwrap().status.success()
    };
    assert!(verifies(&message));
    *message.last_mut().unwrap() ^= 1;
    assert!(!verifies(&message));
}
