//! The interface of the host's default route.

use std::fs;

use super::link::Link;

/// Picks the link of the IPv4 default route (`/proc/net/route`, proc(5)) of the calling thread's
/// namespace; none without such a route.
pub(crate) fn of_host(links: &[Link]) -> Option<&Link> {
    let routes = fs::read_to_string("/proc/thread-self/net/route").ok()?;
    let name = default_interface(&routes)?;
    links.iter().find(|link| link.name == name)
}

/// The interface of the default route with the lowest metric.
fn default_interface(routes: &str) -> Option<String> {
    let default = routes.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        match columns.as_slice() {
            [name, "00000000", _, _, _, _, metric, "00000000", ..] => {
                Some((metric.parse::<u32>().ok()?, (*name).to_owned()))
            }
            _ => None,
        }
    });
    default.min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_interface_of_the_default_route() {
        const HEAD: &str =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let check = |lines: &str, expected: Option<&str>| {
            let found = default_interface(&format!("{HEAD}{lines}"));
            assert_eq!(found.as_deref(), expected);
        };
        let lan = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let way = "eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        let better = "wg0\t00000000\t010200C0\t0003\t0\t0\t50\t00000000\t0\t0\t0\n";
        check(lan, None);
        check(&format!("{lan}{way}"), Some("eth0"));
        check(&format!("{way}{better}"), Some("wg0"));
    }
}
