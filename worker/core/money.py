"""Exact money: integers inside, decimal strings outside, one rounding per call.

Two scales are used. A *rate* is an integer number of atto-USD (10**-18 USD) per unit, fine
enough for every published price divided by its "per million" and by every documented
discount. An amount that is *charged* is an integer number of pico-USD (10**-12 USD). A
charge is the exact sum of quantity x rate in atto-USD, rounded half-even once to pico-USD.

Python integers have no size limit and no context, so 10**12 USD is as exact as a fraction of
a cent; `decimal.Decimal` is not used, because its arithmetic rounds to 28 digits by default.
"""

import re
from typing import Final

PICO_PER_USD: Final = 10**12
ATTO_PER_USD: Final = 10**18
ATTO_PER_PICO: Final = ATTO_PER_USD // PICO_PER_USD

DECIMALS_PICO: Final = 12
DECIMALS_ATTO: Final = 18

DIGITS_MAX: Final = 40
"""Longest decimal string that is parsed; 10**12 USD with 18 decimals has 32 characters."""

_HALF: Final = ATTO_PER_PICO // 2
_POWERS_OF_TEN: Final = tuple(int("1" + "0" * exponent) for exponent in range(DIGITS_MAX + 1))
_DECIMAL = re.compile(r"(-?)([0-9]{1,40})(?:\.([0-9]{1,40}))?", re.ASCII)


class MoneyError(ValueError):
    """A string that is no exact amount of money at the scale that was asked for."""


def round_half_even_to_pico(atto: int) -> int:
    """Round atto-USD to pico-USD, ties to the even neighbour; exact for any size and sign."""
    quotient, remainder = divmod(atto, ATTO_PER_PICO)
    if remainder > _HALF or (remainder == _HALF and quotient & 1):
        return quotient + 1
    return quotient


def parse_usd_to_pico(text: str) -> int:
    """Read a decimal string of USD (`"0.0105"`, `"-3"`) as pico-USD.

    Raises:
        MoneyError: not a plain decimal (no exponent, sign `-` only), or finer than 12 decimals.
    """
    return _parse_scaled(text, per=1, decimals=DECIMALS_PICO)


def parse_rate_to_atto(usd: str, per: int = 1) -> int:
    """Read the price `usd` of `per` units as atto-USD per unit.

    Raises:
        MoneyError: not a plain decimal, `per` below 1, or a price of one unit that is finer
            than 18 decimals.
    """
    return _parse_scaled(usd, per=per, decimals=DECIMALS_ATTO)


def format_pico_usd(pico: int) -> str:
    """Write pico-USD as an exact decimal string of USD without trailing zeros or exponent."""
    return _format_scaled(pico, DECIMALS_PICO)


def format_atto_usd(atto: int) -> str:
    """Write atto-USD as an exact decimal string of USD without trailing zeros or exponent."""
    return _format_scaled(atto, DECIMALS_ATTO)


def _parse_scaled(text: str, *, per: int, decimals: int) -> int:
    match = _DECIMAL.fullmatch(text)
    if match is None or len(text) > DIGITS_MAX:
        msg = (
            f"expected a decimal number of USD like 0.0105 of at most {DIGITS_MAX} characters,"
            f" found {text[:60]!r}"
        )
        raise MoneyError(msg)
    if per < 1:
        msg = f"expected a number of units of at least 1, found {per}"
        raise MoneyError(msg)
    sign, whole, fraction = match[1], match[2], match[3] or ""
    scaled, rest = divmod(
        int(whole + fraction) * _POWERS_OF_TEN[decimals], _POWERS_OF_TEN[len(fraction)] * per
    )
    if rest:
        unit = "" if per == 1 else f" per unit (divided by {per})"
        msg = f"expected at most {decimals} decimals{unit}, found {text!r}"
        raise MoneyError(msg)
    return -scaled if sign else scaled


def _format_scaled(value: int, decimals: int) -> str:
    whole, fraction = divmod(abs(value), _POWERS_OF_TEN[decimals])
    sign = "-" if value < 0 else ""
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:0{decimals}d}".rstrip("0")
