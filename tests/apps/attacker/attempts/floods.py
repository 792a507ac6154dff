"""Taking as much as there is to be had of one thing."""

import errno
import os
import select
import signal
import socket
import sys
import threading

from attempts.calls import call

PER_FLOOD_MAX = 200_000
BLOCK = bytes(64 * 1024)


def until_refused(take):
    """Takes again and again; keeps all of it, and says how it ended."""
    kept = []
    for _ in range(PER_FLOOD_MAX):
        try:
            kept.append(take(len(kept)))
        except OSError as error:
            return kept, f"{errno.errorcode[error.errno]} after {len(kept)}"
    return kept, f"no end after {len(kept)}"


def child(_):
    pid = os.fork()
    if pid == 0:
        signal.pause()
    return pid


def fork_bomb():
    children, end = until_refused(child)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return end


def thread_bomb():
    stop = threading.Event()
    count = 0
    try:
        for count in range(PER_FLOOD_MAX):
            threading.Thread(target=stop.wait, daemon=True).start()
    except RuntimeError:
        # Python's word for EAGAIN of pthread_create(3).
        return f"EAGAIN after {count}"
    finally:
        stop.set()
    return f"no end after {count}"


def eat(megabytes):
    return f"ate {len(bytearray(int(megabytes) << 20)) >> 20}"


def small_file(folder):
    def make(number):
        with open(os.path.join(folder, f"small-{number}"), "w") as file:
            return file.write("x")

    return make


def hard_link(folder):
    origin = os.path.join(folder, "origin")
    open(origin, "w").close()
    return lambda number: os.link(origin, os.path.join(folder, f"link-{number}"))


def folders(folder):
    return lambda number: os.mkdir(os.path.join(folder, f"folder-{number}"))


def block(folder, is_kept):
    """Blocks of one file; a file that is deleted and open is as large as any."""
    path = os.path.join(folder, "blocks")
    file = open(path, "wb", buffering=0)
    if not is_kept:
        os.unlink(path)
    return lambda _: file.write(BLOCK)


def sparse(folder):
    """A file that says it has a terabyte, and blocks far out in it."""
    file = open(os.path.join(folder, "sparse"), "wb", buffering=0)
    file.truncate(1 << 40)
    return lambda number: os.pwrite(file.fileno(), BLOCK, number << 24)


def fill(kind, folder):
    takes = {
        "small": lambda: small_file(folder), "links": lambda: hard_link(folder),
        "folders": lambda: folders(folder), "blocks": lambda: block(folder, True),
        "deleted": lambda: block(folder, False), "sparse": lambda: sparse(folder),
    }
    return until_refused(takes[kind]())[1]


def semaphores(_):
    return call("semget", "0", "1", "0o1600")


def queue(number):
    return call("mq_open", f"queue-{number}", "0o302", "0o600", "0")


def timer(_):
    return call("timer_create", "1", "0", "room")


def watch(_):
    # inotify_init1(2); Python has no words for it.
    return call("inotify_init1", "0")


def key(number):
    return call("add_key", "user", f"key-{number}", "x", "1", "-3")


TAKES = {
    "files": lambda _: os.open("/dev/null", os.O_RDONLY), "pipes": lambda _: os.pipe(),
    "epoll": lambda _: select.epoll(), "sockets": lambda _: socket.socketpair(),
    "semaphores": semaphores, "queues": queue, "timers": timer, "inotify": watch, "keys": key,
}


def exhaust(kind):
    """Stays, and keeps what it took."""
    kept, end = until_refused(TAKES[kind])
    # All descriptors may be taken: standard output is open already.
    print(end, flush=True)
    signal.pause()
    return kept


def one(kind):
    TAKES[kind](0)
    return "made"


def shout(megabytes, kind):
    """Bytes without a line's end and no text, or nothing but ends of lines."""
    noise = os.urandom(1 << 20).replace(b"\n", b"\0") if kind == "binary" else b"\n" * (1 << 20)
    for _ in range(int(megabytes)):
        sys.stdout.buffer.write(noise)
    sys.stdout.buffer.flush()
    return "\nshouted"


def family(_):
    """A grandchild in a session of its own that stopped itself, and a parent who never listens."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            signal.pause()
    print("the family is complete", flush=True)
    while True:
        signal.pause()


DEEDS = {
    "fork_bomb": fork_bomb, "thread_bomb": thread_bomb, "eat": eat, "fill": fill,
    "exhaust": exhaust, "one": one, "shout": shout, "family": family,
}
