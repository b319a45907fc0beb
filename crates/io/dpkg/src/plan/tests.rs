//! Plans of single cases, and what holds for plans of any packages.

use proptest::prelude::*;

use super::*;

fn facts(name: &str, fields: &str, scripts: &[&str]) -> PackageFacts {
    PackageFacts {
        name: name.to_owned(),
        control: format!("Package: {name}\nVersion: 1\n{fields}"),
        conffiles: Vec::new(),
        triggers: String::new(),
        scripts: scripts.iter().map(|script| (*script).to_owned()).collect(),
        info_name: name.to_owned(),
    }
}

/// The rounds in words, on a root that has these names; none stands for no root.
fn check(packages: &[(&str, &str, &[&str])], installed: Option<&[&str]>, expected: &[&str]) {
    let all: Vec<PackageFacts> =
        packages.iter().map(|(name, fields, scripts)| facts(name, fields, scripts)).collect();
    let all: Vec<&PackageFacts> = all.iter().collect();
    let names = installed.unwrap_or_default().iter().map(|name| (*name).to_owned()).collect();
    let rounds = plan(&nodes(&all, &names), installed.is_none());
    let words = |title: &str, nodes: &[usize]| match nodes.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<&str> = nodes.iter().map(|node| packages[*node].0).collect();
            format!("{title} {}; ", names.join(" "))
        }
    };
    let lines: Vec<String> = rounds
        .iter()
        .map(|round| {
            let text = [
                words("unpack", &round.unpack),
                words("late", &round.late_preinsts),
                words("configure", &round.configure),
                words("preinst", &round.preinsts),
            ];
            text.concat().trim_end_matches("; ").to_owned()
        })
        .collect();
    assert_eq!(lines, expected);
}

const BOTH: &[&str] = &["postinst", "preinst"];

#[test]
fn what_has_no_preinst_is_one_round() {
    check(
        &[
            ("app", "Depends: lib\n", &["postinst"]),
            ("base", "Essential: yes\n", BOTH),
            ("lib", "", &["postinst"]),
        ],
        None,
        &["unpack base app lib; late base; configure base lib app"],
    );
    check(
        &[("app", "Depends: lib, there\n", &["postinst"]), ("lib", "", &[])],
        Some(&["there"]),
        &["unpack app lib; configure lib app"],
    );
}

#[test]
fn a_preinst_runs_before_its_files_and_after_what_it_pre_depends_on() {
    check(
        &[
            ("base", "Essential: yes\n", &["postinst"]),
            ("client", "", &["postinst"]),
            ("common", "Depends: client\n", BOTH),
            ("server", "Pre-Depends: common (>= 1)\n", BOTH),
        ],
        None,
        &[
            "unpack base; configure base; preinst common",
            "unpack client common; configure client common; preinst server",
            "unpack server; configure server",
        ],
    );
    // Nothing of a package without a `preinst` looks at what it pre-depends on before it is configured.
    check(
        &[("common", "", BOTH), ("server", "Pre-Depends: common\n", &["postinst"])],
        Some(&[]),
        &["preinst common", "unpack common server; configure common server"],
    );
}

#[test]
fn alternatives_and_provided_names_order_too() {
    check(
        &[
            ("mta", "Provides: mail-agent (= 3)\n", &["postinst"]),
            ("news", "Pre-Depends: other | mail-agent (>= 2)\n", BOTH),
        ],
        Some(&[]),
        &["unpack mta; configure mta; preinst news", "unpack news; configure news"],
    );
    check(
        &[
            ("mta", "Provides: mail-agent\n", &["postinst"]),
            ("news", "Pre-Depends: exim | mail-agent\n", BOTH),
        ],
        Some(&["exim"]),
        &["preinst news", "unpack mta news; configure mta news"],
    );
}

#[test]
fn a_cycle_is_broken_where_nothing_runs() {
    for (scripts, order) in [
        ([&["postinst"][..], &[]], "unpack a b; configure b a"),
        ([&[][..], &["postinst"]], "unpack a b; configure a b"),
    ] {
        check(
            &[("a", "Depends: b\n", scripts[0]), ("b", "Depends: a\n", scripts[1])],
            Some(&[]),
            &[order],
        );
    }
}

#[test]
fn pre_dependencies_in_a_circle_end() {
    check(
        &[("a", "Pre-Depends: b\n", BOTH), ("b", "Pre-Depends: a\n", BOTH)],
        Some(&[]),
        &["preinst b a", "unpack a b; configure b a"],
    );
}

#[test]
fn where_no_package_is_essential_everything_is_placed_first() {
    check(&[("a", "", BOTH), ("b", "", &[])], None, &["unpack a b; late a; configure a b"]);
}

const COUNT: usize = 9;

fn any_nodes() -> impl Strategy<Value = Vec<Node>> {
    let edges = || prop::collection::vec(0..COUNT, 0..3);
    let node = (edges(), edges(), prop::num::u8::ANY);
    prop::collection::vec(node, 1..COUNT).prop_map(|drawn| {
        let count = drawn.len();
        let groups = |edges: Vec<usize>, own: usize| -> Vec<Vec<usize>> {
            let others = edges.into_iter().filter(|other| *other < count && *other != own);
            others.map(|other| vec![other]).collect()
        };
        let nodes = drawn.into_iter().enumerate().map(|(own, (depends, pre, flags))| Node {
            depends: groups(depends, own),
            // One in two: pre-dependencies are rare.
            pre_depends: if flags & 8 == 0 { groups(pre, own) } else { Vec::new() },
            essential: flags & 0x30 == 0,
            has_preinst: flags & 1 != 0,
            has_postinst: flags & 2 != 0,
        });
        nodes.collect()
    })
}

fn reached(nodes: &[Node], from: impl IntoIterator<Item = usize>) -> BTreeSet<usize> {
    let planner = Planner { nodes, placed: BTreeSet::new(), configured: BTreeSet::new() };
    planner.closure(from.into_iter())
}

/// Everything that happens, in order: `p` for a preinst, `u` for unpacking, `c` for configuring.
fn happenings(rounds: &[Round]) -> Vec<(char, usize)> {
    let mut all = Vec::new();
    for round in rounds {
        for (kind, nodes) in [
            ('u', &round.unpack),
            ('p', &round.late_preinsts),
            ('c', &round.configure),
            ('p', &round.preinsts),
        ] {
            all.extend(nodes.iter().map(|node| (kind, *node)));
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_plan_keeps_the_rules(nodes in any_nodes(), empty in any::<bool>()) {
        let rounds = plan(&nodes, empty);
        let all = happenings(&rounds);
        let at = |kind: char, node: usize| all.iter().position(|one| *one == (kind, node));
        let essential = reached(&nodes, (0..nodes.len()).filter(|node| nodes[*node].essential));
        let bootstrap = |node: usize| empty && (essential.is_empty() || essential.contains(&node));
        // No order is right for a package that what it pre-depends on needs, nor for what waits for such a one.
        let hopeless = |node: usize| {
            reached(&nodes, nodes[node].pre_depends.iter().flatten().copied()).contains(&node)
        };
        for (number, node) in nodes.iter().enumerate() {
            let times = |kind| all.iter().filter(|one| **one == (kind, number)).count();
            prop_assert_eq!((times('u'), times('c')), (1, 1), "{:?}", rounds);
            prop_assert_eq!(times('p'), usize::from(node.has_preinst));
            prop_assert!(at('u', number) < at('c', number));
            if node.has_preinst {
                prop_assert_eq!(at('p', number) < at('u', number), !bootstrap(number));
                let needed = reached(&nodes, node.pre_depends.iter().flatten().copied());
                let fair = !needed.contains(&number) && !needed.iter().any(|node| hopeless(*node));
                for other in node.pre_depends.iter().flatten() {
                    prop_assert!(
                        bootstrap(number) || !fair || at('c', *other) < at('p', number),
                        "the preinst of {number} runs before {other} is configured: {rounds:?}"
                    );
                }
            }
            for other in node.depends.iter().flatten() {
                let cycle = reached(&nodes, [*other]).contains(&number);
                prop_assert!(
                    cycle || at('c', *other) < at('c', number),
                    "{number} is configured before {other}: {rounds:?}"
                );
            }
            if empty && !essential.is_empty() && !bootstrap(number) {
                for other in &essential {
                    prop_assert!(nodes[number].essential || at('c', *other) < at('c', number)
                        || rounds.len() == 1, "{rounds:?}");
                }
            }
        }
    }

    #[test]
    fn a_cycle_costs_only_those_that_do_nothing(mut nodes in any_nodes()) {
        for node in &mut nodes {
            node.pre_depends.clear();
            node.has_preinst = false;
        }
        let all = happenings(&plan(&nodes, false));
        let at = |node: usize| all.iter().position(|one| *one == ('c', node));
        // Without what a package with nothing to run needs, is there still a cycle?
        let mut acting = nodes.clone();
        for (number, node) in acting.iter_mut().enumerate() {
            let in_cycle = |other: &usize| reached(&nodes, [*other]).contains(&number);
            if !node.has_postinst {
                node.depends.retain(|group| !in_cycle(&group[0]));
            }
        }
        for (number, node) in acting.iter().enumerate() {
            for other in node.depends.iter().flatten() {
                let cycle = reached(&acting, [*other]).contains(&number);
                prop_assert!(cycle || at(*other) < at(number), "{number} comes before {other}");
            }
        }
    }
}
