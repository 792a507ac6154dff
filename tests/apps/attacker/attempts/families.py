"""Socket families and protocols; messages to the kernel's network configuration."""

import socket
import struct

FAMILIES = {
    "inet": 2, "inet6": 10, "packet": 17, "netlink": 16, "key": 15, "can": 29, "tipc": 30,
    "bluetooth": 31, "alg": 38, "vsock": 40, "xdp": 44,
}
KINDS = {"stream": 1, "datagram": 2, "raw": 3, "seqpacket": 5}
PROTOCOLS = {
    "0": 0, "icmp": 1, "icmp6": 58, "tcp": 6, "udp": 17, "sctp": 132, "raw": 255, "mptcp": 262,
    "route": 0, "sock-diag": 4, "audit": 9, "netfilter": 12, "uevent": 15,
}
RTM_SETLINK, NLM_F_REQUEST, NLM_F_ACK = 19, 1, 4


def a_socket(family, kind, protocol):
    socket.socket(FAMILIES[family], KINDS[kind], PROTOCOLS[protocol]).close()
    return "made"


def take_down(interface):
    """What `ip link set INTERFACE down` says to the kernel."""
    index = int(socket.if_nametoindex(interface)) if interface != "first" else max(
        number for number, _ in socket.if_nameindex()
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asking:
        link = struct.pack("BxHiII", 0, 0, index, 0, 1)
        head = struct.pack("IHHII", 16 + len(link), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0)
        asking.send(head + link)
        error = struct.unpack_from("i", asking.recv(4096), 16)[0]
    if error:
        raise OSError(-error, "netlink")
    return "down"


DEEDS = {"socket": a_socket, "take_down": take_down}
