"""The pages say what the code does."""

import re

import pytest

from lightning_modules.config import TrialConfig
from sweeps.spec.sweep import SweepSpec, _paths
from tests.conftest import ROOT

FORMATS = (ROOT / "docs/formats.md").read_text()


@pytest.mark.parametrize("path", _paths(TrialConfig))
def test_every_field_of_a_trial_is_documented_with_its_default(path: str) -> None:
    assert f"`{path}`" in FORMATS


@pytest.mark.parametrize("name", list(SweepSpec.model_fields))
def test_every_section_of_a_sweep_is_documented(name: str) -> None:
    assert f"`{name}" in FORMATS


def test_every_file_of_the_layout_exists() -> None:
    layout = (ROOT / "README.md").read_text().split("## Layout")[1].split("```")[1]
    folder = ""
    for line in layout.splitlines():
        if line and not line.startswith(" "):
            folder = line.split()[0]
        inner = re.match(r"  ([a-z_]+/) ", line)
        for name in re.findall(r"(?<![\w<])([a-z_]+\.py)\b", line):
            assert (ROOT / folder / (inner[1] if inner else "") / name).exists(), f"{folder}{name}"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docker").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
