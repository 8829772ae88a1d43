"""A sweep is exported to one file, imported elsewhere, continued and extended; finished trials are not run again."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data.tables import load_store
from analysis.laws.fit_all import fit_laws
from analysis.report.build import build_report
from lightning_modules.yaml_file import parse_yaml
from rrm.errors import UserError
from sweeps.driver.ledger import Ledger
from sweeps.driver.reconcile import reconcile
from sweeps.moving.export_sweep import export_sweep
from sweeps.moving.import_sweep import import_sweep
from sweeps.moving.sweep_file import HEADER, HEADER_DIGEST, Header, TrialPart, digest_of, read_header, read_parts, write_file
from sweeps.planning.load_sweep import load_sweep
from sweeps.store.store import Store
from sweeps.store.stored_spec import local_spec
from sweeps.tracking.events import BestChosen
from sweeps.tracking.recorder import EventRecorder
from sweeps.tracking.spool import Spool
from tests.conftest import EXAMPLES, ROOT
from tests.sweeps.conftest import ending, measure_sections, run_here, search_sections

FIXTURES = ROOT / "tests/fixtures/stores_e399d62"
DESIGN = {"vary": {"model.hidden_size": [16, 24], "model.l_cycles": [1]}, "seeds": 1}
UNTRACKED = {"tracking": {"kind": "memory"}}
MACHINE = ("train_seconds", "wall_seconds", "examples_per_second", "peak_memory_bytes", "sweep")


def continued(store: Store, *overrides: str) -> Ledger:
    """The ledger of the sweep in a store, as `rrm-sweep run STORE/spec.yaml` makes it."""
    spec = load_sweep(Path(store.location) / "spec.yaml", list(overrides))
    store.create()
    return reconcile(spec, store, EventRecorder(spec, Spool(store.driver_folder / "spool"), store))


@pytest.fixture
def trained(open_ledger: Callable[..., Ledger]) -> Ledger:
    """Two trained trials."""
    ledger = open_ledger(measure_sections() | {"measure": DESIGN} | UNTRACKED)
    run_here(ledger)
    return ledger


@pytest.fixture
def file(trained: Ledger, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.parquet"
    assert export_sweep(trained.store, path) == f"{path}: 2 finished trials of tiny, without weights"
    return path


def answers(store: Store) -> list[str]:
    tables = load_store(store)
    return [str(sentence) for sentence in build_report(tables, fit_laws(tables)).findings]


def test_an_imported_sweep_trains_the_new_seed_alone_and_has_the_report_of_the_original(
    trained: Ledger, file: Path, tmp_path: Path
) -> None:
    line = import_sweep(file, str(tmp_path / "elsewhere"), [])
    store = Store(tmp_path / "elsewhere/tiny")
    assert line == f"{store.location}: 2 finished trials of tiny; continue with rrm-sweep run {store.location}/spec.yaml"
    imported = continued(store, "measure.seeds=2")
    assert imported.results.keys() == trained.results.keys()
    run_here(imported)
    assert {record["seed"] for name, record in imported.results.items() if name not in trained.results} == {1}
    original = continued(trained.store, "measure.seeds=2")
    run_here(original)
    for name, record in original.results.items():
        assert {key: value for key, value in imported.results[name].items() if key not in MACHINE} == {
            key: value for key, value in record.items() if key not in MACHINE
        }
    assert answers(store) == answers(trained.store)


def test_the_new_store_has_an_identity_of_its_own_and_holds_what_the_file_holds(
    trained: Ledger, file: Path, tmp_path: Path
) -> None:
    import_sweep(file, str(tmp_path / "elsewhere"), [])
    store = Store(tmp_path / "elsewhere/tiny")
    assert store.identity() not in (None, trained.store.identity())
    assert store.results() == trained.store.results() and store.rows() == trained.store.rows()
    for name in trained.results:
        assert parse_yaml(store.trial(name) or "", "") == parse_yaml(trained.store.trial(name) or "", "")
        assert store.file(name, "items.parquet") == trained.store.file(name, "items.parquet") is not None
        assert store.file(name, "weights.pt") is None
    pd.testing.assert_frame_equal(load_store(store).trials, load_store(trained.store).trials)


def test_the_columns_of_the_records_are_read_by_pandas(trained: Ledger, file: Path) -> None:
    table = pd.read_parquet(file)
    record = trained.results[table["fingerprint"].iloc[0]]
    assert table["test/nll"].iloc[0] == record["test/nll"] and table["model.hidden_size"].dtype.kind in "if"


@pytest.mark.parametrize("flops", [(10**19, 10**18), (2**53 + 1, 0.5)])
def test_a_number_of_any_size_is_exported(open_ledger: Callable[..., Ledger], tmp_path: Path, flops: tuple[float, float]) -> None:
    ledger = open_ledger(measure_sections() | {"measure": DESIGN} | UNTRACKED)
    for value in flops:
        config = ledger.ask()
        assert config is not None
        ledger.end(config.fingerprint, ending(config, train_flops=value))
    export_sweep(ledger.store, tmp_path / "tiny.parquet")
    import_sweep(tmp_path / "tiny.parquet", str(tmp_path / "elsewhere"), [])
    assert Store(tmp_path / "elsewhere/tiny").results() == ledger.store.results()
    table = pd.read_parquet(tmp_path / "tiny.parquet")
    assert sorted(table["train_flops"]) == pytest.approx(sorted(flops))


def test_a_reason_that_is_no_utf8_is_exported(trained: Ledger, tmp_path: Path) -> None:
    name, record = next(iter(trained.store.results().items()))
    trained.store.write_result(name, json.dumps(record | {"outcome": "failed", "reason": "no file \udcff"}))
    export_sweep(trained.store, tmp_path / "tiny.parquet")
    import_sweep(tmp_path / "tiny.parquet", str(tmp_path / "elsewhere"), [])
    assert Store(tmp_path / "elsewhere/tiny").results()[name]["reason"] == "no file \udcff"


def test_a_name_that_is_taken_needs_another_one(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a sweep already: give the imported one another name: name=NEW"):
        import_sweep(file, str(tmp_path / "runs"), [])
    import_sweep(file, str(tmp_path / "runs"), ["name=other"])
    tables = load_store(Store(tmp_path / "runs/other"))
    assert set(tables.trials["sweep"]) == {"other"} and len(continued(Store(tmp_path / "runs/other")).results) == 2


def test_the_printed_command_can_be_copied_where_the_storage_has_a_space(file: Path, tmp_path: Path) -> None:
    assert import_sweep(file, str(tmp_path / "my runs"), []).endswith(f" rrm-sweep run '{tmp_path}/my runs/tiny/spec.yaml'")


def test_the_same_export_replaces_itself_and_no_other_file(trained: Ledger, file: Path, tmp_path: Path) -> None:
    export_sweep(trained.store, file)
    other = tmp_path / "notes.parquet"
    other.write_text("mine")
    with pytest.raises(UserError, match=r"notes.parquet: exists, and is no export of tiny: name another file with --out"):
        export_sweep(trained.store, other)
    assert other.read_text() == "mine"


def test_a_search_is_continued_after_an_import(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    ledger = open_ledger(search_sections() | UNTRACKED)
    for nll in (0.5, 0.4, 0.3):
        config = ledger.ask()
        assert config is not None
        ledger.end(config.fingerprint, ending(config, nll))
    export_sweep(ledger.store, tmp_path / "searched.parquet")
    import_sweep(tmp_path / "searched.parquet", str(tmp_path / "elsewhere"), [])
    imported = continued(Store(tmp_path / "elsewhere/tiny"))
    assert imported.results.keys() == ledger.results.keys()
    while (config := imported.ask()) is not None:
        imported.end(config.fingerprint, ending(config))
    assert len(imported.results) == 6


def test_files_of_plug_ins_go_with_the_sweep(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    (tmp_path / "my_law.py").write_text(EXAMPLES["my_law.py"])
    ledger = open_ledger(measure_sections() | {"measure": DESIGN, "plugins": ["my_law.py"]} | UNTRACKED)
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config, **{"test/exact_accuracy": 0.5}))
    export_sweep(ledger.store, tmp_path / "tiny.parquet")
    (tmp_path / "my_law.py").unlink()
    import_sweep(tmp_path / "tiny.parquet", str(tmp_path / "elsewhere"), [])
    tables = load_store(Store(tmp_path / "elsewhere/tiny"))
    assert "logistic" in {fit.law for fit in fit_laws(tables)}


def test_a_plug_in_in_another_encoding_keeps_its_bytes(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    source = f"# -*- coding: cp1252 -*-\r\n# Größe\r\n{EXAMPLES['my_law.py']}".encode("cp1252")
    (tmp_path / "my_law.py").write_bytes(source)
    ledger = open_ledger(measure_sections() | {"measure": DESIGN, "plugins": ["my_law.py"]} | UNTRACKED)
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))
    export_sweep(ledger.store, tmp_path / "tiny.parquet")
    import_sweep(tmp_path / "tiny.parquet", str(tmp_path / "elsewhere"), [])
    (stored,) = (tmp_path / "elsewhere/tiny/plugins").glob("*/my_law.py")
    assert stored.read_bytes() == source


def test_a_sweep_that_took_trials_over_is_continued_without_the_sweeps_that_they_came_from(
    trained: Ledger, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    second = open_ledger(measure_sections() | {"name": "second", "measure": DESIGN | {"reuse": ["tiny"]}} | UNTRACKED)
    export_sweep(second.store, tmp_path / "second.parquet")
    line = import_sweep(tmp_path / "second.parquet", str(tmp_path / "elsewhere"), [])
    assert "2 finished trials of second, without measure.reuse, which is in another storage; continue" in line
    imported = continued(Store(tmp_path / "elsewhere/second"), "measure.seeds=2")
    assert imported.results.keys() == trained.results.keys() and len(imported.spec.design) == 4


def test_a_search_that_started_from_another_sweep_is_continued_without_it(
    trained: Ledger, open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    search = search_sections() | {"name": "searched"} | UNTRACKED
    search["search"] |= {"warm_start": ["tiny"]}
    ledger = open_ledger(search)
    config = ledger.ask()
    assert config is not None
    ledger.end(config.fingerprint, ending(config))
    export_sweep(ledger.store, tmp_path / "searched.parquet")
    assert "without search.warm_start" in import_sweep(tmp_path / "searched.parquet", str(tmp_path / "elsewhere"), [])
    assert continued(Store(tmp_path / "elsewhere/searched")).results.keys() == ledger.results.keys()


def test_a_plug_in_may_have_any_name_and_other_files_beside_it_stay_behind(
    open_ledger: Callable[..., Ledger], tmp_path: Path
) -> None:
    (tmp_path / "mein Gesetz #1 é.py").write_text(EXAMPLES["my_law.py"])
    ledger = open_ledger(measure_sections() | {"measure": DESIGN, "plugins": ["mein Gesetz #1 é.py"]} | UNTRACKED)
    config = ledger.ask()
    assert config is not None
    ledger.end(config.fingerprint, ending(config))
    stored = ledger.store.backend.names("plugins")
    for name in ("plugins/.DS_Store", "plugins/__pycache__/a/b.pyc", f"{stored[0]}c/x"):
        ledger.store.backend.write(name, b"")
    export_sweep(ledger.store, tmp_path / "tiny.parquet")
    import_sweep(tmp_path / "tiny.parquet", str(tmp_path / "elsewhere"), [])
    assert Store(tmp_path / "elsewhere/tiny").backend.names("plugins") == stored
    ledger.store.backend.write(stored[0], b"edited")
    with pytest.raises(UserError, match="does not have the digest of its folder"):
        export_sweep(ledger.store, tmp_path / "tiny.parquet")


def test_a_sweep_behind_a_uri_is_continued_from_its_spec_there(
    open_ledger: Callable[..., Ledger], s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_law.py").write_text(EXAMPLES["my_law.py"])
    ledger = open_ledger(measure_sections() | {"measure": DESIGN, "plugins": ["my_law.py"]} | UNTRACKED)
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))
    export_sweep(ledger.store, tmp_path / "tiny.parquet")
    printed = import_sweep(tmp_path / "tiny.parquet", f"{s3}/sweeps", [])
    assert printed.endswith(f"continue with rrm-sweep run {s3}/sweeps/tiny/spec.yaml")
    (tmp_path / "my_law.py").unlink()
    monkeypatch.setattr("rrm.plugins._contents", {})  # as in another process, which holds no file
    with local_spec(f"{s3}/sweeps/tiny/spec.yaml") as path:
        spec = load_sweep(path, ["measure.seeds=2"])
    store = Store(spec.location)
    assert store.location == f"{s3}/sweeps/tiny"
    imported = reconcile(spec, store, EventRecorder(spec, Spool(tmp_path / "spool"), store))
    assert imported.results.keys() == ledger.results.keys() and len(imported.spec.design) == 4


@pytest.mark.parametrize("name", ["tiny/spec.yml", "tiny", "absent/spec.yaml"])
def test_a_uri_that_is_no_spec_is_one_line(s3: str, name: str) -> None:
    with (
        pytest.raises(UserError, match=f"{name}: is not the spec of a sweep: name the file spec.yaml in the sweep"),
        local_spec(f"{s3}/{name}"),
    ):
        pass


def test_another_scoring_of_an_imported_trial_is_refused_because_its_weights_are_absent(file: Path, tmp_path: Path) -> None:
    import_sweep(file, str(tmp_path / "elsewhere"), [])
    with pytest.raises(UserError, match=r"weights.pt: was not imported, so that the trial cannot be scored in another way"):
        continued(Store(tmp_path / "elsewhere/tiny"), "trial.eval.max_depth=8")


def test_an_import_without_its_data_names_the_field_and_so_does_a_run(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    rows = "\n".join(["input,label", *(f"{number:04b},{15 - number:04b}" for number in range(16))])
    (tmp_path / "rows.csv").write_text(rows)
    task = {"kind": "table", "train": str(tmp_path / "rows.csv"), "test": 0.25, "alphabet": "01"}
    sections = measure_sections()
    sections["trial"] |= {"task": task, "fit": sections["trial"]["fit"] | {"batch_size": 4}}
    ledger = open_ledger(sections | {"measure": DESIGN, "tracking": {"kind": "mlflow", "models": 2}})
    while (config := ledger.ask()) is not None:
        ledger.end(config.fingerprint, ending(config))
    export_sweep(ledger.store, tmp_path / "tiny.parquet")
    (tmp_path / "rows.csv").rename(tmp_path / "moved.csv")
    line = import_sweep(tmp_path / "tiny.parquet", str(tmp_path / "elsewhere"), [])
    assert line.endswith("/spec.yaml trial.task.train=PATH, because the data is not here")
    store = Store(tmp_path / "elsewhere/tiny")
    with pytest.raises(
        UserError,
        match=r"rows.csv: cannot be read: .* is needed; put it there, or change the field",
    ):
        continued(store, "measure.seeds=2")
    imported = continued(store, "measure.seeds=2", f"trial.task.train={tmp_path / 'moved.csv'}")
    assert imported.results.keys() == ledger.results.keys() and len(imported.spec.design) == 4
    while (config := imported.ask()) is not None:
        imported.end(config.fingerprint, ending(config))
    imported.close()
    (best,) = [event for event in imported.tracker.spool.events() if isinstance(event, BestChosen)]
    assert set(best.fingerprints) == imported.results.keys() - ledger.results.keys()


def test_new_trials_on_other_data_are_refused(file: Path, tmp_path: Path) -> None:
    import_sweep(file, str(tmp_path / "elsewhere"), [])
    store = Store(tmp_path / "elsewhere/tiny")
    for name in store.finished():
        result = json.loads(store.file(name, "result.json") or b"")
        result["data_fingerprint"] = "f" * 16
        store.write_result(name, json.dumps(result))
    with pytest.raises(UserError, match=r"trial.task: is other data here than that of the imported trials"):
        continued(store, "measure.seeds=2")


def test_a_sweep_without_results_is_not_exported(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    ledger = open_ledger(measure_sections() | UNTRACKED)
    with pytest.raises(UserError, match="has no finished trials: there is nothing to export"):
        export_sweep(ledger.store, tmp_path / "tiny.parquet")
    assert not (tmp_path / "tiny.parquet").exists()


@pytest.mark.parametrize("kind", ["measure", "search"])
def test_a_store_of_an_earlier_version_is_exported_without_its_unfinished_trial(kind: str, tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / kind, tmp_path / kind)
    store = Store(tmp_path / kind)
    assert export_sweep(store, tmp_path / "old.parquet").endswith("; 1 unfinished left out")
    import_sweep(tmp_path / "old.parquet", str(tmp_path / "new"), [])
    imported = Store(tmp_path / "new" / kind).results()
    assert imported == {name: record | {"sweep": kind} for name, record in store.results().items()}


def test_what_an_interrupted_import_left_is_refused(file: Path, tmp_path: Path) -> None:
    import_sweep(file, str(tmp_path / "new"), [])
    (tmp_path / "new/tiny/spec.yaml").unlink()
    with pytest.raises(UserError, match="holds trials without a spec, as an interrupted import leaves them: remove it"):
        import_sweep(file, str(tmp_path / "new"), [])


def test_an_import_that_another_one_overtakes_is_refused_and_doubles_no_row(
    trained: Ledger, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(path: Path, header: Header) -> Iterator[TrialPart]:
        monkeypatch.undo()
        import_sweep(file, str(tmp_path / "new"), [])
        return read_parts(path, header)

    monkeypatch.setattr("sweeps.moving.import_sweep.read_parts", overtaken)
    with pytest.raises(UserError, match="is a sweep already"):
        import_sweep(file, str(tmp_path / "new"), [])
    assert Store(tmp_path / "new/tiny").rows() == trained.store.rows()


# -- damage -----------------------------------------------------------------------------------------------------------


def with_header(file: Path, **changes: Any) -> None:
    """Change fields of the header of a file, and its digest with it."""
    table = pq.read_table(file)
    metadata = dict(table.schema.metadata)
    text = json.dumps(json.loads(metadata[HEADER]) | changes).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    pq.write_table(table.replace_schema_metadata({HEADER: text, HEADER_DIGEST: digest}), file)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def without_a_row(file: Path) -> None:
    pq.write_table(pq.read_table(file).slice(0, 1), file)


def with_another_record(file: Path) -> None:
    table = pq.read_table(file)
    records = [json.dumps(json.loads(text) | {"test/nll": 0.0}) for text in table["record"].to_pylist()]
    place = table.schema.get_field_index("record")
    pq.write_table(table.set_column(place, "record", pa.array(records)), file)


def with_nulls(file: Path, column: str) -> None:
    table = pq.read_table(file)
    place = table.schema.get_field_index(column)
    pq.write_table(table.set_column(place, table.schema.field(place), pa.nulls(len(table), table.schema.field(place).type)), file)


def with_raw_header(file: Path, text: bytes) -> None:
    metadata = {HEADER: text, HEADER_DIGEST: hashlib.sha256(text).hexdigest()}
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)


def with_signed_parts(file: Path, **changes: Any) -> None:
    """Change every trial, and its digest in the header with it."""
    parts: list[Any] = [{**part, **changes} for part in read_parts(file, read_header(file))]
    header = read_header(file).model_copy(update={"trials": {part["fingerprint"]: digest_of(part) for part in parts}})
    write_file(file, header, parts, [{} for _ in parts])


def written_by_pandas(file: Path) -> None:
    pd.read_parquet(file).to_parquet(file)


def of_pandas(file: Path) -> None:
    pd.DataFrame({"x": np.arange(3)}).to_parquet(file)


def of_text(file: Path) -> None:
    file.write_text("fingerprint,test/nll\n")


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "is no Parquet file, or a damaged one"),
    "a row is absent": (without_a_row, "is damaged (trial "),
    "a record was edited": (with_another_record, "has another digest than the header states): export the sweep again"),
    "another table": (
        of_pandas,
        "is no exported sweep, or another program wrote it anew: import what rrm-sweep export SWEEP --to parquet wrote",
    ),
    "pandas wrote it anew": (written_by_pandas, "another program wrote it anew: import what rrm-sweep export SWEEP"),
    **{f"{name} are null": (partial(with_nulls, column=name), "has an empty cell)") for name in ("record", "curves", "files")},
    "a header that is a list": (partial(with_raw_header, text=b"[]"), "is damaged (header: must be an object)"),
    "a header that is no JSON": (partial(with_raw_header, text=b"\xff"), "is damaged (header: "),
    "a header without a design": (partial(with_header, design=None), "is damaged (header: design: Input should be a valid list)"),
    "a record of another shape": (partial(with_signed_parts, record="[]"), "is damaged (must be an object)"),
    "a record that is no JSON": (partial(with_signed_parts, record="x"), "is damaged (Expecting value"),
    "a trial of another shape": (partial(with_signed_parts, trial="[]"), "has no settings"),
    "an attempt of another shape": (partial(with_signed_parts, attempts=["{}"]), "is damaged (session: Field required)"),
    "a row of another shape": (
        partial(with_signed_parts, rows=[{"number": 0, "row": "{}"}]),
        "is damaged (row.step: Field required)",
    ),
    "text": (of_text, "is no Parquet file"),
    "absent": (Path.unlink, "cannot be read"),
    "a later format": (lambda file: with_header(file, format=2), "newer"),
    "a later store": (lambda file: with_header(file, store_format=99), "newer"),
    "a bad name": (lambda file: with_header(file, sweep="a/b"), "name: must be up to 100 letters"),
    "a bad fingerprint": (lambda file: with_header(file, trials={"../../x": "0" * 64}), "is damaged ("),
    "a bad spec": (lambda file: with_header(file, spec="name: [1"), "spec.yaml"),
}


@pytest.fixture(scope="module")
def old_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of a store of an earlier version."""
    folder = tmp_path_factory.mktemp("old")
    shutil.copytree(FIXTURES / "measure", folder / "measure")
    export_sweep(Store(folder / "measure"), folder / "old.parquet")
    return folder / "old.parquet"


@pytest.mark.parametrize(("damage", "line"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_or_foreign_file_is_one_line_and_writes_nothing(
    old_file: Path, tmp_path: Path, damage: Callable[[Path], None], line: str
) -> None:
    file = tmp_path / "old.parquet"
    shutil.copy(old_file, file)
    damage(file)
    with pytest.raises(UserError) as refused:
        import_sweep(file, str(tmp_path / "elsewhere"), [])
    assert line in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "elsewhere").exists()


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_changed_bit_is_refused_or_changes_nothing(
    old_file: Path, tmp_path_factory: pytest.TempPathFactory, share: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("bit")
    data = bytearray(old_file.read_bytes())
    data[int(share * len(data))] ^= 1 << bit
    (folder / "bad.parquet").write_bytes(data)
    whole = list(read_parts(old_file, read_header(old_file)))
    try:
        assert list(read_parts(folder / "bad.parquet", read_header(folder / "bad.parquet"))) == whole
    except UserError as error:
        assert "\n" not in str(error)


def test_the_commands_are_one_line_each(trained: Ledger, typed: Callable[..., Any], tmp_path: Path) -> None:
    exported = typed("export", "tiny", "--to", "parquet")
    assert exported.returncode == 0 and exported.stdout == "tiny.parquet: 2 finished trials of tiny, without weights\n"
    imported = typed("import", "tiny.parquet", "name=second")
    assert imported.returncode == 0 and "2 finished trials of tiny" in imported.stdout
    listed = typed("list")
    assert "second" in listed.stdout and "2/2" in listed.stdout
    wrong, line = typed("import", "tiny.parquet", "storage=other"), "override: must be name=NEW, got 'storage=other'"
    assert (wrong.returncode, wrong.stderr) == (2, f"{line}: an import changes nothing else\n")
