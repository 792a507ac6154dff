"""Listening and connecting with what the network offers."""

import array
import concurrent.futures
import errno
import os
import select
import socket
import struct
import threading
import time

PATIENCE_S = 1.5
IP_FREEBIND, IP_TRANSPARENT, SO_MARK, IP_PKTINFO = 15, 19, 36, 8
MSG_FASTOPEN = 0x20000000
AF_UNSPEC = 0


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def endpoint(address, port):
    """fe80::1%2 names the interface by its number."""
    if ":" not in address:
        return address, int(port)
    address, _, scope = address.partition("%")
    return address, int(port), 0, int(scope or 0)


def made(address, kind, flags):
    made = socket.socket(family(address), kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if "freebind" in flags:
        made.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    if "transparent" in flags:
        made.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    if "mark" in flags:
        made.setsockopt(socket.SOL_SOCKET, SO_MARK, 1)
    if "reuseport" in flags:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if "v6only" in flags:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if "broadcast" in flags:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if "device" in flags:
        device = next(name for _, name in socket.if_nameindex() if name != "lo")
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    return made


def own_address():
    """Of the interface to the outside; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect(("192.0.2.200", 9))
        return asking.getsockname()[0]


def variable(name):
    return os.environ.get(name, "unset")


def interfaces():
    return " ".join(str(number) for number, _ in socket.if_nameindex())


def bind(address, port, *flags):
    kind = socket.SOCK_DGRAM if "udp" in flags else socket.SOCK_STREAM
    with made(address, kind, flags) as binding:
        binding.bind(endpoint(address, port))
    return "bound"


def listen(address, port, *flags):
    """Stays, and answers each connection."""
    listening = made(address, socket.SOCK_STREAM, flags)
    listening.bind(endpoint(address, port))
    return serve(listening)


def listen_unbound(version):
    listening = socket.socket(socket.AF_INET6 if version == "6" else socket.AF_INET)
    return serve(listening)


def serve(listening):
    listening.listen(64)
    print(f"listening on {listening.getsockname()[1]}", flush=True)
    while True:
        listening.accept()[0].close()


def connect(address, port, *flags):
    kind = socket.SOCK_DGRAM if "udp" in flags else socket.SOCK_STREAM
    connecting = made(address, kind, flags)
    connecting.settimeout(PATIENCE_S)
    if "unspec" in flags:
        # Connected to oneself and let go again: the socket keeps what it was given first.
        connecting = made(address, socket.SOCK_DGRAM, flags)
        connecting.connect(("127.0.0.1", 9))
        unspec(connecting)
    if "fastopen" in flags:
        wait = struct.pack("ll", 1, 500_000)
        connecting.settimeout(None)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, wait)
        try:
            connecting.sendto(b"x", MSG_FASTOPEN, endpoint(address, port))
        except BlockingIOError:
            return "timed out"
        return "connected"
    connecting.connect(endpoint(address, port))
    return "connected"


def unspec(connected):
    """connect(2) with AF_UNSPEC, which Python has no words for."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    nobody = struct.pack("H14x", AF_UNSPEC)
    if libc.connect(connected.fileno(), nobody, len(nobody)) != 0:
        raise OSError(ctypes.get_errno(), "unspec")


def reach(port, *addresses):
    """Those that take a connection, asked all at once."""

    def asks(address):
        try:
            return connect(address, port) == "connected"
        except OSError:
            return False

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        reached = [a for a, is_reached in zip(addresses, pool.map(asks, addresses)) if is_reached]
    return " ".join(["reached", *reached]) if reached else "none"


def send(address, port, text, *flags):
    with made(address, socket.SOCK_DGRAM, flags) as sending:
        sending.sendto(text.encode(), endpoint(address, port))
    return "sent"


def send_from(source, address, port, text, way):
    """With another's address as the source: bound to it freely, or named in the message.

    An answer comes only if it was one's own after all.
    """
    with made(address, socket.SOCK_DGRAM, [way]) as sending:
        if way == "freebind":
            sending.bind((source, 0))
            sending.sendto(text.encode(), endpoint(address, port))
        else:
            packet_info = struct.pack("i4s4s", 0, socket.inet_aton(source), b"\0" * 4)
            control = [(socket.SOL_IP, IP_PKTINFO, array.array("B", packet_info))]
            sending.sendmsg([text.encode()], control, 0, endpoint(address, port))
        sending.settimeout(PATIENCE_S)
        sending.recv(100)
    return "answered"


def receive(port):
    """Stays; tells each datagram and whose it was. Joined to a group, so that it hears that, too."""
    receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiving.bind(("0.0.0.0", int(port)))
    group = socket.inet_aton("224.0.0.251") + socket.inet_aton("0.0.0.0")
    try:
        receiving.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    except OSError:
        pass
    print("ready", flush=True)
    while True:
        text, who = receiving.recvfrom(1000)
        print(f"got {text.decode()} from {who[0]}", flush=True)


def squat(count):
    """Holds as many unbound listeners as it can."""
    squatters = []
    for _ in range(int(count)):
        squatter = socket.socket()
        try:
            squatter.listen(1)
        except OSError as error:
            reason = errno.errorcode[error.errno]
            print(f"{len(squatters)} then {reason}", flush=True)
            break
        squatters.append(squatter)
    else:
        print(f"{len(squatters)} in all", flush=True)
    lowest = min((s.getsockname()[1] for s in squatters), default=0)
    print(f"lowest {lowest}", flush=True)
    threading.Event().wait()


def listen_abstract(name):
    stream = socket.socket(socket.AF_UNIX)
    stream.bind(f"\0{name}")
    datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    datagrams.bind(f"\0{name}-datagrams")
    return serve_unix(stream)


def serve_unix(stream):
    stream.listen(8)
    print("listening", flush=True)
    while True:
        stream.accept()[0].close()


def connect_abstract(name):
    with socket.socket(socket.AF_UNIX) as connecting:
        connecting.connect(f"\0{name}")
    return "connected"


def send_abstract(name):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"x", f"\0{name}-datagrams")
    return "sent"


def lists(path, address):
    """Whether a file of /proc/net tells of this address."""
    packed = socket.inet_aton(address)[::-1].hex().upper()
    return "told" if packed in open(path).read() else "untold"


def connects(address, port, count):
    """As many connections as can be had within ten seconds, held all at once."""
    waiting = select.poll()
    opened = {}
    done = 0
    deadline = time.monotonic() + 10
    for _ in range(int(count)):
        one = socket.socket()
        one.setblocking(False)
        reason = one.connect_ex((address, int(port)))
        if reason not in (0, errno.EINPROGRESS):
            break
        opened[one.fileno()] = one
        waiting.register(one, select.POLLOUT)
    while len(opened) > done and time.monotonic() < deadline:
        for number, _ in waiting.poll(500):
            waiting.unregister(number)
            done += opened[number].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    return f"connected {done}"


DEEDS = {
    deed.__name__: deed
    for deed in (
        own_address, variable, interfaces, bind, listen, listen_unbound, connect, reach, send,
        send_from, receive, squat, listen_abstract, connect_abstract, send_abstract,
        lists, connects,
    )
}
