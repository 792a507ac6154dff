//! The rules as text: what nft loads on the host, and what iptables-restore loads inside.
//!
//! Pure; `net::tool` hands the text over. The host's rules live in tables named after the instance
//! and only there, so they neither disturb nor depend on Docker's, ufw's or firewalld's: every base
//! chain of every table is asked, and one drop suffices.

use std::fmt::Write;
use std::net::Ipv4Addr;

use model::instance;
use model::limits::{self, BUILD_NETWORKS_MAX};
use model::network::{CENTRAL_NETS_MAX, Range, SLOTS_MAX};

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
    /// Whether this kernel can count open connections.
    pub(crate) counts_connections: bool,
}

/// The table that guards the host, the other networks and those beyond: replaced in one
/// transaction.
///
/// - `source`: nobody speaks with an address of another bridge or dyno network, and nobody outside
///   with one of ours.
/// - `input`: the host answers what it asked itself (the router's connections), nothing else.
/// - `forward`: from our networks to the outside and back. Other bridges of this host (Docker's
///   networks, other instances) are not outside, unless the way out itself is a bridge.
/// - `limits`: new and open connections of one address.
///
/// For dyno networks this is the second law: the port policy has judged their packets already.
pub(crate) fn host_table(facts: &Facts<'_>) -> String {
    let Facts { name, range, .. } = facts;
    let (dynos, builds) = (name.dyno_bridge(), name.build_bridge());
    let central = name.central_cables();
    let ours = format!("{{ \"{dynos}\", \"{builds}\", \"{central}\" }}");
    let objects = objects(facts);
    let source = source_chain(name, *range, &ours);
    let limits = limits_chain(facts.counts_connections);
    let ask_resolver = resolver_rule(facts.resolvers);
    let not_uplink = facts
        .uplink
        .map_or(String::new(), |u| format!("oifname != \"{u}\" "));
    format!(
        r#"table inet {name}
delete table inet {name}
table inet {name} {{
{objects}{source}{limits}    chain input {{
        type filter hook input priority filter; policy accept;
        iifname != {ours} accept
        ct state established,related accept
        jump limits
        {ask_resolver}
        counter name "to_host" drop
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname != {ours} oifname != {ours} accept
        meta nfproto ipv6 drop
        ct state invalid drop
        ct state established,related accept
        oifname {ours} counter name "to_neighbour" drop
        jump limits
        {ask_resolver}
        ip daddr {{ 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, {range} }} counter name "to_reserved" drop
        {not_uplink}meta oifkind "bridge" counter name "to_bridge" drop
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

/// Who speaks from where.
fn source_chain(name: &instance::Name, range: Range, ours: &str) -> String {
    let (dynos, builds) = (name.dyno_bridge(), name.build_bridge());
    let (dyno_net, build_net) = (range.dyno_gateway(), range.build_gateway());
    let central = name.central_cables();
    format!(
        r#"    chain source {{
        type filter hook prerouting priority raw; policy accept;
        iifname {ours} meta nfproto ipv6 counter name "false_sender" drop
        iifname "{dynos}" ip saddr != {dyno_net}/18 counter name "false_sender" drop
        iifname "{builds}" ip saddr != {build_net}/18 counter name "false_sender" drop
        iifname "{central}" iifname . ip saddr != @dyno_nets counter name "false_sender" drop
        iifname != {{ "lo", "{dynos}", "{builds}", "{central}" }} ip saddr {range} counter name "false_sender" drop
        iifname {ours} ip daddr 224.0.0.0/3 counter name "to_reserved" drop
    }}
"#
    )
}

/// New connections are counted per address, before anything is accepted.
fn limits_chain(counts_connections: bool) -> String {
    let (rate, burst) = (limits::NEW_CONNECTIONS_PER_S, limits::NEW_CONNECTIONS_BURST);
    let open_rule = if counts_connections {
        let most = limits::OPEN_CONNECTIONS_MAX;
        format!("add @connected {{ ip saddr ct count over {most} }} counter name \"too_many\" drop")
    } else {
        "# this kernel cannot count (CONFIG_NFT_CONNLIMIT)".to_owned()
    };
    format!(
        r#"    chain limits {{
        ct state != new return
        update @connecting {{ ip saddr limit rate over {rate}/second burst {burst} packets }} counter name "too_fast" drop
        {open_rule}
    }}
"#
    )
}

/// Counters, one for each reason to drop, and sets.
fn objects(facts: &Facts<'_>) -> String {
    let nets = dyno_nets(facts.name, facts.range);
    let connected = if facts.counts_connections {
        format!(
            "    set connected {{
        type ipv4_addr
        size {SOURCES_MAX}
        flags dynamic
    }}
"
        )
    } else {
        String::new()
    };
    let counters = COUNTERS.map(|name| format!("    counter {name} {{ }}\n"));
    format!(
        "{counters}    set dyno_nets {{
        type ifname . ipv4_addr
        flags interval
        elements = {{ {nets} }}
    }}
    set connecting {{
        type ipv4_addr
        size {SOURCES_MAX}
        flags dynamic, timeout
        timeout 1m
    }}
{connected}",
        counters = counters.concat(),
    )
}

const COUNTERS: [&str; 7] = [
    "false_sender",
    "to_host",
    "to_neighbour",
    "to_reserved",
    "to_bridge",
    "too_fast",
    "too_many",
];

/// More addresses than an instance has.
const SOURCES_MAX: u32 = 65_536;

/// Which addresses may come out of which cable. All networks at once: they follow from their
/// number, so that a new one costs no rule.
fn dyno_nets(name: &instance::Name, range: Range) -> String {
    let nets = (0..CENTRAL_NETS_MAX).map(|net| {
        let (cable, first) = (name.central_cable(net), range.central_net(net));
        format!("\"{cable}\" . {first}/24")
    });
    nets.collect::<Vec<_>>().join(", ")
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
    counter false_arp {{ }}
    counter false_sender {{ }}
    set seats {{
        type ifname . ether_addr . ipv4_addr
        elements = {{
{elements}        }}
    }}
    chain source {{
        ether type ip iifname . ether saddr . ip saddr @seats accept
        ether type arp iifname . ether saddr . arp saddr ip @seats accept
        ether type arp counter name "false_arp" drop
        counter name "false_sender" drop
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
            counts_connections: true,
        };
        let nets = dyno_nets(&name, range);
        assert_eq!(nets.matches(" . ").count(), 128);
        assert!(
            nets.contains("\"paas-c5\" . 10.201.5.0/24, \"paas-c6\" . "),
            "{nets}"
        );
        assert_eq!(host_table(&facts).replace(&nets, "NETS"), HOST_TABLE);
    }

    #[test]
    fn without_uplink_resolver_and_count() {
        let (name, range) = (name(), range());
        let text = host_table(&Facts {
            name: &name,
            range,
            uplink: None,
            resolvers: &[],
            counts_connections: false,
        });
        assert!(
            text.contains("\n        meta oifkind \"bridge\" counter"),
            "{text}"
        );
        assert!(!text.contains("connected {"), "{text}");
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
    counter false_sender { }
    counter to_host { }
    counter to_neighbour { }
    counter to_reserved { }
    counter to_bridge { }
    counter too_fast { }
    counter too_many { }
    set dyno_nets {
        type ifname . ipv4_addr
        flags interval
        elements = { NETS }
    }
    set connecting {
        type ipv4_addr
        size 65536
        flags dynamic, timeout
        timeout 1m
    }
    set connected {
        type ipv4_addr
        size 65536
        flags dynamic
    }
    chain source {
        type filter hook prerouting priority raw; policy accept;
        iifname { "paas-br", "paas-bb", "paas-c*" } meta nfproto ipv6 counter name "false_sender" drop
        iifname "paas-br" ip saddr != 10.201.128.1/18 counter name "false_sender" drop
        iifname "paas-bb" ip saddr != 10.201.192.1/18 counter name "false_sender" drop
        iifname "paas-c*" iifname . ip saddr != @dyno_nets counter name "false_sender" drop
        iifname != { "lo", "paas-br", "paas-bb", "paas-c*" } ip saddr 10.201.0.0/16 counter name "false_sender" drop
        iifname { "paas-br", "paas-bb", "paas-c*" } ip daddr 224.0.0.0/3 counter name "to_reserved" drop
    }
    chain limits {
        ct state != new return
        update @connecting { ip saddr limit rate over 1000/second burst 8192 packets } counter name "too_fast" drop
        add @connected { ip saddr ct count over 8192 } counter name "too_many" drop
    }
    chain input {
        type filter hook input priority filter; policy accept;
        iifname != { "paas-br", "paas-bb", "paas-c*" } accept
        ct state established,related accept
        jump limits
        ip daddr { 10.0.0.53, 1.1.1.1 } meta l4proto { tcp, udp } th dport 53 accept
        counter name "to_host" drop
    }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname != { "paas-br", "paas-bb", "paas-c*" } oifname != { "paas-br", "paas-bb", "paas-c*" } accept
        meta nfproto ipv6 drop
        ct state invalid drop
        ct state established,related accept
        oifname { "paas-br", "paas-bb", "paas-c*" } counter name "to_neighbour" drop
        jump limits
        ip daddr { 10.0.0.53, 1.1.1.1 } meta l4proto { tcp, udp } th dport 53 accept
        ip daddr { 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 10.201.0.0/16 } counter name "to_reserved" drop
        oifname != "eth0" meta oifkind "bridge" counter name "to_bridge" drop
        accept
    }
    chain outward {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.201.0.0/16 ip daddr != 10.201.0.0/16 masquerade
    }
}
"#;
}
