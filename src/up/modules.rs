//! Kernel modules that sandboxes need, loaded at the start of the node.
//!
//! Most would come by themselves when they are first used. Loaded early they are there also on a
//! machine that forbids more of them once it is up (`kernel.modules_disabled`), and `paas doctor`
//! sees what it looks for.

use std::process::Command;

/// Root file systems and volumes; cables and bridges; rules on the host, and iptables' inside.
#[rustfmt::skip]
const MODULES: [&str; 21] = [
    "overlay", "ext4", "loop",
    "veth", "bridge",
    "nf_tables", "nf_conntrack", "nf_nat", "nft_chain_nat", "nft_ct", "nft_fib_inet", "nft_limit",
    "nft_masq", "nft_meta_bridge", "nft_nat", "nft_reject_inet",
    "nft_compat", "xt_comment", "xt_conntrack", "xt_multiport", "xt_tcpudp",
];

/// Loads them, as far as they are modules here. What is really missing is said by whoever needs
/// it, and by `paas doctor`: a kernel may have all of it built in, and no `modprobe` beside it.
pub(super) fn load() {
    let asked = Command::new("modprobe")
        .args(["--all", "--quiet"])
        .args(MODULES)
        .output();
    match asked {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            tracing::debug!(said = said.trim(), "some modules are not to be had");
        }
        Err(error) => tracing::debug!(%error, "cannot ask for modules"),
    }
}
