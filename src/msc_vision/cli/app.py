"""The application and its promises: data on stdout, talk on stderr, one line per error, telling exit codes."""

import logging
import os
import sys
import tempfile
import traceback
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from msc_vision import __version__
from msc_vision.cli.access import access
from msc_vision.cli.baseline import baseline
from msc_vision.cli.decide import decide
from msc_vision.cli.doublings import doublings
from msc_vision.cli.drift import drift
from msc_vision.cli.evaluate import evaluate
from msc_vision.cli.export import export
from msc_vision.cli.forecast import forecast, growth_prior
from msc_vision.cli.layer_study import layer_study
from msc_vision.cli.manifest import manifest
from msc_vision.cli.plan import plan
from msc_vision.cli.report import report
from msc_vision.cli.review import review
from msc_vision.cli.rules import rules
from msc_vision.cli.run import run
from msc_vision.cli.segment import segment
from msc_vision.cli.serve import serve
from msc_vision.cli.store import store
from msc_vision.cli.synth import synth
from msc_vision.cli.talk import DONE_WITH_FAILURES, INTERRUPTED, UNEXPECTED, USER_ERROR, say_error
from msc_vision.cli.train import train
from msc_vision.cli.verify import verify
from msc_vision.cli.vessels import vessels
from msc_vision.errors import MscVisionError

EXIT_CODES = (
    f"Exit codes: 0 done · {USER_ERROR} something to put right, said in one line · {DONE_WITH_FAILURES} done, but "
    f"fields failed (each is named) · {INTERRUPTED} stopped from the keyboard · {UNEXPECTED} an error of the program."
)


class OneLineErrors(TyperGroup):
    """A group of commands whose errors are one line on stderr and an exit code, never a traceback."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; usage errors name the help that explains them."""
        is_standalone = options.pop("standalone_mode", True)
        run = partial(super().main, *args, **options)
        if not is_standalone:
            return run(standalone_mode=False)
        try:
            code = run(standalone_mode=False)
        except typer.TyperException as err:
            say_error(_usage_message(err))
            code = err.exit_code
        except typer.Abort:
            code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command of a context and turn what it raises into a line and an exit code."""
        is_debug = bool(ctx.params.get("debug"))
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except KeyboardInterrupt as err:
            say_error(str(err) or "Stopped from the keyboard.")
            raise typer.Exit(INTERRUPTED) from err
        except MscVisionError as err:
            if is_debug:
                traceback.print_exc()
            say_error(str(err))
            raise typer.Exit(USER_ERROR) from err
        except BrokenPipeError as err:  # the reader of our stdout, such as `head`, has gone
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  (until the end)
            raise typer.Exit(0) from err
        except Exception as err:  # the last line of defence: a person gets a line and a log, not a traceback
            if is_debug:
                raise
            say_error(f"Unexpected {type(err).__name__}: {_one_line(err)}. {_log_traceback()}")
            raise typer.Exit(UNEXPECTED) from err


def _usage_message(err: typer.TyperException) -> str:
    """Return a usage error with the command whose help explains it."""
    context = getattr(err, "ctx", None)
    message = err.format_message().rstrip()
    message = message if message.endswith((".", ")", "?")) else f"{message}."
    return f"{message} See `{context.command_path} --help`." if context is not None else message


def _one_line(err: BaseException) -> str:
    return " ".join(str(err).split())[:300] or "no message"


def _log_traceback() -> str:
    """Write the traceback where it can be found again, and say where."""
    text = f"msc-vision {__version__}\narguments: {sys.argv[1:]}\n{traceback.format_exc()}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="msc-vision-error-", suffix=".log", delete=False, encoding="utf-8"
        ) as log:
            log.write(text)
    except OSError:
        return "Run again with `msc-vision --debug …` to see where, and report it."
    return f"The traceback is in {log.name}; please report it (`msc-vision --debug …` shows it)."


app = typer.Typer(
    name="msc-vision",
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
_COMMANDS = (
    *(
        run,
        manifest,
        segment,
        evaluate,
        decide,
        verify,
        report,
        review,
        plan,
        layer_study,
        forecast,
        growth_prior,
        doublings,
    ),
    *(baseline, drift, vessels, synth, train, export, serve),
)
for _command in _COMMANDS:
    app.command(_command.__name__.replace("_", "-"), epilog=EXIT_CODES)(_command)
for _group in (rules, store, access):
    app.add_typer(_group, epilog=EXIT_CODES)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"msc-vision {__version__}")
        raise typer.Exit


@app.callback()
def talk(
    version: Annotated[  # noqa: ARG001  (typer calls the callback)
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version and stop.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; for reporting an error.")] = False,
) -> None:
    """Measure the confluency of MSC cultures per field, layer and vessel, from folders of phase-contrast images.

    Start with **msc-vision run FOLDER --vessel t-75**: it scores every image of a folder and ends with a table
    and a page, report.html. **msc-vision COMMAND --help** explains each command with examples.

    Data goes to stdout, talk to stderr. Nothing is ever written into the image folder, and nothing uses the network.
    """
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logger = logging.getLogger("msc_vision")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def main() -> None:
    """Run the command line; the console script `msc-vision` calls this."""
    _speak_utf8()
    app(prog_name="msc-vision")


def _speak_utf8() -> None:
    """Let µ and – reach a console or pipe whose encoding does not have them as a question mark, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
