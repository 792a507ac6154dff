"""When two builds may share an environment: what is fixed by text alone, and what is not."""

import pathlib
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "python" / "lib"))

import requirements  # noqa: E402

SAME = [
    "flask==3.1.3",
    "flask[async]>=3 ; python_version > '3.8'",
    "# -e ../elsewhere",
    "-r other.txt",
    "--requirement=other.txt",
    "-c missing.txt",
    "--index-url https://pypi.example/simple",
    "pkg @ https://example.com/pkg-1.0-py3-none-any.whl",
    "pkg @ git+https://example.com/pkg@0123456789abcdef0123456789abcdef01234567",
    "flask==3.1.3 \\\n    --hash=sha256:00",
]

MOVING = [
    "-e .",
    "--editable=src/pkg",
    ".",
    "./pkg",
    "/opt/pkg",
    "pkg @ file:///opt/pkg",
    "wheels/pkg-1.0-py3-none-any.whl",
    "git+https://example.com/pkg",
    "pkg @ git+https://example.com/pkg@main",
    "-f wheels",
    "-r https://example.com/requirements.txt",
    "-r moving.txt",
    "pkg @ https://${TOKEN}@example.com/pkg.tar.gz",
]


class Requirements(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = pathlib.Path(self.folder.name) / "requirements.txt"
        self.write("other.txt", "click==8.5.1\n")
        self.write("moving.txt", "-e .\n")

    def write(self, name, text):
        (self.path.parent / name).write_text(text)

    def test_same(self):
        for text in SAME:
            with self.subTest(text=text):
                self.path.write_text(text + "\n")
                self.assertEqual(len(requirements.same(self.path)), 64)

    def test_moving(self):
        for text in MOVING:
            with self.subTest(text=text), self.assertRaises(requirements.Moving):
                self.path.write_text(text + "\n")
                requirements.same(self.path)

    def test_included_files_count(self):
        self.path.write_text("-r other.txt\n")
        before = requirements.same(self.path)
        self.write("other.txt", "click==8.5.0\n")
        self.assertNotEqual(before, requirements.same(self.path))

    def test_a_circle_ends(self):
        self.path.write_text("-r other.txt\n")
        self.write("other.txt", "-r requirements.txt\n")
        requirements.same(self.path)


if __name__ == "__main__":
    unittest.main()
