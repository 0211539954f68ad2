"""Which ledger the settings name, and where what belongs to it lies."""

from pathlib import Path

import pytest

from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.quarantine_files import FileQuarantine
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.bootstrap import open_ledger, open_quarantine
from worker.core.errors import ConfigurationError
from worker.settings import Settings


def test_a_shared_ledger_is_named_by_option_or_environment() -> None:
    assert Settings.read({}, ledger="dynamodb").ledger_tables == "ledgerock"
    assert Settings.read({}, ledger="dynamodb:team-a").ledger_tables == "team-a"
    named = {"LEDGEROCK_TABLE_PREFIX": "team-b", "LEDGEROCK_LEDGER": "dynamodb"}
    assert Settings.read(named).ledger_tables == "team-b"
    assert Settings.read(named, ledger="dynamodb:team-c").ledger_tables == "team-c"
    assert Settings.read(named, ledger="sqlite:x.db").ledger_tables is None
    assert Settings.read(named, ledger="memory").ledger_tables is None


def test_a_shared_ledger_has_no_file_and_a_quarantine_in_the_working_directory() -> None:
    shared = Settings.read({}, ledger="dynamodb")
    assert (shared.ledger_file, shared.is_kept) == (None, True)
    assert shared.quarantine_directory == Path("ledgerock.quarantine")
    named = Settings.read({"LEDGEROCK_QUARANTINE": "/data/q"}, ledger="dynamodb")
    assert named.quarantine_directory == Path("/data/q")
    memory = Settings.read({}, ledger="memory")
    assert (memory.quarantine_directory, memory.is_kept) == (None, False)
    file = Settings.read({}, ledger="sqlite:a/b.db")
    assert file.quarantine_directory == Path("a/b.db.quarantine")


def test_opening_a_shared_ledger_asks_nothing_yet() -> None:
    ledger = open_ledger(Settings.read({}, ledger="dynamodb"), must_exist=True)
    assert isinstance(ledger, DynamoLedger)
    shared = Settings.read({}, ledger="dynamodb")
    assert isinstance(open_quarantine(shared, discard=True), MemoryQuarantine)
    assert isinstance(open_quarantine(shared), FileQuarantine)


@pytest.mark.parametrize("ledger", ["dynamodb:a b", f"dynamodb:{'x' * 201}", "redis", "sqlite:"])
def test_what_cannot_be_a_ledger_is_refused(ledger: str) -> None:
    with pytest.raises(ConfigurationError, match="dynamodb:PREFIX"):
        open_ledger(Settings.read({}, ledger=ledger))


def test_flags_and_numbers_of_the_environment_are_checked() -> None:
    assert Settings.read({"LEDGEROCK_CREATE_TABLES": "1"}).create_tables
    assert not Settings.read({"LEDGEROCK_CREATE_TABLES": "0"}).create_tables
    assert Settings.read({"LEDGEROCK_ENTRIES_PER_SECOND": "250"}).entries_per_second == 250
    with pytest.raises(ConfigurationError, match="LEDGEROCK_CREATE_TABLES=maybe: give 1 or 0"):
        Settings.read({"LEDGEROCK_CREATE_TABLES": "maybe"})
    for wrong in ("0", "-1", "fast", "1.5"):
        with pytest.raises(ConfigurationError, match="ENTRIES_PER_SECOND"):
            Settings.read({"LEDGEROCK_ENTRIES_PER_SECOND": wrong})
