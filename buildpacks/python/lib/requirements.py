"""Tells whether two builds have the same requirements: `requirements.py FILE`.

Prints `same HEX`, a digest over the file and all that it includes, or `moving REASON` when equal
text does not mean equal packages (the app's own folders, a branch, a file at an address).
"""

import hashlib
import pathlib
import re
import sys

INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]*(?P<file>\S+)")
MOVING = [
    (re.compile(r"(?:-e|--editable)[ =]*\S"), "an editable requirement"),
    (re.compile(r"(?:-f|--find-links)[ =]*\S"), "a folder of packages"),
    (re.compile(r"(?:\S+\s*@\s*)?(?:git|hg|svn|bzr)\+(?!\S*@[0-9a-f]{40}\b)"), "a branch"),
    (re.compile(r"\S+\s*@\s*file:|file:"), "a folder"),
    (re.compile(r"[./]"), "a folder"),
    (re.compile(r"\S+\.(?:whl|zip|tar\.gz)\s*(?:;|$)"), "a file of the app"),
    (re.compile(r".*\$\{"), "a config var"),
]


class Moving(Exception):
    """The same text may stand for other packages tomorrow."""


def lines_of(path):
    text = path.read_text(encoding="utf-8-sig", errors="replace").replace("\\\n", " ")
    return [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]


def add(path, digest, seen):
    if path in seen or not path.is_file():
        return
    seen.add(path)
    digest.update(path.read_bytes() + b"\0")
    for line in lines_of(path):
        included = INCLUDE.match(line)
        if included and "://" in included["file"]:
            raise Moving(f"{included['file']} in {path.name}")
        if included:
            add(path.parent / included["file"], digest, seen)
            continue
        for pattern, what in MOVING:
            if pattern.match(line):
                raise Moving(f"{what} in {path.name}")


def same(path):
    digest = hashlib.sha256()
    add(path, digest, set())
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        print("same", same(pathlib.Path(sys.argv[1])))
    except Moving as reason:
        print("moving", reason)
