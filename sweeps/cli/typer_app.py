"""How a Typer app runs as a command of ours: a mistake in what was typed is one line like any other mistake of the user."""

import sys

import typer
from typer.main import get_command

from rrm.errors import UserError, exit_on_user_error, usage_error

SWEEP_HELP = "A sweep: its folder (runs/demo), its URI, its spec, or its name in the storage (demo)."
STORAGE_HELP = "Folder or URI that holds sweeps. Default: RRM_STORAGE, else `storage` in the spec, else runs."


def run_app(app: typer.Typer, name: str) -> None:
    """Run what was typed behind `name`, the command's; ends the process with the app's exit code, 2 for a mistake."""
    exit_on_user_error(lambda: _run(app, name))


def _run(app: typer.Typer, name: str) -> None:
    # Not `app()`: that answers Ctrl-C with nothing but an exit code, and mistakes with several lines.
    command = get_command(app)
    try:
        with command.make_context(name, sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except typer.TyperException as error:
        raise _in_one_line(error, name) from None


def _in_one_line(error: typer.TyperException, name: str) -> UserError:
    """What Typer found wrong, and the commands where one of them was to be named."""
    context = getattr(error, "ctx", None)
    commands = getattr(context.command, "commands", {}) if context else {}
    problem = error.format_message().rstrip(".")
    if commands:
        problem += f"{' ' if problem.endswith('?') else '; '}commands: {', '.join(commands)}"
    return usage_error(problem, context.command_path if context else name)
