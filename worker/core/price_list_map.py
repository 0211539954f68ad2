"""What the words of the AWS Price List mean, read from TOML: names, dimensions, modifiers, skips.

The Price List has no attribute that is a model id; a mapping by hand is unavoidable. It is data
(`worker/data/price_list_map.toml`), and an operator's own file is merged over it.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from worker.core.errors import ConfigurationError

PRODUCT_FIELDS: Final = (
    "sku",
    "servicecode",
    "servicename",
    "model",
    "titanModel",
    "provider",
    "inferenceType",
    "feature",
    "featuretype",
    "service_tier",
    "usagetype",
    "operation",
    "group",
    "unit",
    "description",
    "regionCode",
)
"""Fields of a product, of its price dimension and of its offer that rules may look at."""

_WORDS = re.compile(r"[^a-z0-9.]+", re.ASCII)
_NAME = re.compile(r"[^a-z0-9]+", re.ASCII)


class Modifier(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a word beside the count says; None and False where it says nothing of a matter."""

    routing: Literal["regional", "global"] | None = None
    tier: str | None = None
    long_context: bool = False
    mantle: bool = False


class SkipRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Products that are no rate: those with `pattern` (a regular expression) in `field`."""

    field: str
    pattern: str
    reason: str


class FreeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A price of $0 that is meant: of models that `model` matches whole, for one unit."""

    model: str
    unit: str
    note: str


class RowRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One product, or some, spelt out: where every field of `match` matches whole."""

    match: dict[str, str]
    model: str
    unit: str
    routing: Literal["regional", "global"] = "regional"
    tier: str = "standard"
    above_input_tokens: int = 0


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: dict[str, str] = {}
    dimensions: dict[str, str] = {}
    modifiers: dict[str, Modifier] = {}
    units: dict[str, int] = {}
    free: list[FreeRule] = []
    skip: list[SkipRule] = []
    row: list[RowRule] = []


Words = tuple[str, ...]
Key = TypeVar("Key", str, Words)


class PriceListMap(msgspec.Struct, frozen=True):
    """Everything the mapping says.

    Attributes:
        names: Model id by normalised name.
        dimensions: Unit of the catalogue by words.
        modifiers: Meaning by words.
        units: Units that a price is for, by words.
        free: Meant prices of $0.
        skip: Rules of what is no rate, with their compiled patterns, in order.
        rows: Products that are spelt out, with their compiled patterns.
        words_max: Longest key of dimensions and modifiers.
    """

    names: Mapping[str, str]
    dimensions: Mapping[Words, str]
    modifiers: Mapping[Words, Modifier]
    units: Mapping[Words, int]
    free: Sequence[tuple[re.Pattern[str], FreeRule]]
    skip: Sequence[tuple[re.Pattern[str], SkipRule]]
    rows: Sequence[tuple[Mapping[str, re.Pattern[str]], RowRule]]
    words_max: int


def words(text: str) -> Words:
    """Split a text into the words that it is compared by; case and punctuation do not matter."""
    return tuple(word for word in _WORDS.split(text.casefold()) if word.strip("."))


def normal_name(text: str) -> str:
    """Return a model's name as it is compared: letters and digits only."""
    return _NAME.sub("", text.casefold())


def parse_map(texts: Iterable[tuple[str, str]]) -> PriceListMap:
    """Read mappings and merge them; the first file that says something wins.

    Args:
        texts: (TOML text, name of its file), the operator's own before the packaged one.

    Raises:
        ConfigurationError: a text is no such mapping; the message names the file and the entry.
    """
    files = [(_file(text, origin), origin) for text, origin in texts]
    names: dict[str, str] = {}
    dimensions: dict[Words, str] = {}
    modifiers: dict[Words, Modifier] = {}
    units: dict[Words, int] = {}
    for file, origin in files:
        for name, model in file.names.items():
            names.setdefault(_key(normal_name(name), name, origin), model)
        for name, unit in file.dimensions.items():
            dimensions.setdefault(_key(words(name), name, origin), unit)
        for name, modifier in file.modifiers.items():
            modifiers.setdefault(_key(words(name), name, origin), modifier)
        for name, per in file.units.items():
            if per < 1:
                message = f"{origin}: units: {name!r}: found {per}, expected at least 1"
                raise ConfigurationError(message)
            units.setdefault(_key(words(name), name, origin), per)
    return PriceListMap(
        names,
        dimensions,
        modifiers,
        units,
        [(_pattern(r.model, "free", origin), r) for file, origin in files for r in file.free],
        [(_skip_pattern(r, origin), r) for file, origin in files for r in file.skip],
        [(_row_patterns(r, origin), r) for file, origin in files for r in file.row],
        max((len(key) for key in (*dimensions, *modifiers)), default=0),
    )


def _file(text: str, origin: str) -> _File:
    try:
        return msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{origin}: not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{origin}: {error}; see price_list_map.toml") from error


def _key(key: Key, name: str, origin: str) -> Key:
    if not key:
        raise ConfigurationError(f"{origin}: {name!r}: has no letters or digits to compare by")
    return key


def _skip_pattern(rule: SkipRule, origin: str) -> re.Pattern[str]:
    _check_field(rule.field, f"{origin}: skip")
    return _pattern(rule.pattern, "skip", origin)


def _row_patterns(rule: RowRule, origin: str) -> dict[str, re.Pattern[str]]:
    if not rule.match:
        raise ConfigurationError(f"{origin}: row: match: found nothing, expected a field")
    for field in rule.match:
        _check_field(field, f"{origin}: row")
    return {field: _pattern(text, "row", origin) for field, text in rule.match.items()}


def _check_field(field: str, place: str) -> None:
    if field not in PRODUCT_FIELDS:
        expected = ", ".join(PRODUCT_FIELDS)
        raise ConfigurationError(f"{place}: field: found {field!r}, expected one of {expected}")


def _pattern(text: str, section: str, origin: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.ASCII | re.IGNORECASE)
    except re.error as error:
        message = f"{origin}: {section}: {text!r} is no regular expression: {error}"
        raise ConfigurationError(message) from error
