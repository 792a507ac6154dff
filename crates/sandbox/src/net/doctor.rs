//! What is wrong with an instance's network, and what is left of it.
//!
//! Reads the host as it is now and changes nothing. Called by `paas doctor` and by tests, as root.

use std::fs;

use model::instance;

use super::resolver::Resolver;
use super::tool::Tool;
use super::{Host, NetworkError, all_links, firewall, link, open_links, own_links, own_tables};
use super::{seat, uplink};

/// Debian packages of the programs that load rules and are not installed.
pub(crate) fn missing_tools() -> Vec<&'static str> {
    let package = |tool: Result<Tool, NetworkError>| match tool {
        Err(NetworkError::Missing { package, .. }) => Some(package),
        _ => None,
    };
    [Tool::nft(), Tool::iptables_restore()]
        .into_iter()
        .filter_map(package)
        .collect()
}

/// Whether a name server is known that sandboxes reach.
pub(crate) fn has_resolver() -> bool {
    !Resolver::of_host().addresses.is_empty()
}

impl Host {
    /// What does not work as it should in an instance that is set up, one line each with the next
    /// step; empty when all is well. An error is what kept us from looking.
    pub fn doctor(name: &instance::Name) -> Result<Vec<String>, NetworkError> {
        let mut lines = Vec::new();
        if Resolver::of_host().addresses.is_empty() {
            lines.push(NO_RESOLVER.to_owned());
        }
        if uplink::of_host(&all_links(&mut open_links()?)?).is_none() {
            lines.push("no default route: dynos and builds reach nothing outside".to_owned());
        }
        if fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|on| on.trim() == "0") {
            lines.push("somebody switched net.ipv4.ip_forward off: dynos need it on".to_owned());
        }
        let tables = own_tables(name, &Tool::nft()?)?;
        if !tables.contains(&format!("table inet {name}")) {
            lines.push(format!(
                "the nft table inet {name} is gone: start the platform again"
            ));
        } else if !tables.contains(&format!("table bridge {name}")) {
            lines.push(NO_SOURCE_CHECK.to_owned());
        }
        if tables.contains(&format!("table inet {name}")) {
            let table = Tool::nft()?.run(&["-t", "list", "table", "inet", name.as_str()], "")?;
            if !table.contains("set connected {") {
                lines.push(CANNOT_COUNT.to_owned());
            }
        }
        lines.extend(firewall::doctor(name)?);
        Ok(lines)
    }

    /// What is left of an instance and used by nobody: cables whose inner end is not up (half
    /// made), and, when no cable is alive, bridges and tables. Empty while the instance runs well.
    pub fn strays(name: &instance::Name) -> Result<Vec<String>, NetworkError> {
        let links = own_links(name, &mut open_links()?)?;
        let is_cable = |link: &&link::Link| seat::is_cable(name, &link.name);
        let (mut unused, mut tables) = (Vec::new(), Vec::new());
        if links.iter().filter(is_cable).any(|cable| cable.is_running) {
            unused.extend(
                links
                    .iter()
                    .filter(is_cable)
                    .filter(|cable| !cable.is_running),
            );
        } else {
            unused.extend(links.iter());
            tables = own_tables(name, &Tool::nft()?)?;
        }
        let interfaces = unused.iter().map(|link| format!("interface {}", link.name));
        Ok(interfaces.chain(tables).collect())
    }
}

const NO_RESOLVER: &str = "no name server that dynos can reach: /etc/resolv.conf names none but \
                           loopback or IPv6 ones; add an IPv4 one";
const NO_SOURCE_CHECK: &str = "this kernel's nft has no bridge family (CONFIG_NF_TABLES_BRIDGE): \
                               false senders are refused per bridge, not per dyno";
const CANNOT_COUNT: &str = "this kernel's nft cannot count connections (CONFIG_NFT_CONNLIMIT): how \
                            many a dyno begins is limited, how many it has open is not";
