"""Faults that are planted into a healthy stage: each with the check that must find it."""

from typing import Final

from tests.unit.doctor import account_faults, book_faults
from tests.unit.doctor.planting import Fault

FAULTS: Final[list[Fault]] = [*account_faults.FAULTS, *book_faults.FAULTS]
