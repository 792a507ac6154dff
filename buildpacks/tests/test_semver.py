"""python3 -m unittest discover -s buildpacks/tests: the ranges that engines.node may hold."""

import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodejs" / "lib"))

import semver  # noqa: E402

CASES = [
    # range, versions that lie in it, versions that do not
    ("20.20.2", ["20.20.2"], ["20.20.1", "20.20.3"]),
    ("v20.20.2", ["20.20.2"], ["20.20.3"]),
    ("=20.20.2", ["20.20.2"], ["20.20.3"]),
    ("20", ["20.0.0", "20.99.1"], ["19.9.9", "21.0.0"]),
    ("20.x", ["20.0.0", "20.99.1"], ["19.9.9", "21.0.0"]),
    ("20.x.x", ["20.0.0", "20.99.1"], ["21.0.0"]),
    ("20.20.x", ["20.20.0", "20.20.9"], ["20.21.0"]),
    ("20.20", ["20.20.0", "20.20.9"], ["20.21.0", "20.19.9"]),
    ("*", ["0.0.1", "99.0.0"], []),
    ("x", ["22.0.0"], []),
    ("", ["22.0.0"], []),
    ("latest", ["22.0.0"], []),
    (">=18", ["18.0.0", "24.21.0"], ["17.9.9"]),
    (">= 18.20.8", ["18.20.8", "24.21.0"], ["18.20.7"]),
    (">18", ["19.0.0"], ["18.20.8"]),
    (">18.1", ["18.2.0"], ["18.1.9"]),
    ("<20", ["19.9.9"], ["20.0.0"]),
    ("<=20", ["20.99.0"], ["21.0.0"]),
    ("<=20.20.2", ["20.20.2"], ["20.20.3"]),
    (">=18 <21", ["18.0.0", "20.20.2"], ["21.0.0", "17.0.0"]),
    (">=18.0.0 <21.0.0", ["20.20.2"], ["21.0.0"]),
    ("^20.1.0", ["20.1.0", "20.20.2"], ["20.0.9", "21.0.0"]),
    ("^20", ["20.0.0"], ["21.0.0"]),
    ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0"]),
    ("^0.0.3", ["0.0.3"], ["0.0.4"]),
    ("~20.20.1", ["20.20.1", "20.20.2"], ["20.21.0", "20.20.0"]),
    ("~20.20", ["20.20.0"], ["20.21.0"]),
    ("~20", ["20.20.2"], ["21.0.0"]),
    ("~> 20.20", ["20.20.5"], ["20.21.0"]),
    ("18 || 20", ["18.20.8", "20.20.2"], ["19.0.0", "22.0.0"]),
    ("^18.17.0||>=20.5.0", ["18.20.8", "22.0.0"], ["18.16.0", "20.4.0"]),
    ("18 - 20", ["18.0.0", "20.20.2"], ["21.0.0", "17.9.9"]),
    ("18.1.0 - 20.20.2", ["20.20.2"], ["20.20.3", "18.0.9"]),
]

UNREADABLE = ["lts/*", "lts", "node", "20.20.2-rc.1", "20,", ">=", "a.b.c", "^^20", "20..1"]


class Semver(unittest.TestCase):
    def test_matches(self):
        for text, inside, outside in CASES:
            for version in inside + outside:
                with self.subTest(range=text, version=version):
                    found = semver.matches(semver.parse_version(version), text)
                    self.assertEqual(found, version in inside)

    def test_refuses_what_it_does_not_know(self):
        for text in UNREADABLE:
            with self.subTest(range=text), self.assertRaises(semver.Unreadable):
                semver.matches((20, 0, 0), text)


if __name__ == "__main__":
    unittest.main()
