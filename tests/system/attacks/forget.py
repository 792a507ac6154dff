"""forget.py MAP CGROUP: removes a cgroup's entry from a pinned map, as root; bpf(2) by hand."""

import ctypes
import os
import platform
import struct
import sys

BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
BPF_MAP_DELETE_ELEM, BPF_OBJ_GET = 3, 7

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    room = ctypes.create_string_buffer(attributes, 128)
    result = libc.syscall(ctypes.c_long(BPF), ctypes.c_int(command), room, ctypes.c_uint(128))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def main():
    path = ctypes.create_string_buffer(sys.argv[1].encode())
    pinned = bpf(BPF_OBJ_GET, struct.pack("=Q", ctypes.addressof(path)))
    # A v2 cgroup's id is the inode of its folder.
    key = ctypes.create_string_buffer(struct.pack("=Q", os.stat(sys.argv[2]).st_ino), 8)
    bpf(BPF_MAP_DELETE_ELEM, struct.pack("=I4xQ", pinned, ctypes.addressof(key)))


main()
