//! Inventories in every format, of what runs and of hostile labels.

use expect_test::expect;
use hornero_model::{Health, InstanceState, ReleaseNumber};

use super::*;

fn report() -> InventoryReport {
    let digest = Digest::of(b"image");
    let labels = BTreeMap::from([
        ("owner".to_owned(), "=cmd|' /C calc'!A0".to_owned()),
        ("team".to_owned(), "a \"b\", c".to_owned()),
    ]);
    InventoryReport {
        at: Timestamp(0),
        host: "=host".to_owned(),
        home: "/var/lib/hornero".into(),
        services: vec![InventoryService {
            id: "service/site".to_owned(),
            name: "site".parse().unwrap(),
            release: Some(ReleaseNumber(3)),
            image: Some(digest),
            released: Some(Timestamp(1_000)),
            released_by: Some("root".to_owned()),
            commit: None,
            directory: None,
            labels: labels.clone(),
        }],
        instances: vec![InventoryInstance {
            id: "instance/site-3-ab12".to_owned(),
            instance: "site-3-ab12".parse().unwrap(),
            service: "site".parse().unwrap(),
            release: ReleaseNumber(3),
            image: Some(digest),
            state: InstanceState::Serving,
            health: Some(Health::Healthy),
            address: Some("10.64.0.2".parse().unwrap()),
            created: Timestamp(2_000),
            labels,
        }],
        images: vec![InventoryImage {
            id: format!("image/{digest}"),
            digest,
            name: Some("site".to_owned()),
            distribution: Some("debian-12".to_owned()),
            packages: Some(vec![InventoryPackage {
                name: "nginx".to_owned(),
                version: "1.22.1-9".to_owned(),
                architecture: "amd64".to_owned(),
                purl: "pkg:deb/debian/nginx@1.22.1-9?arch=amd64&distro=debian-12".to_owned(),
            }]),
            fault: None,
        }],
    }
}

#[test]
fn no_cell_is_a_formula() {
    let text = csv::text(&report());
    let row = text.lines().nth(1).unwrap();
    assert!(row.contains("\"'=host\""), "{row}");
    assert!(row.ends_with("\"owner==cmd|' /C calc'!A0;team=a \"\"b\"\", c\""), "{row}");
    let mut hostile = report();
    for start in ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", " =1", "|x", "%x"] {
        hostile.host = start.to_owned();
        let text = csv::text(&hostile);
        let row = text.lines().nth(1).unwrap();
        let cell = row.split(',').nth(1).unwrap();
        assert!(cell.starts_with("\"'"), "{start:?}: {cell}");
        assert!(!row.contains('\t') && !row.contains('\r'), "{row:?}");
    }
}

#[test]
fn labels_are_escaped_for_prometheus() {
    let text = prometheus::text(&report());
    expect![[r#"
        hornero_inventory_instance{instance="site-3-ab12",service="site",release="3",image="IMAGE",state="serving",address="10.64.0.2",label_owner="=cmd|' /C calc'!A0",label_team="a \"b\", c"} 1
    "#]]
    .assert_eq(&format!(
        "{}\n",
        text.lines()
            .find(|line| line.starts_with("hornero_inventory_instance{"))
            .unwrap()
            .replace(&Digest::of(b"image").to_string(), "IMAGE")
    ));
}

#[test]
fn groups_have_names_that_ansible_takes() {
    let document = ansible::document(&report());
    assert_eq!(document["service_site"]["hosts"][0], "site-3-ab12");
    assert_eq!(document["release_site_3"]["hosts"][0], "site-3-ab12");
    assert_eq!(document["_meta"]["hostvars"]["site-3-ab12"]["ansible_host"], "10.64.0.2");
    for group in document.as_object().unwrap().keys() {
        assert!(group.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{group}");
    }
}

#[test]
fn what_ansible_reads_is_no_template_and_no_two_groups_are_one() {
    let mut report = report();
    let one = &mut report.instances[0];
    one.labels = BTreeMap::from([
        ("a".to_owned(), "b_c".to_owned()),
        ("a_b".to_owned(), "c".to_owned()),
        ("owner".to_owned(), "{{ lookup('pipe', 'id') }}".to_owned()),
    ]);
    let document = ansible::document(&report);
    let labels = &document["_meta"]["hostvars"]["site-3-ab12"]["hornero_labels"];
    assert_eq!(labels["owner"]["__ansible_unsafe"], "{{ lookup('pipe', 'id') }}");
    let groups = document.as_object().unwrap().keys();
    assert_eq!(groups.filter(|group| group.starts_with("label_a_b_c_")).count(), 2);
}

#[test]
fn equal_inventories_have_equal_documents_but_for_their_time() {
    let (one, mut other) = (report(), report());
    other.at = Timestamp(5);
    let (mut one, mut other) = (cyclonedx::document(&one), cyclonedx::document(&other));
    assert_ne!(one, other);
    one["metadata"]["timestamp"] = "".into();
    other["metadata"]["timestamp"] = "".into();
    assert_eq!(one, other);
}
