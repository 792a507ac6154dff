//! Living beside other people's firewalls.
//!
//! Our own tables decide what our bridges may do, but an accept there is no accept in another
//! table. Docker and ufw set the policy of iptables' FORWARD chain to drop; then rules of ours let
//! our networks pass it, marked with the instance's name. They open nothing that our table closes.
//! firewalld and iptables-legacy are only told about.

use model::instance;

use super::NetworkError;
use super::tool::Tool;

/// Adds the rules where they are needed and missing; whether it had to.
pub(crate) fn let_pass(name: &instance::Name) -> Result<bool, NetworkError> {
    let iptables = Tool::iptables()?;
    let listed = iptables.run(&["-S", "FORWARD"], "")?;
    let own: Vec<&str> = own_rules(name, &listed).collect();
    let missing: Vec<String> = pass_rules(name)
        .into_iter()
        .filter(|rule| is_dropping(&listed) && !own.contains(&rule.as_str()))
        .collect();
    for rule in &missing {
        let mut arguments = vec!["-I", "FORWARD", "1"];
        arguments.extend(rule.split(' '));
        iptables.run(&arguments, "")?;
    }
    Ok(!missing.is_empty())
}

/// Removes the rules that carry the instance's mark.
pub(crate) fn take_back(name: &instance::Name) -> Result<(), NetworkError> {
    let iptables = Tool::iptables()?;
    let listed = iptables.run(&["-S", "FORWARD"], "")?;
    for rule in own_rules(name, &listed) {
        let mut arguments = vec!["-D", "FORWARD"];
        arguments.extend(rule.split(' '));
        iptables.run(&arguments, "")?;
    }
    Ok(())
}

/// One line for each other firewall that stands in the way.
pub(crate) fn doctor(name: &instance::Name) -> Result<Vec<String>, NetworkError> {
    let mut lines = Vec::new();
    let listed = Tool::iptables()?.run(&["-S", "FORWARD"], "")?;
    let own: Vec<&str> = own_rules(name, &listed).collect();
    let has_all = pass_rules(name)
        .iter()
        .all(|rule| own.contains(&rule.as_str()));
    if is_dropping(&listed) && !has_all {
        lines.push(
            "iptables drops forwarded packets (-P FORWARD DROP), and rules that let dynos pass are \
             missing: start the platform again"
                .to_owned(),
        );
    }
    let chains = chains(&Tool::nft()?.run(&["-j", "list", "chains"], "")?);
    lines.extend(dropping(&chains).map(|chain| {
        let networks = networks(name).join(", ");
        format!(
            "the nft chain {chain} drops forwarded packets by its policy, and an accept elsewhere \
             does not help: let it accept what comes in or goes out by {networks}"
        )
    }));
    if chains.iter().any(|chain| chain.table == "firewalld") {
        let (dynos, builds) = (name.dyno_bridge(), name.build_bridge());
        let range = format!("{name}-c0 to {name}-c127");
        lines.push(format!(
            "firewalld rejects forwarded packets unless told otherwise: firewall-cmd --permanent \
             --zone=trusted --add-interface={dynos} --add-interface={builds}, and so on for {range}"
        ));
    }
    let legacy = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == "filter") {
        lines.push("iptables-legacy has a filter table: it must not drop FORWARD".to_owned());
    }
    Ok(lines)
}

/// All chains of the machine; in: what `nft -j list chains` says.
fn chains(listed: &str) -> Vec<Chain> {
    let listed: Listed = serde_json::from_str(listed).unwrap_or_default();
    let objects = listed.nftables.into_iter();
    objects.filter_map(|object| object.chain).collect()
}

/// Those of others that see forwarded IPv4 packets and drop what they do not accept, as
/// `FAMILY TABLE CHAIN`. The one of iptables is left out, its rules are ours to add.
fn dropping(chains: &[Chain]) -> impl Iterator<Item = String> {
    chains
        .iter()
        .filter(|chain| chain.hook == "forward" && chain.policy == "drop")
        .filter(|chain| ["ip", "inet"].contains(&chain.family.as_str()))
        .map(|chain| format!("{} {} {}", chain.family, chain.table, chain.name))
        .filter(|chain| chain != "ip filter FORWARD")
}

#[derive(Default, serde::Deserialize)]
struct Listed {
    nftables: Vec<Object>,
}

#[derive(serde::Deserialize)]
struct Object {
    chain: Option<Chain>,
}

/// A chain that hangs on no hook has neither `hook` nor `policy`.
#[derive(serde::Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    #[serde(default)]
    hook: String,
    #[serde(default)]
    policy: String,
}

/// The interfaces of our networks, as iptables writes them.
fn networks(name: &instance::Name) -> [String; 3] {
    // Its wildcard differs from nft's.
    let central = name.central_cables().replace('*', "+");
    [name.dyno_bridge(), name.build_bridge(), central]
}

fn is_dropping(listed: &str) -> bool {
    listed.lines().any(|line| line == "-P FORWARD DROP")
}

/// For each kind of network, what leaves it and what comes back.
fn pass_rules(name: &instance::Name) -> [String; 6] {
    let [dynos, builds, central] = networks(name);
    let out = |from: &str| format!("-i {from} -m comment --comment {name} -j ACCEPT");
    let back = |to: &str| {
        let replies = "-m conntrack --ctstate RELATED,ESTABLISHED";
        format!("-o {to} {replies} -m comment --comment {name} -j ACCEPT")
    };
    [
        out(&dynos),
        back(&dynos),
        out(&builds),
        back(&builds),
        out(&central),
        back(&central),
    ]
}

/// The marked rules, without their `-A FORWARD`. iptables-save quotes only what needs it.
fn own_rules<'a>(name: &instance::Name, listed: &'a str) -> impl Iterator<Item = &'a str> {
    let mark = format!("--comment {name} ");
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("-A FORWARD "))
        .filter(move |rule| rule.contains(&mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_own_rules_again() {
        let name = instance::Name::parse("paas").unwrap();
        let other = instance::Name::parse("paas2").unwrap();
        let before = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        assert!(is_dropping(before));
        assert_eq!(own_rules(&name, before).count(), 0);
        let listed = format!(
            "{before}-A FORWARD {}\n",
            pass_rules(&name).join("\n-A FORWARD ")
        );
        assert!(own_rules(&name, &listed).eq(pass_rules(&name).iter().map(String::as_str)));
        assert_eq!(own_rules(&other, &listed).count(), 0);
        assert!(!is_dropping("-P FORWARD ACCEPT\n"));
    }

    #[test]
    fn names_the_chains_of_others_that_drop() {
        let listed = r#"{"nftables": [
            {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 2,
                       "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "filter", "name": "forward", "handle": 2,
                       "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip6", "table": "x", "name": "f", "handle": 2,
                       "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "paas", "name": "forward", "handle": 2,
                       "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
            {"chain": {"family": "inet", "table": "paas", "name": "limits", "handle": 3}}]}"#;
        let found: Vec<String> = dropping(&chains(listed)).collect();
        assert_eq!(found, ["inet filter forward"]);
        assert!(chains("nonsense").is_empty());
    }
}
