"""What a search may start from, refused by `plan` and by `run` before anything is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.store.store import Store
from tests.sweeps.conftest import Sections, assert_refused, search_sections


def starting_from(*sweeps: str) -> Sections:
    sections = search_sections()
    return sections | {"search": sections["search"] | {"warm_start": list(sweeps)}}


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("sweep", ["runs/tiny", "./runs/tiny/", "runs/../runs/tiny", "{folder}/runs/tiny"])
def test_a_search_does_not_start_from_itself_by_any_path(
    typed: Callable, write_spec: Callable, tmp_path: Path, command: str, sweep: str
) -> None:
    ended = typed(command, str(write_spec(starting_from(sweep.format(folder=tmp_path)))))
    assert_refused(ended, "search.warm_start.0: must name other sweeps, got", tmp_path)


def test_a_search_does_not_start_from_itself_through_a_link(typed: Callable, write_spec: Callable, tmp_path: Path) -> None:
    Store(tmp_path / "runs/tiny").create()
    Store(tmp_path / "runs/tiny").write_result("a", '{"fingerprint": "a", "outcome": "completed", "params": 1}')
    (tmp_path / "link").symlink_to(tmp_path / "runs/tiny")
    ended = typed("run", str(write_spec(starting_from("./link"))))
    assert ended.returncode == 2 and "search.warm_start.0: must name other sweeps, got './link', this one" in ended.stderr


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize("sweep", ["nobody", "./nobody", "s3:/nobody"])
def test_plan_and_run_refuse_a_start_that_is_not_there(
    typed: Callable, write_spec: Callable, tmp_path: Path, command: str, sweep: str
) -> None:
    message = "must be a folder, or a URI" if sweep.startswith("s3") else "search.warm_start.0: has no completed trials"
    assert_refused(typed(command, str(write_spec(starting_from(sweep)))), message, tmp_path)
