"""What becomes of errors: one clear line on stderr and an exit code, never a traceback."""

import os
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from worker.core.errors import ConfigurationError, LedgerockError

EXIT_WRONG: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
EXIT_PIPE_CLOSED: Final = 141
"""What a shell reports of any program whose reader went away (128 + SIGPIPE)."""


class SpeakingGroup(TyperGroup):
    """The root of all commands; turns errors on purpose into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer does not export its context's base
        """Run the command that was asked for."""
        if sys.stdout is None:  # what Python makes of a descriptor that was closed
            say("standard output is closed, so there is nowhere to put the result")
            raise typer.Exit(EXIT_WRONG)
        try:
            result = super().invoke(ctx)
            # A reader that went away is noticed here, not while the interpreter shuts down.
            sys.stdout.flush()
        except BrokenPipeError:
            _give_up_stdout()
            raise typer.Exit(EXIT_PIPE_CLOSED) from None
        except OSError as error:
            if error.filename is not None or not _stdout_fails():
                raise
            _give_up_stdout()
            say(f"standard output cannot be written ({error.strerror}); the result is incomplete")
            raise typer.Exit(EXIT_WRONG) from None
        except KeyboardInterrupt:
            say(
                "interrupted; what was booked is safe, and running the same command again "
                "finishes the rest without booking anything twice"
            )
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except ConfigurationError as error:
            say(str(error))
            raise typer.Exit(EXIT_USAGE) from error
        except LedgerockError as error:
            say(str(error))
            raise typer.Exit(EXIT_WRONG) from error
        return result


def _stdout_fails() -> bool:
    """Whether an error was one of standard output, which the error itself does not tell."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _give_up_stdout() -> None:
    """Let what is still buffered not raise again when the interpreter flushes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(message: str) -> None:
    """Tell the person at the terminal something that is no result."""
    print(f"ledgerock: {message}", file=sys.stderr)
