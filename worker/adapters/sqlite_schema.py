"""The tables of the embedded ledger, and how amounts are added to a balance.

SQLite integers end at 2^63 and overflow into floats without a word. Money is therefore kept
as whole USD and the pico-USD below one, with a carry, and every column is checked to hold an
integer.
"""

from __future__ import annotations

from typing import Final

from worker.core.ledger import AMOUNT_FIELDS, Leaf
from worker.core.money import PICO_PER_USD

SCHEMA_VERSION: Final = 3
APPLICATION_ID: Final = 0x4C454447
"""Marks the file as a ledger (SQLite's `application_id`): the letters LEDG."""

LEAF_FIELDS: Final = Leaf.__struct_fields__
MONEY_FIELDS: Final = ("cost_pico_usd", "estimated_pico_usd")
COUNT_FIELDS: Final = tuple(name for name in AMOUNT_FIELDS if name not in MONEY_FIELDS)
MONEY_COLUMNS: Final = ("cost_usd", "cost_pico", "estimated_usd", "estimated_pico")


_SEALED: Final = (
    "CREATE TABLE sealed (leaf_id INTEGER PRIMARY KEY, day INTEGER NOT NULL, "
    "seal_day INTEGER NOT NULL, amounts BLOB NOT NULL)"
)
"""What sealed calls add up to: the leaf and its day, the watermark of the seal, the sum."""

MIGRATIONS: Final = {
    1: "ALTER TABLE balance ADD COLUMN pool TEXT NOT NULL DEFAULT ''",
    2: _SEALED,
}
"""By version: the statement that makes a ledger of that version one of the next. Leaves of before
keep their ids and are in no pool, so that every sum stays right."""


def schema() -> str:
    """Return the statements that make a new ledger, separated by semicolons."""
    integers = (*COUNT_FIELDS, *MONEY_COLUMNS)
    columns = ",\n  ".join(
        f"{name} INTEGER NOT NULL CHECK (typeof({name}) = 'integer')" for name in integers
    )
    return f"""
CREATE TABLE entry (key BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE interned (id INTEGER PRIMARY KEY, encoded BLOB NOT NULL);
CREATE TABLE progress (name TEXT PRIMARY KEY, note TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE balance (
  leaf_id INTEGER PRIMARY KEY,
  principal TEXT NOT NULL,
  identity TEXT NOT NULL,
  agent TEXT NOT NULL,
  team TEXT NOT NULL,
  application TEXT NOT NULL,
  account TEXT NOT NULL,
  model TEXT NOT NULL,
  day INTEGER NOT NULL,
  pool TEXT NOT NULL DEFAULT '',
  {columns}
);
{_SEALED};
CREATE INDEX balance_by_principal ON balance (principal, day);
CREATE INDEX balance_by_day ON balance (day);
"""


DIMENSION_COLUMNS: Final = ("leaf_id", *(name for name in LEAF_FIELDS if name != "local_days"))
BALANCE_COLUMNS: Final = (*DIMENSION_COLUMNS, *COUNT_FIELDS, *MONEY_COLUMNS)


def _post_statement() -> str:
    """SQL that adds amounts to a balance; pico-USD carry into whole USD."""
    names = ", ".join(BALANCE_COLUMNS)
    marks = ", ".join("?" * len(BALANCE_COLUMNS))
    updates = [f"{name} = {name} + excluded.{name}" for name in COUNT_FIELDS]
    for usd, pico in (MONEY_COLUMNS[:2], MONEY_COLUMNS[2:]):
        # Both parts lie in [0, 10^12), so neither the sum nor the carry can overflow.
        carried = f"({pico} + excluded.{pico})"
        updates.append(f"{usd} = {usd} + excluded.{usd} + {carried} / {PICO_PER_USD}")
        updates.append(f"{pico} = {carried} % {PICO_PER_USD}")
    return (
        f"INSERT INTO balance ({names}) VALUES ({marks}) "  # noqa: S608 - column names are ours
        f"ON CONFLICT (leaf_id) DO UPDATE SET {', '.join(updates)}"
    )


POST: Final = _post_statement()
AMOUNT_COLUMNS: Final = (*COUNT_FIELDS, *MONEY_COLUMNS)
