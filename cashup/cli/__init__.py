"""The command line: parse, call, print.

Commands are listed here by name and imported when they are called, so that `cashup --help` answers at once. A module
either has a function `register(root)` that adds its commands to a Typer application, or a function named like the
command.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from cashup.errors import CashUpError

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo", "the whole way from bars to a live worker, offline, with a report"),
    "up": ("up", "gateway, dashboards and JupyterLab until Ctrl-C"),
    "init": ("init", "a new project: notebooks, deployments, a first strategy"),
    "new": ("new", "a notebook from a template"),
    "doctor": ("doctor", "check this machine and this folder"),
    "data": ("data", "bars: bring them in, list them, check them"),
    "backtest": ("research", "run a notebook as a backtest"),
    "replay": ("replay", "run a notebook through the trading engine, bar by bar"),
    "check": ("check", "is a strategy honest: look-ahead, warm-up, determinism, secrets, idle parameters"),
    "sweep": ("sweep", "try many parameter sets and rank them"),
    "walkforward": ("walkforward", "choose parameters on one time, judge them on the next"),
    "validate": ("validate", "would chance have done as well: significance, Monte Carlo, deflated Sharpe"),
    "runs": ("runs", "the registry of runs: list, show, compare, rerun"),
    "promote": ("promote", "the gate: may this notebook trade?"),
    "versions": ("versions", "what was frozen to run: list, show"),
    "live": ("live", "deployments: what runs, start, stop, logs"),
    "kill": ("kill", "block new orders, cancel what rests, until it is lifted"),
    "unkill": ("kill", "lift a kill"),
    "alerts": ("alerts", "what somebody must look at"),
    "risk": ("risk", "limits, their use, and what they hold back"),
    "flatten": ("kill", "cancel what rests of a deployment and sell what it holds"),
    "order": ("order", "one order by hand: place, cancel, amend"),
    "orders": ("trading", "orders"),
    "positions": ("trading", "positions"),
    "fills": ("trading", "fills"),
    "ledger": ("trading", "the ledger, with running balances"),
    "explain": ("explain", "why an order is what it is, step by step"),
    "user": ("user", "people, passwords and logging in"),
    "account": ("account", "exchange accounts"),
    "db": ("db", "the database's schema"),
    "gateway": ("gateway", "the process that trades: API, engine and vault"),
    "worker": ("worker", "one attempt of a deployment"),
    "simulator": ("simulator", "a local Gate.io that replays bars"),
    "dashboards": ("dashboards", "the pages that show what happens"),
    "lab": ("lab", "JupyterLab with everything at hand"),
}
"""Command -> the module in this folder that has it, and what `--help` says of it."""


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command when it was loaded, otherwise a stand-in that knows its help."""
        if cmd_name in self.commands or cmd_name not in COMMANDS:
            return self.commands.get(cmd_name)
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is called."""
        if args and args[0] in COMMANDS:
            self.commands[args[0]] = _load(args[0])
        return super().resolve_command(ctx, args)


# Plain help: importing rich to draw boxes around it would double the time that --help takes.
app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """CashUp: the notebook you backtest is the notebook that trades.

    Exit codes: 0 done, 1 the work failed, 2 wrong usage. With --debug an error shows its traceback.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 done, 1 the work failed, 2 wrong usage.

    Without `args` the words are this process's own, and a warm process may do the work (see `handover.py`).
    """
    words = list(sys.argv[1:] if args is None else args)
    if args is None and (code := _handed_over(words)) is not None:
        sys.exit(code)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    sys.exit(_run(words, debug=debug))


def _handed_over(words: list[str]) -> int | None:
    from cashup.cli.handover import COMMANDS as WARM
    from cashup.cli.handover import hand_over

    return hand_over(words) if words[:1] and words[0] in WARM else None


def _run(words: list[str], *, debug: bool) -> int:
    try:
        code = app(words, prog_name="cashup", standalone_mode=False)
    except CashUpError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except typer.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; there is nobody to tell
        return 1
    except Exception as error:  # noqa: BLE001  the process's edge: a person gets a sentence, not a traceback
        if hasattr(error, "format_message"):  # Typer's own: wrong usage
            return _misused(error, debug=debug)
        sentence = f"unexpected {type(error).__name__}: {error}; run it with --debug to see where"
        return _fail(sentence, 1, debug=debug)
    return code if isinstance(code, int) else 0


def _misused(error: Any, *, debug: bool) -> int:
    message = str(error.format_message())
    if message.startswith("Usage:"):  # called without words: its help is the answer
        print(message, file=sys.stderr)
        return 2
    context = getattr(error, "ctx", None)
    where = f"; see {context.command_path} --help" if context is not None else ""
    return _fail(f"{message.rstrip('.')}{where}", 2, debug=debug)


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(f"cashup: {message}", file=sys.stderr)
    return code


def _load(name: str) -> Any:
    module = importlib.import_module(f"cashup.cli.{COMMANDS[name][0]}")
    root = typer.Typer(rich_markup_mode=None)
    root.callback()(_root)
    if hasattr(module, "register"):
        module.register(root)
    else:
        root.command(name)(getattr(module, name))
    group: Any = typer.main.get_command(root)
    return group.commands[name]
