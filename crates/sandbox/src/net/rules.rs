//! The rules as text: what nft loads on the host, and what iptables-restore loads inside.
//!
//! Pure; `net::tool` hands the text over. The host's rules live in tables named after the instance
//! and only there, so they neither disturb nor depend on Docker's, ufw's or firewalld's: every base
//! chain of every table is asked, and one drop suffices.

use std::fmt::Write;
use std::net::Ipv4Addr;

use model::instance;
use model::limits::BUILD_NETWORKS_MAX;
use model::network::{Range, SLOTS_MAX};

use super::link::hardware_address;
use super::seat::Seat;

/// What the host's rules depend on.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) name: &'a instance::Name,
    pub(crate) range: Range,
    /// The interface of the default route, if there is one.
    pub(crate) uplink: Option<&'a str>,
    pub(crate) resolvers: &'a [Ipv4Addr],
}

/// The table that guards the host, the other bridges and the networks beyond: replaced in one
/// transaction.
///
/// - `source`: nobody speaks with an address of another bridge, and nobody outside with one of
///   ours.
/// - `input`: the host answers what it asked itself (the router's connections), nothing else.
/// - `forward`: from our bridges to the outside and back. Other bridges of this host (Docker's
///   networks, other instances) are not outside, unless the way out itself is a bridge.
pub(crate) fn host_table(facts: &Facts<'_>) -> String {
    let Facts { name, range, .. } = facts;
    let (dynos, builds) = (name.dyno_bridge(), name.build_bridge());
    let (dyno_net, build_net) = (range.dyno_gateway(), range.build_gateway());
    let ours = format!("{{ \"{dynos}\", \"{builds}\" }}");
    let ask_resolver = resolver_rule(facts.resolvers);
    let not_uplink = facts
        .uplink
        .map_or(String::new(), |u| format!("oifname != \"{u}\" "));
    format!(
        r#"table inet {name}
delete table inet {name}
table inet {name} {{
    chain source {{
        type filter hook prerouting priority raw; policy accept;
        iifname {ours} meta nfproto ipv6 drop
        iifname "{dynos}" ip saddr != {dyno_net}/18 drop
        iifname "{builds}" ip saddr != {build_net}/18 drop
        iifname != {{ "lo", "{dynos}", "{builds}" }} ip saddr {dyno_net}/17 drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname != {ours} accept
        ct state established,related accept
        {ask_resolver}
        drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname != {ours} oifname != {ours} accept
        meta nfproto ipv6 drop
        ct state invalid drop
        ct state established,related accept
        oifname {ours} drop
        {ask_resolver}
        ip daddr {{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, {range}, 224.0.0.0/3 }} drop
        {not_uplink}meta oifkind "bridge" drop
        accept
    }}
    chain outward {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {range} ip daddr != {range} masquerade
    }}
}}
"#
    )
}

fn resolver_rule(resolvers: &[Ipv4Addr]) -> String {
    let list: Vec<String> = resolvers.iter().map(Ipv4Addr::to_string).collect();
    if list.is_empty() {
        return "# no resolver that sandboxes can reach".to_owned();
    }
    let list = list.join(", ");
    format!("ip daddr {{ {list} }} meta l4proto {{ tcp, udp }} th dport 53 accept")
}

/// The table that holds every port of our bridges to its own address and hardware address, in IP
/// and in ARP, and lets nothing else through (no IPv6).
///
/// It names all seats at once, because names and addresses follow from the seat: 8,448 elements
/// load in 0.1 s when the node starts, and a start costs no rule at all. The check stands before
/// the bridge learns the sender, so nobody can draw a neighbour's frames to himself.
pub(crate) fn bridge_table(name: &instance::Name, range: Range) -> String {
    let mut elements = String::new();
    let dynos = (0..SLOTS_MAX).map(|slot| Seat::Dyno { slot, port: 0 });
    let builds = (0..BUILD_NETWORKS_MAX).map(|number| Seat::Build { number });
    for seat in dynos.chain(builds) {
        let address = seat.address(range);
        let mac = hardware_address(address)
            .map(|byte| format!("{byte:02x}"))
            .join(":");
        writeln!(elements, "\"{}\" . {mac} . {address},", seat.cable(name))
            .expect("a String takes every text");
    }
    format!(
        r#"table bridge {name}
delete table bridge {name}
table bridge {name} {{
    set seats {{
        type ifname . ether_addr . ipv4_addr
        elements = {{
{elements}        }}
    }}
    chain source {{
        ether type ip iifname . ether saddr . ip saddr @seats accept
        ether type arp iifname . ether saddr . arp saddr ip @seats accept
        drop
    }}
    chain ports {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{name}-d*" jump source
        iifname "{name}-b*" jump source
    }}
}}
"#
    )
}

/// The rules inside a dyno or build, for iptables-restore: nothing comes in but what was asked for
/// and, in a dyno, connections to its port (docs/sandbox.md).
pub(crate) fn inside(open_port: Option<u16>) -> String {
    let open = open_port.map_or(String::new(), |port| {
        format!("-A INPUT -p tcp -m tcp --dport {port} -j ACCEPT\n")
    });
    format!(
        "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
{open}COMMIT
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> instance::Name {
        instance::Name::parse("paas").unwrap()
    }

    fn range() -> Range {
        Range::parse("10.201.0.0/16").unwrap()
    }

    #[test]
    fn the_host_table() {
        let resolvers = [Ipv4Addr::new(10, 0, 0, 53), Ipv4Addr::new(1, 1, 1, 1)];
        let (name, range) = (name(), range());
        let facts = Facts {
            name: &name,
            range,
            uplink: Some("eth0"),
            resolvers: &resolvers,
        };
        assert_eq!(host_table(&facts), HOST_TABLE);
    }

    #[test]
    fn without_uplink_and_resolver() {
        let (name, range) = (name(), range());
        let text = host_table(&Facts {
            name: &name,
            range,
            uplink: None,
            resolvers: &[],
        });
        assert!(
            text.contains("\n        meta oifkind \"bridge\" drop\n"),
            "{text}"
        );
        assert!(!text.contains("dport 53"), "{text}");
    }

    #[test]
    fn the_bridge_table_names_every_seat() {
        let text = bridge_table(&name(), range());
        let seats = usize::from(SLOTS_MAX) + usize::from(BUILD_NETWORKS_MAX);
        assert_eq!(text.matches("\"paas-").count(), seats + 2);
        assert!(text.contains("\"paas-d0000\" . 02:50:0a:c9:80:02 . 10.201.128.2,\n"));
        assert!(text.contains("\"paas-b000a\" . 02:50:0a:c9:c0:0c . 10.201.192.12,\n"));
    }

    #[test]
    fn inside_only_the_port_is_open() {
        let open = "-A INPUT -p tcp -m tcp --dport 5000 -j ACCEPT\n";
        let check = |port: Option<u16>, open: &str| {
            let expected = format!(
                "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A INPUT -i lo -j ACCEPT\n\
                 -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{open}COMMIT\n"
            );
            assert_eq!(inside(port), expected);
        };
        check(Some(5000), open);
        check(None, "");
    }

    const HOST_TABLE: &str = r#"table inet paas
delete table inet paas
table inet paas {
    chain source {
        type filter hook prerouting priority raw; policy accept;
        iifname { "paas-br", "paas-bb" } meta nfproto ipv6 drop
        iifname "paas-br" ip saddr != 10.201.128.1/18 drop
        iifname "paas-bb" ip saddr != 10.201.192.1/18 drop
        iifname != { "lo", "paas-br", "paas-bb" } ip saddr 10.201.128.1/17 drop
    }
    chain input {
        type filter hook input priority filter; policy accept;
        iifname != { "paas-br", "paas-bb" } accept
        ct state established,related accept
        ip daddr { 10.0.0.53, 1.1.1.1 } meta l4proto { tcp, udp } th dport 53 accept
        drop
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname != { "paas-br", "paas-bb" } oifname != { "paas-br", "paas-bb" } accept
        meta nfproto ipv6 drop
        ct state invalid drop
        ct state established,related accept
        oifname { "paas-br", "paas-bb" } drop
        ip daddr { 10.0.0.53, 1.1.1.1 } meta l4proto { tcp, udp } th dport 53 accept
        ip daddr { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 10.201.0.0/16, 224.0.0.0/3 } drop
        oifname != "eth0" meta oifkind "bridge" drop
        accept
    }
    chain outward {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.201.0.0/16 ip daddr != 10.201.0.0/16 masquerade
    }
}
"#;
}
