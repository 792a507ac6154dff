"""Clients inside the dyno: each line says what was reached, or why not."""

import http.client
import os
import socket
import threading


def answered(family, address, asked):
    """A listener of one's own that nobody else may see, and a client of it."""
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()
        client = socket.create_connection((asked, listener.getsockname()[1]), timeout=3)
        there, who = listener.accept()
        client.sendall(b"x")
        there.recv(1)
        return f"{client.getpeername()[0]} answers {who[0]}"


def echoed(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as echo, socket.socket(family, socket.SOCK_DGRAM) as asking:
        echo.bind((address, 0))
        asking.settimeout(3)
        threading.Thread(target=lambda: echo.sendto(*echo.recvfrom(9))).start()
        asking.sendto(b"x", (address, echo.getsockname()[1]))
        return f"echo from {asking.recvfrom(9)[1][0]}"


def own_port(address):
    """The server's own PORT; asked for a page that needs nobody else."""
    asking = http.client.HTTPConnection(address, int(os.environ["PORT"]), timeout=3)
    asking.request("GET", "/")
    return f"{asking.getresponse().status}"


def name(host):
    return "found" if socket.getaddrinfo(host, 80, proto=socket.IPPROTO_TCP) else "nothing"


TRIES = {
    "tcp 127.0.0.1": lambda: answered(socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    "tcp ::1": lambda: answered(socket.AF_INET6, "::1", "::1"),
    "tcp localhost": lambda: answered(socket.AF_INET, "127.0.0.1", "localhost"),
    "tcp 0.0.0.0": lambda: answered(socket.AF_INET, "0.0.0.0", "127.0.0.1"),
    "tcp ::": lambda: answered(socket.AF_INET6, "::", "::1"),
    "udp 127.0.0.1": lambda: echoed(socket.AF_INET, "127.0.0.1"),
    "udp ::1": lambda: echoed(socket.AF_INET6, "::1"),
    "port 127.0.0.1": lambda: own_port("127.0.0.1"),
    "port ::1": lambda: own_port("::1"),
    "port localhost": lambda: own_port("localhost"),
    "dns localhost": lambda: name("localhost"),
    "dns outside": lambda: name("deb.debian.org"),
}


def report():
    lines = []
    for what, attempt in TRIES.items():
        try:
            lines.append(f"{what}: {attempt()}")
        except OSError as error:
            lines.append(f"{what}: {error}")
    return "\n".join(lines) + "\n"
