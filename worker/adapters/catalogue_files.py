"""The price catalogue from files: the packaged CSV tables and the operator's own rows."""

from importlib import resources
from pathlib import Path
from typing import Final

from worker.core.catalogue import Catalogue
from worker.core.catalogue_text import parse_models, parse_rates, parse_tiers
from worker.core.errors import ConfigurationError

PACKAGED: Final = "data/prices"
MODELS_FILE: Final = "models.csv"
TIERS_FILE: Final = "tiers.csv"

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest price file that is read; the packaged tables together have a fiftieth of it."""


def load_catalogue(override: Path | None = None, directory: Path | None = None) -> Catalogue:
    """Load the catalogue.

    Args:
        override: The operator's file of rate rows, which win over packaged ones.
        directory: Another directory of tables instead of the packaged ones.

    Raises:
        ConfigurationError: a file cannot be read or a row is malformed; the message names the
            file, line and column.
    """
    root = directory or Path(str(resources.files("worker").joinpath(PACKAGED)))
    try:
        paths = sorted(path for path in root.iterdir() if path.suffix == ".csv")
    except OSError as error:
        message = f"{root}: cannot list the price tables ({error.strerror})"
        raise ConfigurationError(message) from error
    rates = [path for path in paths if path.name not in (MODELS_FILE, TIERS_FILE)]
    rows = [row for path in rates for row in parse_rates(_read(path), path.name)]
    if override is not None:
        rows += parse_rates(_read(override), str(override), override=True)
    return Catalogue(
        rows,
        parse_models(_read(root / MODELS_FILE), MODELS_FILE),
        parse_tiers(_read(root / TIERS_FILE), TIERS_FILE),
    )


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            message = f"{path}: larger than {FILE_BYTES_MAX} bytes; no price file is"
            raise ConfigurationError(message)
        return path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); check the path and its permissions"
        raise ConfigurationError(message) from error
    except UnicodeDecodeError as error:
        message = f"{path}: not UTF-8 text at byte {error.start}; save it as CSV in UTF-8"
        raise ConfigurationError(message) from error
