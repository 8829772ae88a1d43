"""`rrm-trial`: one trial, without ray and without mlflow."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import NoReturn

import torch

from lightning_modules.atomic_write import write_atomically
from lightning_modules.config import TrialConfig, load_trial, read_trial, write_trial
from lightning_modules.outcome import Outcome
from lightning_modules.record import Record, Row, describe, read_result
from lightning_modules.trial_folder import RESULT, TRIAL
from rrm.defaults import FIRST_DEFAULTS, NEWEST_DEFAULTS, describe_defaults
from rrm.errors import UserError, usage_error
from rrm.files import expand_home
from rrm.plugins import fault_of_plugin


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 completed, 1 the trial failed, 2 a mistake of the user, 130 stopped (the same command continues)."""
    try:
        options = _parser().parse_args(arguments)
        config, folder = _find_trial(options.trial, options.out)
        record = _run(config, folder, options.threads)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception as error:
        fault = fault_of_plugin(error)
        if fault is None:
            raise
        print(fault, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped; continue with: {shlex.join(['rrm-trial', *(arguments or sys.argv[1:])])}", file=sys.stderr)
        return 130
    return 0 if record["outcome"] == Outcome.COMPLETED else 1


class _Parser(argparse.ArgumentParser):
    """Reports a mistake on the command line in one line, as any other mistake of the user."""

    def error(self, message: str) -> NoReturn:
        raise usage_error(message, self.prog)


def _parser() -> _Parser:
    parser = _Parser(
        prog="rrm-trial",
        description="Train and score one trial, and write its record; neither ray nor mlflow is needed. "
        "The same command continues an interrupted trial from its checkpoint.",
        epilog="example: rrm-trial lightning_modules/trials/sudoku.yaml --out runs/trials/first",
    )
    parser.add_argument("trial", type=Path, metavar="TRIAL.yaml", help="a trial; fields that are absent have their defaults")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: all; a sweep's trial used `threads` of its record)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write (default: runs/trials/<fingerprint>)")
    return parser


def _find_trial(path: Path, out: Path | None) -> tuple[TrialConfig, Path]:
    """The trial in a file, and its folder. A folder with this trial under older defaults goes on with them."""
    candidates: list[tuple[TrialConfig, Path]] = []
    for version in range(NEWEST_DEFAULTS, FIRST_DEFAULTS - 1, -1):
        config = load_trial(path, version)
        folder = Path(expand_home(out or Path("runs/trials") / config.fingerprint))
        if _stored_fingerprint(folder) == config.fingerprint:
            if candidates and config != candidates[0][0]:
                print(f"{folder} was started with {describe_defaults(version)}: the trial keeps them")
            return config, folder
        candidates.append((config, folder))
    return candidates[0]


def _stored_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the trial in a folder; None where the folder has no trial."""
    trial_file = folder / TRIAL
    return read_trial(trial_file).fingerprint if trial_file.exists() else None


def _run(config: TrialConfig, folder: Path, threads: int | None) -> Record:
    """Continue or start the trial in `folder`; the record of a finished one is printed."""
    from lightning_modules.datamodule import load_splits
    from lightning_modules.fit import fit  # lightning takes seconds to import; the errors above must not wait for it

    if threads is not None:
        if threads < 1:
            raise UserError("--threads", f"must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    result_file = folder / RESULT
    if result_file.exists():
        record = read_result(result_file).record
        if record["fingerprint"] != config.fingerprint:
            raise UserError(str(folder), f"holds another trial ({record['fingerprint']}, not {config.fingerprint})")
        print(f"already finished: {result_file}")
    else:
        load_splits(config.task)  # a bad row, or a fault of a plug-in, is found before any file is written
        describe(config)
        result = fit(config, _prepare(folder, config), _print_row)
        write_atomically(result_file, result.to_json())
        record = result.record
        print(f"{record['outcome']}: {result_file}")
    for name in (
        "reason",
        "params",
        "train_flops",
        "test/exact_accuracy",
        "test/token_accuracy",
        "test/nll",
        "chosen_depth",
    ):
        if name in record:
            print(f"  {name:20} {record[name]:.4g}" if isinstance(record[name], float) else f"  {name:20} {record[name]}")
    return record


def _prepare(folder: Path, config: TrialConfig) -> Path:
    """Make the folder, unless it holds another trial."""
    if _stored_fingerprint(folder) not in {None, config.fingerprint}:
        raise UserError(str(folder), "holds another trial: choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_trial(folder, config)
    except OSError as error:
        raise UserError(str(folder), f"cannot be written: {error.strerror}") from None
    return folder


def _print_row(row: Row) -> bool:
    scores = "  ".join(f"{name} {value:.4g}" for name, value in row["metrics"].items())
    print(f"step {row['step']}  {scores}", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
