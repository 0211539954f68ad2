"""One contract for all keepers of notes."""

from tests.calls import asynchronous
from tests.contract.conftest import OpenState

FOR_EVER = 4_000_000_000_000


@asynchronous
async def test_a_note_is_what_was_put_last(open_state: OpenState) -> None:
    async with open_state() as state:
        name = "s3://bucket/" + "k" * 1_024 + "@" + "v" * 1_024
        other = name[:-1] + "w"
        assert await state.notes.get(name) is None
        await state.notes.put(name, "one", keep_until_ms=FOR_EVER)
        await state.notes.put(other, "", keep_until_ms=FOR_EVER)
        await state.notes.put(name, "two", keep_until_ms=FOR_EVER)
        assert await state.notes.get(name) == "two"
        assert await state.notes.get(other) == ""
        assert await state.notes.get("s3://bucket/k") is None


@asynchronous
async def test_notes_outlive_the_process(open_kept_state: OpenState) -> None:
    async with open_kept_state() as state:
        await state.notes.put("s3://bucket/key", "7", keep_until_ms=FOR_EVER)
    async with open_kept_state() as state:
        assert await state.notes.get("s3://bucket/key") == "7"
