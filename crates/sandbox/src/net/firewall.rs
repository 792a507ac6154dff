//! Living beside other people's firewalls.
//!
//! Our own tables decide what our bridges may do, but an accept there is no accept in another
//! table. Docker and ufw set the policy of iptables' FORWARD chain to drop; then two rules of ours
//! let our bridges pass it, marked with the instance's name. They open nothing that our table
//! closes. firewalld and iptables-legacy are only told about.

use model::instance;

use super::NetworkError;
use super::tool::Tool;

/// Adds the two rules where they are needed and missing.
pub(crate) fn let_pass(name: &instance::Name) -> Result<(), NetworkError> {
    let iptables = Tool::iptables()?;
    let listed = iptables.run(&["-S", "FORWARD"], "")?;
    if !is_dropping(&listed) || own_rules(name, &listed).next().is_some() {
        return Ok(());
    }
    for rule in pass_rules(name) {
        let mut arguments = vec!["-I", "FORWARD", "1"];
        arguments.extend(rule.split(' '));
        iptables.run(&arguments, "")?;
    }
    Ok(())
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
    if is_dropping(&listed) && own_rules(name, &listed).next().is_none() {
        lines.push(
            "iptables drops forwarded packets (Docker or ufw came later): start the platform again"
                .to_owned(),
        );
    }
    if Tool::nft()?
        .run(&["list", "tables"], "")?
        .contains("table inet firewalld")
    {
        let (dynos, builds) = (name.dyno_bridge(), name.build_bridge());
        lines.push(format!(
            "firewalld rejects forwarded packets unless told otherwise: firewall-cmd --permanent \
             --zone=trusted --add-interface={dynos} --add-interface={builds}"
        ));
    }
    let legacy = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if legacy.lines().any(|table| table == "filter") {
        lines.push("iptables-legacy has a filter table: it must not drop FORWARD".to_owned());
    }
    Ok(lines)
}

fn is_dropping(listed: &str) -> bool {
    listed.lines().any(|line| line == "-P FORWARD DROP")
}

fn pass_rules(name: &instance::Name) -> [String; 4] {
    let out = |bridge: String| format!("-i {bridge} -m comment --comment {name} -j ACCEPT");
    let back = |bridge: String| {
        let replies = "-m conntrack --ctstate RELATED,ESTABLISHED";
        format!("-o {bridge} {replies} -m comment --comment {name} -j ACCEPT")
    };
    let (dynos, builds) = (name.dyno_bridge(), name.build_bridge());
    [
        out(dynos.clone()),
        back(dynos),
        out(builds.clone()),
        back(builds),
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
}
