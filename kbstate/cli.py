"""The command line. Commands return their exit code; what goes wrong is one sentence on stderr, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from kbstate import errors
from kbstate.commands import apply, inspect, plan

app = typer.Typer(
    name="kbstate",
    help="Terraform for the inside of a server: declare, plan, apply.",
    epilog="Exit codes: 0 as declared, 1 error, 2 not as declared, 3 rolled back, 4 unreachable or unreadable, "
    "5 held by another run, 64 wrong usage, 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = {
    "validate": inspect.validate,
    "plan": plan.plan,
    "apply": apply.apply,
    "check": inspect.check,
    "collect": plan.collect,
    "show": plan.show,
    "graph": inspect.graph,
    "schema": inspect.schema,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """What stands before the command."""
    assert not version  # answered before the command line was read


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def lab(context: typer.Context) -> int:
    """Disposable hosts to rehearse on; see `kbstate lab --help`."""
    from kbstate.lab.cli import app as lab_app

    return get_command(lab_app).main(context.args, prog_name="kbstate lab", standalone_mode=False) or 0


def run(arguments: Sequence[str]) -> int:  # noqa: PLR0911 - one for each way to end
    """The exit code of a command line, everything printed."""
    command = get_command(app)
    if "_KBSTATE_COMPLETE" in os.environ:  # the shell asks what could stand there
        command.main(list(arguments), prog_name="kbstate")
    try:
        with command.make_context("kbstate", list(arguments)) as context:
            code = command.invoke(context)
            sys.stdout.flush()
    except typer.Exit as end:
        return end.exit_code
    except errors.KbstateError as error:
        return _failed(str(error), error.exit_code, arguments)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted; nothing was changed but what is said above", errors.INTERRUPTED, arguments)
    except typer.TyperException as error:
        return _misused(error, arguments)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        return errors.ERROR
    except Exception as error:
        return _failed(_unforeseen(error), errors.ERROR, arguments)
    return code if isinstance(code, int) else errors.OK


def _failed(message: str, code: int, arguments: Sequence[str]) -> int:
    from kbstate.report.style import print_error

    if "--verbose" in arguments and (fault := sys.exc_info()[1]) and not isinstance(fault, errors.KbstateError):
        traceback.print_exception(fault)
    print_error(message, no_color="--no-color" in arguments)
    return code


def _unforeseen(error: Exception) -> str:
    """Where, not what: its own text may hold anything."""
    ours = Path(__file__).parent
    inside = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ours)]
    place = f" at {Path(inside[-1].filename).name}:{inside[-1].lineno}" if inside else ""
    return (
        f"this is a fault of kbstate ({type(error).__name__}{place}): add --verbose to see where it comes from, "
        "and report it with that as CONTRIBUTING.md says"
    )


def _misused(error: typer.TyperException, arguments: Sequence[str]) -> int:
    """A usage error in one sentence; a call without a command gets the help."""
    context = getattr(error, "ctx", None)
    if context is not None and not arguments:
        print(context.get_help(), file=sys.stderr)
        return errors.USAGE
    named = arguments[0] if arguments and arguments[0] in COMMANDS else ""
    help_of = f"(kbstate {named} --help)" if named else "(kbstate --help)"
    message = " ".join(error.format_message().split()).rstrip(".")
    return _failed(f"{message[:1].lower()}{message[1:]} {help_of}", errors.USAGE, arguments)
