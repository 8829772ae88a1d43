"""`rrm-sweep ui`, and what a browser shows behind its link. `RRM_SCREENSHOTS=docs/images` keeps the pictures of docs/mlflow.md."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from lightning_modules.yaml_file import write_yaml
from sweeps.driver.ledger import Ledger, stored_sections
from sweeps.store.store import Store
from sweeps.tracking.mlflow import FINGERPRINT
from tests.browser import browser_context, needs_browser
from tests.sweeps.conftest import command, measure_sections, search_sections
from tests.sweeps.driver.test_run import ENVIRONMENT
from tests.sweeps.servers import free_port

PATIENCE_MILLISECONDS = 60_000
STARTING = "starting MLflow's server ...\n"


@pytest.fixture(scope="module")
def links(tracked: Ledger) -> Iterator[dict[str, str]]:
    """What the command printed, while it serves."""
    served = subprocess.Popen(
        command("ui", tracked.store.location, "--no-browser"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert served.stdout is not None
    assert served.stdout.readline() == STARTING
    printed = dict(served.stdout.readline().split(None, 1) for _ in range(3))
    yield {name: link.strip() for name, link in printed.items()}
    served.send_signal(signal.SIGINT)
    assert served.wait(20) == 0


@pytest.fixture
def begun(open_ledger: Callable) -> Store:
    """The store of a measure sweep without finished trials."""
    ledger: Ledger = open_ledger(measure_sections())
    ledger.store.write_spec(write_yaml(stored_sections(ledger.spec)))
    return ledger.store


def run_ids(ledger: Ledger) -> dict[str, str]:
    client = MlflowClient(ledger.tracker.delivery.tracker.address)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return {run.data.tags[FINGERPRINT]: run.info.run_id for run in runs if FINGERPRINT in run.data.tags}


@pytest.fixture(scope="module")
def look() -> Iterator[Callable]:
    """Opens a page, waits until it shows some texts, keeps a picture where asked; gives the page."""
    with browser_context() as context:
        context.add_init_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")

        def open_page(link: str, picture: str, *texts: str) -> Any:
            page = context.new_page()
            page.goto(link)
            for text in texts:
                page.get_by_text(text).first.wait_for(timeout=PATIENCE_MILLISECONDS)
            if folder := os.environ.get("RRM_SCREENSHOTS"):
                page.wait_for_timeout(3000)  # for the animation of its charts
                page.screenshot(path=Path(folder) / f"{picture}.png")
            return page

        yield open_page


@needs_browser
@pytest.mark.more
def test_the_table_lists_the_trials_best_first_with_axes_and_costs(look: Callable, links: dict, tracked: Ledger) -> None:
    names = [tracked.tracker.name_of_record(record) for record in tracked.best(4)]
    page = look(links["table"], "mlflow-table", *names, "val/exact_accuracy", "inference_flops")
    text = page.inner_text("body")
    accuracies = {tracked.tracker.name_of_record(r): r["val/exact_accuracy"] for r in tracked.best(4)}
    shown = sorted(names, key=text.index)
    assert [accuracies[name] for name in shown] == sorted(accuracies.values(), reverse=True)


@needs_browser
@pytest.mark.more
def test_the_charts_have_depth_on_their_x_axis(look: Callable, links: dict, tracked: Ledger) -> None:
    page = look(links["charts"], "mlflow-charts", "depth/exact_accuracy", "Step")
    chart = page.locator(".plot-container").first
    chart.wait_for(timeout=PATIENCE_MILLISECONDS)
    drawn = page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot')]"
        ".flatMap(plot => plot.data.map(line => ({name: line.name, metric: line.metricKey, x: [...(line.x || [])]})))"
    )
    assert any(list(line["x"]) == [1, 2, 3, 4] for line in drawn), drawn[:3]


@needs_browser
@pytest.mark.more
def test_two_runs_are_compared(look: Callable, links: dict, tracked: Ledger) -> None:
    address, experiment = links["table"].split("/#/")[0], links["table"].split("/experiments/")[1].split("/")[0]
    best = [record["fingerprint"] for record in tracked.best(2)]
    ids = [run_ids(tracked)[fingerprint] for fingerprint in best]
    query = f"runs={quote(json.dumps(ids))}&experiments={quote(json.dumps([experiment]))}"
    page = look(f"{address}/#/compare-runs?{query}", "mlflow-compare", "Comparing 2 Runs", "model.hidden_size")
    text = page.inner_text("body")
    for fingerprint in best:
        assert tracked.tracker.name_of_record(tracked.results[fingerprint]) in text


@needs_browser
@pytest.mark.more
def test_the_link_to_compare_shows_the_score_on_test(look: Callable, links: dict, tracked: Ledger) -> None:
    page = look(links["compare"], "mlflow-scores", "test/exact_accuracy")
    page.locator(".plot-container").first.wait_for(timeout=PATIENCE_MILLISECONDS)
    drawn = page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => plot.data.map(line => line.name))"
    )
    assert drawn and not any("depth/" in str(name) for name in drawn)


@pytest.mark.more
def test_ctrl_c_before_mlflow_s_server_answers_ends_with_a_line_that_is_true(tracked: Ledger) -> None:
    arguments = ("ui", tracked.store.location, "--no-browser")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(*arguments), env=ENVIRONMENT, **pipes) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == STARTING
        started.send_signal(signal.SIGTERM)  # as Ctrl-C, also where a shell has that ignored
        printed, errors = started.communicate(timeout=60)
    assert (started.returncode, errors) == (130, "")
    again = f"rrm-sweep ui {tracked.store.location} --no-browser"
    assert printed == f"stopped before there were links; the same command goes on from what MLflow holds: {again}\n"


@pytest.mark.more
def test_the_dashboard_shows_the_study_of_a_search_and_ends_in_the_midst_of_requests(open_ledger: Callable) -> None:
    ledger = open_ledger(search_sections())
    with dashboard(ledger) as (served, ask):
        assert [study["study_name"] for study in ask()] == [f"tiny@{ledger.store.identity()}#1"]
        browser = Thread(target=ask_until_it_is_gone, args=(ask,))
        browser.start()
        time.sleep(0.3)
        served.send_signal(signal.SIGINT)
        assert served.wait(20) == 0
        browser.join()


def test_a_database_of_studies_that_cannot_be_used_is_one_line(typed: Callable, begun: Store, monkeypatch) -> None:
    monkeypatch.setenv("RRM_STUDY_URL", "sqlite:////nowhere/studies.db")
    ended = typed("ui", begun.location, "--study", "--no-browser")
    assert ended.returncode == 2 and "RRM_STUDY_URL: names no database that can be used" in ended.stderr
    assert ended.stderr.count("\n") == 1


@contextmanager
def dashboard(ledger: Ledger) -> Iterator[tuple[subprocess.Popen, Callable[[], list]]]:
    """The command on a study of one trial, and what asks it for its studies."""
    ledger.ask()
    arguments = ("ui", ledger.store.location, "--study", "--no-browser", "--port", str(free_port()))
    with subprocess.Popen(
        command(*arguments), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as served:
        assert served.stdout is not None
        name, link = served.stdout.readline().split()
        assert name == "study"

        def ask() -> list:
            with urllib.request.urlopen(link.replace("/dashboard", "/api/studies"), timeout=20) as answer:
                return list(json.load(answer)["study_summaries"])

        try:
            wait_for(ask)
            yield served, ask
        finally:
            served.kill()


def wait_for(ask: Callable[[], list]) -> None:
    """Until it is answered."""
    end = time.monotonic() + 20
    while True:
        try:
            ask()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def ask_until_it_is_gone(ask: Callable[[], list]) -> None:
    while True:
        try:
            ask()
        except (OSError, HTTPException, ValueError):  # the last of half an answer
            return


# -- what the command refuses ---------------------------------------------------------------------------------------


def test_a_sweep_that_was_never_run_has_no_page(typed: Callable) -> None:
    ended = typed("ui", "runs/nothing", "--no-browser")
    assert ended.returncode == 2 and "runs/nothing: is not a sweep" in ended.stderr and ended.stderr.count("\n") == 1


def test_a_port_that_is_taken_is_named(typed: Callable, begun: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = typed("ui", begun.location, "--no-browser", "--port", port)
    assert ended.returncode == 2 and f"--port: must be a free port, got {port}" in ended.stderr


def test_a_measure_sweep_has_no_study(typed: Callable, begun: Store) -> None:
    ended = typed("ui", begun.location, "--study")
    assert ended.returncode == 2 and "has no study on this machine" in ended.stderr


@pytest.mark.more
def test_a_server_of_a_team_is_linked_and_not_started(typed: Callable, tracked: Ledger, links: dict, monkeypatch) -> None:
    address = links["charts"].split("/#/")[0]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    ended = typed("ui", tracked.store.location, "--no-browser")
    assert ended.returncode == 0 and ended.stdout.split() == [part for link in links.items() for part in link]


def test_a_team_s_server_that_does_not_answer_is_one_line(typed: Callable, begun: Store, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    ended = typed("ui", begun.location, "--no-browser")
    assert ended.returncode == 2 and "http://127.0.0.1:9" in ended.stderr and ended.stderr.count("\n") == 1
