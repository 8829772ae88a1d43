"""Code, docs and output are in plain English: these words and forms do not occur."""

import re
import subprocess

from tests.conftest import ROOT

EVERYWHERE = re.compile(r"\b[Nn]obody\b|\b[Ww]hoever\b|\bdearest\b|\b[Mm]end(ed|s)?\b")
CODE = re.compile(r"# of (a|an|the|it) |\b(MOST|LEAST|FEWEST|LONGEST)_")
ALLOWED = {
    "tests/test_language.py",  # the patterns themselves
    "CHANGELOG.md",  # entries of earlier versions
}
NAME = re.compile(r"""[~/"]nobody[\w-]*""")  # a name in the input of a test: a user or a folder that does not exist
TEXT = ("*.py", "*.md", "*.html", "*.yaml", "*.yml", "*.toml", "Makefile", "docker/Dockerfile", "docker/entrypoints/*")


def matches(pattern: re.Pattern[str], *files: str) -> list[str]:
    """`file:line: text` of every line of the tracked files that has the pattern."""
    names = subprocess.run(["git", "ls-files", *files], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert names
    return [
        f"{name}:{number}: {line.strip()}"
        for name in names
        if name not in ALLOWED and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(NAME.sub("", line))
    ]


def test_no_house_word_is_in_code_or_docs() -> None:
    lines = matches(EVERYWHERE, *TEXT)
    assert not lines, "\n".join(lines)


def test_comments_stand_alone_and_limits_are_named_max_or_min() -> None:
    lines = matches(CODE, "*.py", "*.yaml", "docker/Dockerfile", "docker/entrypoints/*")
    assert not lines, "\n".join(lines)
