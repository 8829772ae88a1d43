"""The version of a store's format: every command reads it, and refuses a later one in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

import analysis.cli
import sweeps.cli.main
from lightning_modules.yaml_file import parse_yaml
from rrm.errors import UserError
from rrm.format_version import STORE_FORMAT
from sweeps.driver.ledger import Ledger
from sweeps.spec.sweep import load_spec
from sweeps.store.store import Store
from tests.sweeps.conftest import measure_sections, search_sections

LATER = STORE_FORMAT + 1


def restate_format(store: Store, line: str) -> None:
    """Let spec.yaml of a store begin with another line."""
    path = Path(store.location) / "spec.yaml"
    path.write_text(path.read_text().replace(f"format: {STORE_FORMAT}\n", line))


def test_a_store_states_its_format_and_its_readers_do_not_see_it(open_ledger: Callable) -> None:
    store = open_ledger(measure_sections()).store
    text = (Path(store.location) / "spec.yaml").read_text()
    assert text == f"format: {STORE_FORMAT}\n{store.spec()}"
    assert "format" not in parse_yaml(store.spec() or "", "spec")


@pytest.mark.parametrize("sections", [measure_sections(), search_sections()], ids=["measure", "search"])
def test_a_store_without_a_format_is_the_first_one_and_is_continued(open_ledger: Callable, sections: dict) -> None:
    ledger: Ledger = open_ledger(sections)
    begun = ledger.ask()
    assert begun is not None
    restate_format(ledger.store, "")
    again = open_ledger(sections)
    assert again.ask() == begun
    assert (Path(again.store.location) / "spec.yaml").read_text().startswith(f"format: {STORE_FORMAT}\n")


def test_the_spec_of_a_store_is_a_spec(open_ledger: Callable) -> None:
    ledger = open_ledger(measure_sections())
    path = Path(ledger.store.location) / "spec.yaml"
    assert load_spec(path).design == ledger.spec.design
    restate_format(ledger.store, f"format: {LATER}\n")
    with pytest.raises(UserError, match=f"spec.yaml: has format {LATER}, and this version .* reads up to {STORE_FORMAT}"):
        load_spec(path)


@pytest.mark.parametrize("line", [f"format: {LATER}", "format: banana", "format:"])
def test_a_store_of_another_format_is_not_opened(open_ledger: Callable, line: str) -> None:
    ledger = open_ledger(measure_sections())
    restate_format(ledger.store, f"{line}\n")
    with pytest.raises(UserError, match=r"spec\.yaml: (has format|must state its format)"):
        ledger.store.spec()


@pytest.mark.parametrize("command", ["run", "plan", "status", "ui", "analyze"])
def test_every_command_refuses_a_store_of_a_later_format(
    open_ledger: Callable, typed: Callable, tmp_path: Path, command: str
) -> None:
    ledger = open_ledger(measure_sections())
    restate_format(ledger.store, f"format: {LATER}\n")
    folder, spec = ledger.store.location, str(tmp_path / "sweep.yaml")
    if command == "analyze":
        ended = typed(folder, main=analysis.cli.main, name="rrm-analyze")
    elif command in {"run", "plan"}:
        ended = typed(command, spec, f"storage={tmp_path / 'runs'}", main=sweeps.cli.main.main)
    else:
        ended = typed(command, folder)
    message = f"{folder}/spec.yaml: has format {LATER}, and this version of rrm-sweeps reads up to {STORE_FORMAT}"
    assert ended.returncode == 2 and message in ended.stderr and ended.stderr.count("\n") == 1 and not ended.stdout
