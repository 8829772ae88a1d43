"""Runs a Typer app so that a mistake in its arguments is one line, like any other mistake of the user."""

import sys

import typer
from typer.main import get_command

from rrm.errors import UserError, exit_on_user_error, usage_error
from rrm.plugins import fault_of_plugin

SWEEP_HELP = "A sweep: its folder (runs/demo), its URI, its spec, or its name in the storage (demo)."
STORAGE_HELP = "Folder or URI that holds sweeps. Default: RRM_STORAGE, else `storage` in the spec, else runs."


def run_app(app: typer.Typer, name: str) -> None:
    """Run the command `name` with the arguments of this process; ends the process with its exit code, 2 for a mistake."""
    exit_on_user_error(lambda: _run(app, name))


def _run(app: typer.Typer, name: str) -> None:
    # `app()` itself would print several lines for a mistake, and nothing after Ctrl-C.
    command = get_command(app)
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except typer.TyperException as error:
        raise _in_one_line(error, name) from None
    except UserError:
        raise
    except Exception as error:
        fault = fault_of_plugin(error)
        if fault is None:
            raise
        raise fault from error


def _in_one_line(error: typer.TyperException, name: str) -> UserError:
    """Typer's error as one line, with the commands if one of them is missing or unknown."""
    context = getattr(error, "ctx", None)
    commands = getattr(context.command, "commands", {}) if context else {}
    problem = error.format_message().rstrip(".")
    if commands:
        problem += f"{' ' if problem.endswith('?') else '; '}commands: {', '.join(commands)}"
    return usage_error(problem, context.command_path if context else name)
