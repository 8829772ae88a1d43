"""The pages say what the code does."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from docs.generate import Row, rows_of, tables, with_tables
from lightning_modules.config import Budget, TrialConfig
from rrm.config import sections_in
from sweeps.spec.sweep import SweepSpec
from tests.conftest import ROOT

PACKAGES = ("rrm", "lightning_modules", "sweeps", "analysis")
README, FORMATS = (ROOT / "README.md").read_text(), (ROOT / "docs/formats.md").read_text()
# A path from the root of the repository, where no other path or address comes before it.
REPOSITORY_PATH = re.compile(
    r"(?<![\w/.:-])(?:rrm|lightning_modules|sweeps|analysis|tests|docs|docker|benchmarks|\.ci|\.github)/[\w./*-]+"
)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FUNCTION = re.compile(r"`(?:(\w+)\.)?(\w+)\(\)`")


def config_classes(section: type[BaseModel]) -> set[type[BaseModel]]:
    """A config class and the classes of all sections below it."""
    inner = [found for field in section.model_fields.values() for found in sections_in(field.annotation)]
    return {section, *(below for found in inner for below in config_classes(found))}


CLASSES = sorted(config_classes(SweepSpec) | config_classes(TrialConfig), key=lambda config: config.__name__)


@pytest.mark.parametrize("config", CLASSES, ids=lambda config: config.__name__)
def test_every_field_has_a_docstring(config: type[BaseModel]) -> None:
    assert [name for name, field in config.model_fields.items() if not field.description] == []


def test_the_tables_of_fields_are_those_of_the_config_classes() -> None:
    assert set(re.findall(r"<!-- fields: (\w+) -->", FORMATS)) == tables().keys()
    assert with_tables(FORMATS) == FORMATS, "run make docs"


def test_a_changed_default_or_docstring_changes_the_tables() -> None:
    """Else a table could be right by chance."""

    class Changed(Budget):
        amount: float = Field(7, ge=0)
        """Another meaning."""

    assert Row("amount", "number >= 0", "7", "Another meaning.") in rows_of(Changed)


def test_every_variable_of_the_environment_that_the_packages_read_is_in_the_table() -> None:
    """Variables of the project, and those of others that are read by their name."""
    places = r"environ\.get\(|environ\[|envvar=|VARIABLE = |STUDY_URL = |FOLDERS_ALLOWED = "
    read = re.compile(rf"""(?:{places})["']([A-Z_]{{3,}})["']|"(RRM_[A-Z_]+)\"""")
    sources = [path.read_text(encoding="utf-8") for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    names = {name for text in sources for match in read.findall(text) for name in match if name}
    assert {"RRM_STORAGE", "MLFLOW_TRACKING_URI", "XDG_CACHE_HOME", "RAY_API_SERVER_ADDRESS"} <= names
    table = FORMATS.partition("## Environment variables")[2].partition("\n## ")[0]
    assert sorted(name for name in names if f"`{name}`" not in table) == []


def test_every_package_ships_its_types() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    assert [package for package in PACKAGES if not (ROOT / package / "py.typed").is_file() or "py.typed" not in data[package]] == []


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
GUIDES = [*(ROOT / name for name in OTHERS), *sorted((ROOT / "docs").rglob("*.md"))]
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
