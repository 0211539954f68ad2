"""What adapters of the state share: how its values are written down, and when one changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from worker.core.budget_terms import Budget
from worker.core.enforcement_names import AUDIT
from worker.core.registry import ApplicationProfile
from worker.ports import Notice, NoticeState

_ENCODER: Final = msgspec.json.Encoder()
_BUDGETS: Final = msgspec.json.Decoder(Budget)
_NOTICES: Final = msgspec.json.Decoder(Notice)
_PROFILES: Final = msgspec.json.Decoder(ApplicationProfile)


def encoded(value: Budget | Notice | ApplicationProfile) -> str:
    """Write a value down, as JSON."""
    return _ENCODER.encode(value).decode()


def decoded_budget(text: str) -> Budget:
    """Undo `encoded`."""
    return _BUDGETS.decode(text)


def decoded_notice(text: str) -> Notice:
    """Undo `encoded`."""
    return _NOTICES.decode(text)


def decoded_profile(text: str) -> ApplicationProfile:
    """Undo `encoded`."""
    return _PROFILES.decode(text)


def is_known(known: Mapping[str, Budget] | None, name: str, revision: int) -> bool:
    """Whether a revision of a budget is among those that are known."""
    before = None if known is None else known.get(name)
    return before is not None and before.revision == revision


def is_audit(partition: str) -> bool:
    """Whether records of a partition are the audit log's, which changes in its own way alone."""
    return partition == AUDIT or partition.startswith(f"{AUDIT}#")


def settled(notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None) -> Notice:
    """Return a notice as it is once it is announced or has lapsed."""
    said = notice.detail if detail is None else msgspec.Raw(detail)
    return msgspec.structs.replace(notice, state=state, announced_at_ms=at_ms, detail=said)


def better_profile(old: ApplicationProfile, new: ApplicationProfile) -> ApplicationProfile | None:
    """Return what is known of a profile once `new` is learnt; None if that is nothing new.

    What is known stays: a profile's tags, or its application and since when it belongs there,
    are only filled in where there were none.
    """
    better = old
    if new.tags and not old.tags:
        better = msgspec.structs.replace(better, tags=new.tags)
    if new.application and not old.application:
        better = msgspec.structs.replace(better, application=new.application, period=new.period)
    return None if better is old else better
