"""Money for people's eyes: rounded only where it is said to be, and never to zero.

JSON and CSV carry every digit; tables show as many as a column needs, six at most.
"""

from collections.abc import Iterable
from typing import Final

from worker.core.money import DECIMALS_PICO, PICO_PER_USD, format_pico_usd

DECIMALS_MIN: Final = 2
DECIMALS_MAX: Final = 6


class MoneyColumn:
    """Amounts that stand in one column, with equally many decimals where that is exact.

    Attributes:
        rounded: Whether any amount was shown with fewer digits than it has.
    """

    def __init__(self, amounts_pico_usd: Iterable[int]) -> None:
        """Choose the decimals: as many as the amounts have, within bounds."""
        needed = max((_decimals(amount) for amount in amounts_pico_usd), default=0)
        self._decimals = min(max(needed, DECIMALS_MIN), DECIMALS_MAX)
        self.rounded = False

    def show(self, pico_usd: int) -> str:
        """Return an amount such as `$1,234.50`; one too small for the column in full."""
        scale: int = 10 ** (DECIMALS_PICO - self._decimals)
        quotient, remainder = divmod(abs(pico_usd), scale)
        if 2 * remainder > scale or (2 * remainder == scale and quotient & 1):
            quotient += 1
        sign = "-" if pico_usd < 0 else ""
        if pico_usd and not quotient:
            return f"{sign}${format_pico_usd(abs(pico_usd))}"
        self.rounded = self.rounded or remainder != 0
        whole, fraction = divmod(quotient, 10**self._decimals)
        return f"{sign}${whole:,}.{fraction:0{self._decimals}d}"


def show_usd(pico_usd: int) -> str:
    """Return one amount by itself, in full."""
    sign = "-" if pico_usd < 0 else ""
    whole, fraction = divmod(abs(pico_usd), PICO_PER_USD)
    digits = f"{fraction:0{DECIMALS_PICO}d}".rstrip("0").ljust(DECIMALS_MIN, "0")
    return f"{sign}${whole:,}.{digits}"


def _decimals(pico_usd: int) -> int:
    fraction = abs(pico_usd) % PICO_PER_USD
    return len(f"{fraction:0{DECIMALS_PICO}d}".rstrip("0")) if fraction else 0
