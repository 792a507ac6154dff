"""Reading, writing, climbing; what one's own world looks like."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import subprocess

# Writing to it comes to nothing; it lies over what is masked.
NULL = os.makedev(1, 3)
SET_ID = stat.S_ISUID | stat.S_ISGID


def is_null(path):
    found = os.stat(path)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == NULL


def read(path):
    if is_null(path):
        return "masked"
    with open(path, "rb") as file:
        return f"read {len(file.read(4096))}"


def write(path, text="x"):
    if os.path.exists(path) and is_null(path):
        return "masked"
    with open(path, "w") as file:
        file.write(text)
    return "wrote"


def open_to_write(path):
    os.close(os.open(path, os.O_WRONLY))
    return "opened"


def writable(*roots):
    """Files below that take what is in them already, at most five."""
    found = []
    for root in roots:
        for folder, _, names in os.walk(root):
            found += [path for name in names if takes_itself(path := os.path.join(folder, name))]
    return " ".join(found[:5]) or "none"


def takes_itself(path):
    """Some open for everybody and check only the writing."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        os.write(file, open(path, "rb").read(4096))
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def join_cgroup():
    """Its own pid into every cgroup there is to see."""
    joined = []
    for folder, _, names in os.walk("/sys/fs/cgroup"):
        for name in {"cgroup.procs", "tasks"} & set(names):
            try:
                write(os.path.join(folder, name), str(os.getpid()))
                joined.append(folder)
            except OSError:
                pass
    return " ".join(joined) or "none"


def make(path):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    return "made"


@contextlib.contextmanager
def kept_open(path, at=None):
    kept = os.open(path, os.O_PATH | os.O_DIRECTORY, dir_fd=at)
    try:
        yield kept
    finally:
        os.close(kept)


def climb():
    """From a kept descriptor of the root upwards."""
    with kept_open("/") as root, kept_open("../../../../../../..", root) as above:
        same = os.path.sameopenfile(root, above)
        return "stays" if same else f"out: {os.listdir(above)}"


def escape():
    """chroot(2) into a folder, and out of it from the one that was open before."""
    os.makedirs("/tmp/below", exist_ok=True)
    with kept_open("/") as kept:
        os.chroot("/tmp/below")
        os.fchdir(kept)
        os.chroot("../" * 16)
        return f"out: {os.listdir('/')}"


def set_id_programs():
    """Programs that would give more than their caller has."""
    found = []
    for top in ("/usr", "/bin", "/sbin", "/app", "/layers", "/opt"):
        for folder, _, names in os.walk(top):
            found += [path for name in names if gives(path := os.path.join(folder, name))]
    return " ".join(found[:5]) or "none"


def gives(path):
    try:
        if stat.S_ISREG(os.lstat(path).st_mode) and os.lstat(path).st_mode & SET_ID:
            return True
        return bool(os.getxattr(path, "security.capability", follow_symlinks=False))
    except OSError:
        return False


def set_id_copy():
    """A set-id program of one's own; it runs, and as whom?"""
    shutil.copy("/usr/bin/id", "/tmp/id")
    os.chmod("/tmp/id", 0o6755)
    ran = subprocess.run(["/tmp/id", "-u"], capture_output=True, text=True, check=True)
    return f"as {ran.stdout.strip()}"


def give_capability():
    shutil.copy("/usr/bin/id", "/tmp/capable")
    os.setxattr("/tmp/capable", "security.capability", bytes.fromhex("0100000200040000" + "00" * 12))
    return "given"


def capabilities():
    status = dict(line.split(":\t") for line in open("/proc/self/status").read().splitlines())
    held = [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
    has_any = any(int(word, 16) for word in held)
    return f"{'some' if has_any else 'none'}, no_new_privs {status['NoNewPrivs'].strip()}"


def processes():
    """Others than this pid namespace's own."""
    own = os.readlink("/proc/self/ns/pid")
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    others = [pid for pid in pids if namespace(pid) not in (own, None)]
    return f"others {' '.join(others)}" if others else "own only"


def namespace(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except FileNotFoundError:
        return None


def open_files():
    """All but the one by which they are listed; what is more than three with what it is."""
    listed = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    numbers = sorted(int(name) for name in os.listdir(listed))
    os.close(listed)
    return " ".join(name_of(number) for number in numbers if is_open(number))


def is_open(number):
    return os.path.lexists(f"/proc/self/fd/{number}")


def name_of(number):
    return str(number) if number < 3 else f"{number}={os.readlink(f'/proc/self/fd/{number}')}"


def working_folder():
    return os.getcwd()


def checksum(*paths):
    digest = hashlib.sha256()
    for path in paths:
        digest.update(open(path, "rb").read())
    return digest.hexdigest()


def plant(folder, *names):
    """What a build may leave for whoever packs and unpacks it."""
    deeds = {
        "absolute": lambda path: os.symlink("/etc/shadow", path),
        "upwards": lambda path: os.symlink("../../../../../../../etc/shadow", path),
        ".wh..wh..opq": lambda path: open(path, "w").close(),
        ".wh.server": lambda path: open(path, "w").close(),
        "opaque": lambda path: marked(path, "trusted.overlay.opaque"),
        "redirected": lambda path: marked(path, "trusted.overlay.redirect", b"/etc"),
        "user-opaque": lambda path: marked(path, "user.overlay.opaque"),
        "set-id": lambda path: (shutil.copy("/usr/bin/id", path), os.chmod(path, 0o6755)),
        "fifo": os.mkfifo,
        "whiteout": lambda path: os.mknod(path, 0o020644, 0),
        "disk": lambda path: os.mknod(path, 0o060644, os.makedev(7, 0)),
    }
    os.makedirs(os.path.join(folder, "planted"), exist_ok=True)
    for name in names:
        deeds[name](os.path.join(folder, "planted", name))
    return "planted"


def marked(path, name, value=b"y"):
    os.makedirs(path, exist_ok=True)
    os.setxattr(path, name, value)


def planted(folder):
    """What arrived of it that is neither file, folder nor link, has a set-id bit, or leads out."""
    found = []
    for at, folders, names in os.walk(os.path.join(folder, "planted")):
        for name in folders + names:
            mode = os.lstat(path := os.path.join(at, name)).st_mode
            is_plain = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
            if not is_plain or (mode & SET_ID and not stat.S_ISLNK(mode)) or is_readable_link(path):
                found.append(name)
    return " ".join(found) or "nothing"


def is_readable_link(path):
    return os.path.islink(path) and os.access(path, os.R_OK)


DEEDS = {
    "read": read, "write": write, "open_to_write": open_to_write, "writable": writable,
    "join_cgroup": join_cgroup, "make": make, "climb": climb, "escape": escape,
    "set_id_programs": set_id_programs, "set_id_copy": set_id_copy,
    "give_capability": give_capability, "capabilities": capabilities, "processes": processes,
    "open_files": open_files, "working_folder": working_folder, "checksum": checksum,
    "plant": plant, "planted": planted,
}
