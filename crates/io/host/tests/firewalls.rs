//! Real firewalls in network namespaces of their own: does doctor name the one that drops, and do its lines help?

mod support;

use hornero_doctor::{CHECKS, HostFinding};
use hornero_model::HostState;
use support::{Namespace, run, run_input};

/// The checks of firewalls, for a home that is nowhere yet.
fn findings() -> (HostFinding, HostFinding) {
    let home = std::path::Path::new("/nonexistent/hornero-home");
    let facts = hornero_host::collect(home, hornero_host::Asked::default());
    assert!(facts.firewall.filter.is_some(), "the packet filter can't be read");
    let check = |id: &str| CHECKS.iter().find(|check| check.id == id).unwrap().run(&facts);
    (check("firewall_forward"), check("firewall_input"))
}

#[track_caller]
fn names(finding: &HostFinding, expected: &str) {
    assert_eq!(finding.state, HostState::Degraded, "{finding:?}");
    assert!(finding.observed.starts_with(expected), "{finding:?}");
}

#[track_caller]
fn passes(finding: &HostFinding, because: &str) {
    assert_eq!(finding.state, HostState::Pass, "{finding:?}");
    assert!(finding.observed.contains(because), "{finding:?}");
}

/// Does what the hint says, line by line, but for lines in words.
fn follow(finding: &HostFinding) {
    for line in finding.hint.as_deref().unwrap().lines() {
        if line.starts_with("iptables ") || line.starts_with("nft ") {
            run(&["sh", "-ec", &line.replace("iptables ", "iptables-nft ")]);
        }
    }
}

#[test]
fn no_firewall_drops_nothing() {
    Namespace::new().run(|| {
        let (forward, input) = findings();
        passes(&forward, "no firewall");
        passes(&input, "no firewall");
    });
}

#[test]
fn plain_nftables_with_a_policy_of_drop() {
    Namespace::new().run(|| {
        run_input(
            &["nft", "-f", "-"],
            "table inet filter {
               chain input {
                 type filter hook input priority 0; policy drop;
                 ct state vmap { established : accept, related : accept, invalid : drop }
                 iifname { \"lo\", \"eth9\" } accept
                 tcp dport { 22, 80-443 } accept
                 ip saddr 192.0.2.0/24 udp dport 53 accept
               }
               chain forward { type filter hook forward priority 0; policy drop; }
             }",
        );
        let (forward, input) = findings();
        names(&forward, "nftables: table `inet filter`, chain `forward`: its policy is to drop");
        names(&input, "nftables: table `inet filter`, chain `input`: its policy is to drop");
        follow(&forward);
        follow(&input);
        let (forward, input) = findings();
        passes(&forward, "no firewall");
        passes(&input, "no firewall");
    });
}

#[test]
fn what_is_not_understood_is_not_called_dropped() {
    Namespace::new().run(|| {
        run_input(
            &["nft", "-f", "-"],
            "table ip filter {
               chain forward {
                 type filter hook forward priority 0; policy drop;
                 meta mark 7 accept
               }
             }",
        );
        passes(&findings().0, "not clear");
    });
}

/// Docker's rules as its daemon writes them, version 28.
const DOCKER: &str = "*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
COMMIT
";

#[test]
fn docker_drops_what_is_not_its_own() {
    Namespace::new().run(|| {
        run_input(&["iptables-nft-restore"], DOCKER);
        let (forward, input) = findings();
        names(&forward, "Docker: table `ip filter`, chain `FORWARD`: its policy is to drop");
        passes(&input, "no firewall");
        follow(&forward);
        passes(&findings().0, "no firewall");
    });
}

/// What `ufw enable` sets, with ssh allowed; the chains that only log are left out.
const UFW: &str = "*filter
:INPUT DROP
:FORWARD DROP
:OUTPUT ACCEPT
:ufw-before-input -
:ufw-before-forward -
:ufw-not-local -
:ufw-user-input -
:ufw-user-forward -
:ufw-reject-input -
-A INPUT -j ufw-before-input
-A INPUT -j ufw-reject-input
-A FORWARD -j ufw-before-forward
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j DROP
-A ufw-not-local -j DROP
-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
COMMIT
";

#[test]
fn ufw_drops_in_both_directions() {
    Namespace::new().run(|| {
        run_input(&["iptables-nft-restore"], UFW);
        let (forward, input) = findings();
        names(&forward, "ufw: table `ip filter`, chain `FORWARD`: its policy is to drop");
        names(&input, "ufw: table `ip filter`, chain `INPUT`: its policy is to drop");
        let bridge = forward.hint.as_deref().unwrap().rsplit(' ').next().unwrap().to_owned();
        assert_eq!(forward.hint.unwrap(), format!("ufw route allow in on {bridge}"));
        assert_eq!(input.hint.unwrap(), format!("ufw allow in on {bridge}"));
        // What these two lines add, as `iptables -S` shows it after them.
        run(&["iptables-nft", "-A", "ufw-user-forward", "-i", &bridge, "-j", "ACCEPT"]);
        run(&["iptables-nft", "-A", "ufw-user-input", "-i", &bridge, "-j", "ACCEPT"]);
        let (forward, input) = findings();
        passes(&forward, "no firewall");
        passes(&input, "no firewall");
    });
}

#[test]
fn firewalld_rejects_at_the_end_of_its_chains() {
    let ruleset = |trusted: &str| {
        format!(
            "table inet firewalld {{
               chain filter_INPUT {{
                 type filter hook input priority filter + 10; policy accept;
                 ct state {{ established, related }} accept
                 ct status dnat accept
                 iifname \"lo\" accept
                 ct state invalid drop
                 jump filter_INPUT_ZONES
                 reject with icmpx admin-prohibited
               }}
               chain filter_FORWARD {{
                 type filter hook forward priority filter + 10; policy accept;
                 ct state {{ established, related }} accept
                 ct status dnat accept
                 iifname \"lo\" accept
                 ct state invalid drop
                 jump filter_FORWARD_ZONES
                 reject with icmpx admin-prohibited
               }}
               chain filter_INPUT_ZONES {{ {trusted} goto filter_IN_public; }}
               chain filter_IN_public {{ tcp dport 22 accept; udp dport 67 accept; }}
               chain filter_FORWARD_ZONES {{ {trusted} goto filter_FWD_public; }}
               chain filter_FWD_public {{ }}
             }}"
        )
    };
    Namespace::new().run(|| {
        run_input(&["nft", "-f", "-"], &ruleset(""));
        let (forward, input) = findings();
        names(
            &forward,
            "firewalld: table `inet firewalld`, chain `filter_FORWARD`: a rule drops it",
        );
        names(&input, "firewalld: table `inet firewalld`, chain `filter_INPUT`: a rule drops it");
        let hint = forward.hint.unwrap();
        let bridge = hint.split("--add-interface=").nth(1).unwrap().split(' ').next().unwrap();
        run(&["nft", "flush", "ruleset"]);
        run_input(&["nft", "-f", "-"], &ruleset(&format!("iifname \"{bridge}\" accept;")));
        let (forward, input) = findings();
        passes(&forward, "no firewall");
        passes(&input, "no firewall");
    });
}

#[test]
fn looking_leaves_nothing_behind() {
    Namespace::new().run(|| {
        findings();
        assert_eq!(run(&["nft", "list", "ruleset"]), "");
        let links = run(&["ip", "-o", "link"]);
        assert_eq!(links.lines().count(), 1, "{links}");
    });
}
