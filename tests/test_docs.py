"""The pages say what the code does."""

import re
from pathlib import Path

import pytest

from lightning_modules.config import TrialConfig
from sweeps.spec.sweep import SweepSpec, _paths
from tests.conftest import ROOT

PACKAGES = ("rrm", "lightning_modules", "sweeps", "analysis")
README, FORMATS = (ROOT / "README.md").read_text(), (ROOT / "docs/formats.md").read_text()
# A path from the root of the repository, where no other path or address comes before it.
REPOSITORY_PATH = re.compile(
    r"(?<![\w/.:-])(?:rrm|lightning_modules|sweeps|analysis|tests|docs|docker|benchmarks|\.ci|\.github)/[\w./*-]+"
)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FUNCTION = re.compile(r"`(?:(\w+)\.)?(\w+)\(\)`")


@pytest.mark.parametrize("path", _paths(TrialConfig))
def test_every_field_of_a_trial_is_documented_with_its_default(path: str) -> None:
    assert f"`{path}`" in FORMATS


@pytest.mark.parametrize("name", list(SweepSpec.model_fields))
def test_every_section_of_a_sweep_is_documented(name: str) -> None:
    assert f"`{name}" in FORMATS


def folders_of_the_layout() -> set[str]:
    """Folders that the section "Layout" of README.md lists; two spaces of indentation are one level."""
    layout = README.split("## Layout")[1].split("```")[1]
    listed: set[str] = set()
    parents: list[str] = []
    for indentation, name in re.findall(r"^( *)([\w.]+)/", layout, re.MULTILINE):
        parents = [*parents[: len(indentation) // 2], name]
        listed.add("/".join(parents))
    return listed


def test_every_folder_of_the_layout_exists() -> None:
    assert [folder for folder in sorted(folders_of_the_layout()) if not (ROOT / folder).is_dir()] == []


def test_every_folder_with_modules_is_in_the_layout() -> None:
    modules = [module for package in PACKAGES for module in (ROOT / package).rglob("*.py")]
    folders = {str(module.parent.relative_to(ROOT)) for module in modules}
    assert sorted(folders - folders_of_the_layout()) == []


OTHERS = ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "tests/golden/README.md")
GUIDES = [*(ROOT / name for name in OTHERS), *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*GUIDES, *sorted((ROOT / "docker").rglob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_path_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    named = {path.rstrip(".") for path in REPOSITORY_PATH.findall(page.read_text())}
    assert [path for path in sorted(named) if not list(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_module_that_a_page_names_without_its_folder_exists(page: Path) -> None:
    named = set(re.findall(r"`(\w+\.py)`", page.read_text()))
    folders = [ROOT / folder for folder in (*PACKAGES, "tests", "docker", "benchmarks")]
    assert [name for name in sorted(named) if not any(list(folder.rglob(name)) for folder in folders)] == []


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = TEST.findall(page.read_text())
    assert [name for file, name in named if f"def {name}(" not in (ROOT / file).read_text()] == []


def test_every_function_that_the_architecture_names_is_defined() -> None:
    sources = [module.read_text() for package in PACKAGES for module in (ROOT / package).rglob("*.py")]
    named = FUNCTION.findall((ROOT / "docs/architecture.md").read_text())
    assert named
    for owner, name in named:
        definitions = [f"def {name}("] + ([f"class {owner}"] if owner else [])
        assert any(all(line in source for line in definitions) for source in sources), f"{owner}.{name}"


def test_the_index_lists_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    assert [page.name for page in GUIDES if page.name != "index.md" and f"{page.name})" not in index] == []


def test_code_cites_pages_and_no_design_outside_the_repository() -> None:
    modules = [module for package in PACKAGES for module in (ROOT / package).rglob("*.py")]
    assert [name_of(module) for module in modules if re.search(r"\b(DESIGN|FORMATS) section", module.read_text())] == []
