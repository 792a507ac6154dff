//! The network of sandboxes that have a net namespace of their own: isolated dynos, and builds.
//!
//! ```text
//! outside -- uplink -- host -- NAME-br (dynos)  -- NAME-d0000 ==cable== eth0 of slot 0
//!                         |                     -- NAME-d0001 ==cable== eth0 of slot 1
//!                         `--- NAME-bb (builds) -- NAME-b0000 ==cable== eth0 of build 0
//! ```
//!
//! Who may reach whom: the host a dyno's port; dynos and builds the outside and the resolver; all
//! else nobody (not the host, not each other). Three things hold it, each alone enough for its
//! part: port isolation of the bridges, the host's nft tables (`rules`), iptables inside. There is
//! no IPv6 anywhere.
//!
//! [`Host`] lays out what all share and takes it away again; [`Pool`] gives out namespaces, which
//! vanish with their last process. Called by the nursery, which is root and has one thread.

mod central;
mod doctor;
mod firewall;
mod helper;
mod link;
mod namespace;
mod pace;
mod pool;
mod resolver;
mod rules;
mod seat;
mod tables;
mod tool;
mod uplink;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;

use model::instance;
use model::network::Range;

pub(crate) use doctor::{has_resolver, missing_tools};
pub use pool::Pool;
pub use seat::Seat;

use link::Links;
use resolver::Resolver;
use tool::Tool;
use watch::Watch;

/// Why a network could not be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A program is not installed.
    #[error("find {program}: install it with `apt install {package}`")]
    Missing {
        /// Its name.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program did not take our rules.
    #[error("load rules: {program} says {said:?}")]
    Refused {
        /// Its path.
        program: String,
        /// The first line of its complaint.
        said: String,
    },
    /// The kernel refused a step.
    #[error("{doing}")]
    Kernel {
        /// The step.
        doing: String,
        /// Its answer.
        source: io::Error,
    },
    /// A helper process could not make a namespace.
    #[error("make a net namespace: {0}")]
    Helper(String),
    /// A number beyond its bridge.
    #[error("find a place on the bridge for {0:?}")]
    Seat(Seat),
    /// A dyno network beyond the range, or a descriptor that is not its namespace.
    #[error("find the dyno network {0}")]
    DynoNet(u8),
}

impl NetworkError {
    /// The error and its cause, as one text: a helper's words cross a socket.
    fn chain(&self) -> String {
        let cause = std::error::Error::source(self);
        cause.map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"))
    }
}

fn kernel(doing: &str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Kernel {
        doing: doing.to_owned(),
        source,
    }
}

/// What a node has once for all its sandboxes: two bridges, the rules between them and the rest.
///
/// There is no `Drop`: bridges and rules outlive the nursery, dynos depend on them.
/// [`Self::tear_down`] undoes [`Self::set_up`].
#[derive(Debug)]
pub struct Host {
    name: instance::Name,
    range: Range,
    mtu: u32,
    resolver: Resolver,
    iptables_restore: Tool,
    /// The owners' dyno networks that were made or adopted and not released.
    dyno_nets: BTreeMap<u8, OwnedFd>,
    watch: Watch,
}

impl Host {
    /// Makes bridges and rules, or brings those that are there up to date. Repeating it disturbs no
    /// connection. Switches IPv4 forwarding on, which stays on: others may rely on it meanwhile.
    pub fn set_up(name: &instance::Name, range: Range) -> Result<Self, NetworkError> {
        let iptables_restore = Tool::iptables_restore()?;
        let resolver = Resolver::of_host();
        let links = all_links(&mut open_links()?)?;
        let mut host = Self {
            name: name.clone(),
            range,
            mtu: uplink::of_host(&links).map_or(MTU_DEFAULT, |link| link.mtu),
            resolver,
            iptables_restore,
            dyno_nets: BTreeMap::new(),
            watch: Watch::begin().map_err(kernel("listen for changed rules"))?,
        };
        // Rules before bridges: no packet passes a bridge that nothing guards.
        host.load_tables()?;
        host.remember_rules()?;
        host.bridges()?;
        write_setting("net/ipv4/ip_forward", "1")?;
        firewall::let_pass(name)?;
        Ok(host)
    }

    /// Replaces the instance's tables with what they shall be.
    fn load_tables(&self) -> Result<(), NetworkError> {
        let nft = Tool::nft()?;
        let links = all_links(&mut open_links()?)?;
        let mut facts = rules::Facts {
            name: &self.name,
            range: self.range,
            uplink: uplink::of_host(&links).map(|link| link.name.as_str()),
            resolvers: &self.resolver.addresses,
            counts_connections: true,
        };
        if nft.run(&["-f", "-"], &rules::host_table(&facts)).is_err() {
            facts.counts_connections = false;
            nft.run(&["-f", "-"], &rules::host_table(&facts))?;
        }
        // A kernel without nft's bridge family goes on with the other two guards; `doctor` tells.
        drop(nft.run(&["-f", "-"], &rules::bridge_table(&self.name, self.range)));
        Ok(())
    }

    fn bridges(&self) -> Result<(), NetworkError> {
        let mut links = open_links()?;
        let (dynos, builds) = (self.name.dyno_bridge(), self.name.build_bridge());
        let bridges = [
            (dynos, self.range.dyno_gateway()),
            (builds, self.range.build_gateway()),
        ];
        for (bridge, gateway) in bridges {
            let made = links.bridge(&bridge, gateway, self.mtu);
            made.map_err(kernel(&format!("make the bridge {bridge}")))?;
            write_setting(&format!("net/ipv6/conf/{bridge}/disable_ipv6"), "1")?;
        }
        Ok(())
    }

    /// Removes tables, rules, cables and bridges of the instance, and nothing else. Living dynos
    /// lose their network. What is not there is fine.
    pub fn tear_down(name: &instance::Name) -> Result<(), NetworkError> {
        let mut links = open_links()?;
        for link in own_links(name, &mut links)? {
            let deleted = links.delete(&link.name);
            deleted.map_err(kernel(&format!("delete {}", link.name)))?;
        }
        firewall::take_back(name)?;
        let nft = Tool::nft()?;
        let tables = own_tables(name, &nft)?;
        let commands: Vec<String> = tables.iter().map(|t| format!("delete {t}\n")).collect();
        nft.run(&["-f", "-"], &commands.concat()).map(drop)
    }

    /// The text of /etc/resolv.conf for inside.
    pub fn resolv_conf(&self) -> String {
        self.resolver.text()
    }

    /// The resolvers in it.
    pub(crate) fn resolvers(&self) -> &[Ipv4Addr] {
        &self.resolver.addresses
    }

    /// Makes the namespace of a free seat while the caller waits (14 ms); [`Pool::take`] is faster.
    pub fn namespace(&self, seat: Seat) -> Result<OwnedFd, NetworkError> {
        if !seat.is_valid() {
            return Err(NetworkError::Seat(seat));
        }
        helper::make_now(self, helper::Place::Seat(seat))
    }

    /// The address of `eth0` inside the namespace of a seat.
    pub fn address(&self, seat: Seat) -> Ipv4Addr {
        seat.address(self.range)
    }
}

/// The MTU where no default route tells one: Ethernet's.
const MTU_DEFAULT: u32 = 1500;

fn open_links() -> Result<Links, NetworkError> {
    Links::open().map_err(kernel("open a netlink socket"))
}

fn all_links(links: &mut Links) -> Result<Vec<link::Link>, NetworkError> {
    links.list().map_err(kernel("list the network interfaces"))
}

/// Cables first, bridges last.
fn own_links(name: &instance::Name, links: &mut Links) -> Result<Vec<link::Link>, NetworkError> {
    let mut all = all_links(links)?;
    let bridges = [name.dyno_bridge(), name.build_bridge()];
    all.retain(|link| seat::is_cable(name, &link.name) || bridges.contains(&link.name));
    all.sort_by_key(|link| bridges.contains(&link.name));
    Ok(all)
}

/// As nft writes them: `table inet NAME`.
fn own_tables(name: &instance::Name, nft: &Tool) -> Result<Vec<String>, NetworkError> {
    let listed = nft.run(&["list", "tables"], "")?;
    let is_own = |line: &&str| line.split(' ').nth(2) == Some(name.as_str());
    Ok(listed.lines().filter(is_own).map(str::to_owned).collect())
}

/// Writes below /proc/sys (proc(5)); it speaks of the writer's own net namespace. A kernel without
/// IPv6 lacks its files, which is as good as switching it off.
fn write_setting(key: &str, value: &str) -> Result<(), NetworkError> {
    let path = Path::new("/proc/sys").join(key);
    match std::fs::write(&path, value) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && key.contains("ipv6") => Ok(()),
        other => other.map_err(kernel(&format!("write {}", path.display()))),
    }
}
