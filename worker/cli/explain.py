"""`ledgerock explain`: what any payload means, call by call."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from worker.cli.options import PricesOption, RegistryOption, read_settings
from worker.core.errors import ConfigurationError

STANDARD_INPUT: Final = "-"
READ_BYTES: Final = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock explain invocation.json.gz | jq .cost_usd")(explain)


def explain(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|-",
            help="Any payloads: log files, events, queue messages; gzip too. - is stdin.",
        ),
    ] = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
) -> None:
    """Explain any payload: one JSON object a line, merged by call.

    Nothing is booked. Several files are explained together, so that a log and a CloudTrail
    event of one call become one object. Records that are no calls say why they are ignored or
    would be quarantined.
    """
    from worker.bootstrap import make_poster
    from worker.cli.output import print_json_line
    from worker.core.decoders import Decoder
    from worker.core.explanation import Explanation

    explanation = Explanation(make_poster(read_settings(registry=registry, prices=prices)))
    decoder = Decoder()
    for file in files or [STANDARD_INPUT]:
        source = "" if file == STANDARD_INPUT else file
        for block in decoder.decode_stream(_read(file), source=source):
            explanation.add(block.outcomes)
    for document in explanation.documents():
        print_json_line(document)


def _read(file: str) -> Iterator[bytes]:
    if file == STANDARD_INPUT:
        yield from _chunks(sys.stdin.buffer)
        return
    try:
        with Path(file).open("rb") as stream:
            yield from _chunks(stream)
    except OSError as error:
        message = f"{file}: cannot be read ({error.strerror}); give a file, or - for stdin"
        raise ConfigurationError(message) from error


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while chunk := stream.read(READ_BYTES):
        yield chunk
