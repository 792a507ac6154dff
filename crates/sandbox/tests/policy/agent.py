"""A process of a dyno: does what it is told, line by line, and says what came of it.

In: a JSON text with Python code, an expression or statements. Out: a JSON text, the value, `ok`,
the name of the error, or `timeout`.
"""
import ctypes, errno, json, os, resource, select, socket, struct, sys

PATIENCE = 0.25
kept = []


def keep(thing):
    kept.append(thing)
    return thing


def sock(kind=socket.SOCK_STREAM, family=socket.AF_INET):
    s = keep(socket.socket(family, kind))
    s.settimeout(PATIENCE)
    return s


def tcp():
    return sock()


def tcp6():
    return sock(family=socket.AF_INET6)


def udp():
    return sock(socket.SOCK_DGRAM)


def udp6():
    return sock(socket.SOCK_DGRAM, socket.AF_INET6)


def receive(address, port):
    s = udp6() if ":" in address else udp()
    s.bind((address, port))
    return s


def listen(address, port, backlog=128):
    """A server; the port that the program believes to have."""
    s = tcp6() if ":" in address else tcp()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
    s.listen(backlog)
    return s


def unbound(family=socket.AF_INET):
    """listen() without bind(): the port that the kernel gave it."""
    s = sock(family=family)
    s.listen(16)
    return s.getsockname()[1]


def connect(address, port):
    s = tcp6() if ":" in address else tcp()
    s.connect((address, port))
    return s


def unspecified(s):
    """connect() with AF_UNSPEC: an unconnected socket again."""
    name = struct.pack("H14x", socket.AF_UNSPEC)
    if ctypes.CDLL(None, use_errno=True).connect(s.fileno(), name, len(name)) < 0:
        raise OSError(ctypes.get_errno(), "connect")


def reached(targets):
    """Those of (address, port) that take a connection, asked all at once."""
    waiting = {}
    for target in targets:
        s = socket.socket()
        s.setblocking(False)
        try:
            failed = s.connect_ex(tuple(target))
        except OSError:
            continue
        if failed == errno.EINPROGRESS:
            waiting[s] = target
        else:
            s.close()
            if failed == 0:
                waiting[s] = target
    found = []
    while waiting:
        _, ready, _ = select.select([], list(waiting), [], PATIENCE)
        if not ready:
            break
        for s in ready:
            target = waiting.pop(s)
            if s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(list(target))
            s.close()
    for s in waiting:
        s.close()
    return json.dumps(sorted(found))


def echo_once(server, text=b"hello"):
    """Takes one connection, answers, says who it was."""
    s, peer = server.accept()
    s.sendall(text)
    s.close()
    return peer[0]


def talk(address, port):
    s = connect(address, port)
    return s.recv(100).decode()


def bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(321, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return result


def detach(pin):
    """What only the host's root can do: takes a program off its cgroup."""
    path = ctypes.create_string_buffer(pin.encode())
    link = bpf(7, struct.pack("QII", ctypes.addressof(path), 0, 0))
    bpf(34, struct.pack("I", link))
    os.close(link)


def answer(code):
    try:
        try:
            value = eval(code, globals())
        except SyntaxError:
            exec(code, globals())
            value = "ok"
        return value if isinstance(value, str) else "ok" if value is None else repr(value)
    except TimeoutError:
        return "timeout"
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))


if __name__ == "__main__":
    if "dyno" in sys.argv:
        os.seteuid(1000)  # and so without capabilities
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
