"""What the nodejs buildpack reads in package.json, and what it says of a bad one."""

import json
import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodejs" / "lib"))

import package  # noqa: E402

DEFAULT, KNOWN = package.known_versions()

VERSIONS = [
    # engines, version
    ({}, DEFAULT),
    ({"node": "*"}, DEFAULT),
    ({"node": KNOWN[0]}, KNOWN[0]),
    ({"node": ">=18"}, KNOWN[-1]),
    ({"node": "20.x"}, next(version for version in KNOWN if version.startswith("20."))),
]

FAULTS = [
    # text of package.json, beginning of the message
    ("{", "package.json is no valid JSON"),
    ("[" * 100_000, "package.json is no valid JSON"),
    ("[]", "package.json must hold an object"),
    ('{"engines": "22"}', '"engines" in package.json must be an object.'),
    ('{"engines": {"node": 22}}', "engines.node in package.json must be a text"),
    ('{"engines": {"node": "lts/*"}}', 'engines.node in package.json says "lts/*"'),
    ('{"engines": {"node": "21.x"}}', "engines.node in package.json asks for Node.js 21.x"),
    ('{"scripts": []}', '"scripts" in package.json must be an object.'),
]

FINGERPRINTS = [
    # package.json, first word
    ({"dependencies": {"ms": "~2.1.0"}}, "same"),
    ({"dependencies": {"own": "file:lib/own"}}, "moving"),
    ({"dependencies": {"own": "./lib/own"}}, "moving"),
    ({"workspaces": ["packages/*"]}, "moving"),
    ({"scripts": {"postinstall": "make"}}, "moving"),
    ({"scripts": {"build": "make"}}, "same"),
]


class Package(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_versions(self):
        for engines, expected in VERSIONS:
            with self.subTest(engines=engines):
                self.assertEqual(package.node({"engines": engines}), expected)

    def test_faults(self):
        for text, expected in FAULTS:
            with self.subTest(text=text[:40]), self.assertRaises(package.Fault) as raised:
                (self.folder / "package.json").write_text(text)
                package.node(package.read(self.folder))
            self.assertTrue(raised.exception.args[0].startswith(expected), raised.exception.args)

    def test_fingerprints(self):
        for content, expected in FINGERPRINTS:
            with self.subTest(content=content):
                self.assertEqual(package.fingerprint(content, self.folder).split()[0], expected)

    def test_the_lock_counts_and_scripts_do_not(self):
        content = {"dependencies": {"ms": "2.1.3"}}
        before = package.fingerprint(content, self.folder)
        self.assertEqual(before, package.fingerprint(content | {"scripts": {"start": "x"}}, self.folder))
        (self.folder / "package-lock.json").write_text(json.dumps({"lockfileVersion": 3}))
        self.assertNotEqual(before, package.fingerprint(content, self.folder))


if __name__ == "__main__":
    unittest.main()
