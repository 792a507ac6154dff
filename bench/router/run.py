#!/usr/bin/env python3
"""Measures the router against nginx: CPU per request of the proxy itself, as a ratio in one run.

One dyno (nginx that returns 1 KB), and in front of it in turn nginx as a proxy and our router, one
worker each, keep-alive on both sides, log on. wrk loads them in alternating rounds, and the CPU time
of each proxy's own processes is read from /proc before and after. Ratios, not times, are what two
busy cores can tell.

    bench/router/run.py [--rounds 5] [--seconds 2] [--router target/release/paas] [--tools DIR]

Needs Debian's wrk and nginx (apt-get install wrk nginx-light), on the PATH or below DIR. Takes
about rounds x seconds x 2 + 5 s. Everything is on loopback and in a temporary folder.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

APP = "00000000-0000-4000-8000-000000000001"
DYNO = "00000000-0000-4000-8000-0000000000d1"
HOST = "hello.paas.test"
TICK = os.sysconf("SC_CLK_TCK")


def listener():
    return socket.create_server(("127.0.0.1", 0), backlog=1024)


def free_port():
    with listener() as probe:
        return probe.getsockname()[1]


def nginx(program, folder, name, http):
    """Starts an nginx with one worker; returns its process."""
    home = folder / name
    home.mkdir()
    config = home / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ client_body_temp_path {home}/body; proxy_temp_path {home}/proxy;\n"
        f"fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n"
        f"keepalive_requests 100000000;\n{http}\n}}\n"
    )
    return subprocess.Popen([program, "-p", home, "-c", config, "-e", home / "error.log"])


def dyno(program, folder, port):
    body = "x" * 1024
    server = f"listen 127.0.0.1:{port}; location / {{ return 200 '{body}'; }}"
    return nginx(program, folder, "dyno", f"access_log off; server {{ {server} }}")


def peer(program, folder, port, dyno_port):
    return nginx(
        program,
        folder,
        "peer",
        f"access_log {folder}/peer/access.log combined buffer=64k flush=1s;\n"
        f"upstream dyno {{ server 127.0.0.1:{dyno_port}; keepalive 64;"
        f" keepalive_requests 100000000; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=1024; location / {{\n"
        f"proxy_pass http://dyno; proxy_http_version 1.1; proxy_set_header Connection '';\n"
        f"proxy_set_header Host $host; proxy_set_header X-Forwarded-For"
        f" $proxy_add_x_forwarded_for; proxy_set_header X-Request-Id $request_id; }} }}",
    )


def router(program, folder, http, dyno_port):
    """Starts the router as `paas up` does: listeners handed over, routes from its disk copy."""
    data = folder / "data"
    (data / "node/router").mkdir(parents=True)
    instance = "pt" + os.urandom(3).hex()  # No api listens there: the disk copy serves.
    (data / "config.toml").write_text(
        f'instance = "{instance}"\ndomain = "paas.test"\n[router]\nthreads = 1\n'
    )
    up = {"kind": "up", "address": f"127.0.0.1:{dyno_port}"}
    endpoint = {"dyno": DYNO, "name": "web.1", "state": up}
    state = {"kind": "web", "endpoints": [endpoint]}
    route = {"app": APP, "app_name": "hello", "hosts": [HOST], "state": state}
    (data / "node/router/table.json").write_text(json.dumps([route]))

    with listener() as loopback:
        # The descriptors must be 3 and 4, and the process itself the one they are meant for.
        script = 'exec 3<&"$1" 4<&"$2"; shift 2; LISTEN_PID=$$ exec "$@"'
        descriptors = (http.fileno(), loopback.fileno())
        environment = dict(os.environ, LISTEN_FDS="2", LISTEN_FDNAMES="http:loopback", RUST_LOG="error")
        return subprocess.Popen(
            ["bash", "-c", script, "router", *map(str, descriptors), *program, "--data", data],
            env=environment,
            pass_fds=descriptors,
        )


def cpu_seconds(pid):
    """User and system time of a process and of its children that live."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    user = system = 0
    for process in [pid, *children]:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        user += int(fields[11])
        system += int(fields[12])
    return user / TICK, system / TICK


def load(wrk, port, seconds):
    command = [*wrk, "-t1", "-c64", f"-d{seconds}s", "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise SystemExit(f"the run is worth nothing:\n{out}")
    return int(re.search(r"(\d+) requests in", out)[1])


def wait_for(port):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as probe:
            probe.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            if probe.recv(12) == b"HTTP/1.1 200":
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing answers on port {port}")


def tool(name, folder):
    """A program on the PATH or in an unpacked Debian package."""
    for path in (folder or pathlib.Path("/nonexistent")).rglob(name):
        if os.access(path, os.X_OK) and path.is_file():
            return str(path)
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    return path or exit(f"{name} is missing: apt-get install wrk nginx-light")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=2)
    arguments.add_argument("--router", default="target/release/paas role router")
    arguments.add_argument("--tools", type=pathlib.Path)
    given = arguments.parse_args()
    program = tool("nginx", given.tools)
    wrk = [tool("wrk", given.tools)]
    libraries = {str(path.parent) for path in given.tools.rglob("libluajit*.so*")} if given.tools else ()
    if libraries:
        wrk = ["env", "LD_LIBRARY_PATH=" + ":".join(libraries), *wrk]

    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paas-bench-")))
        folder.chmod(0o755)

        def run(process):
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        dyno_port, peer_port = free_port(), free_port()
        http = stack.enter_context(listener())
        run(dyno(program, folder, dyno_port))
        proxies = {
            "nginx": (run(peer(program, folder, peer_port, dyno_port)), peer_port),
            "router": (
                run(router(given.router.split(), folder, http, dyno_port)),
                http.getsockname()[1],
            ),
        }
        for _, port in proxies.values():
            wait_for(port)
            load(wrk, port, 1)
        costs = {name: [] for name in proxies}
        for number in range(given.rounds):
            for name, (process, port) in proxies.items():
                before = cpu_seconds(process.pid)
                requests = load(wrk, port, given.seconds)
                user, system = (b - a for a, b in zip(before, cpu_seconds(process.pid)))
                cost = [1e6 * part / requests for part in (user + system, user)]
                costs[name].append(cost)
                print(
                    f"round {number + 1} {name:7} {requests:8} requests"
                    f" {cost[0]:6.1f} us/request, user {cost[1]:5.1f} us"
                )
        ratios = sorted(ours[0] / theirs[0] for ours, theirs in zip(costs["router"], costs["nginx"]))
        print(
            f"router / nginx, CPU per request, 1 KB keep-alive, log on:"
            f" median {statistics.median(ratios):.2f}, lowest {ratios[0]:.2f}, highest {ratios[-1]:.2f}"
        )


main()
