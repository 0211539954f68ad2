"""Where the tiers are, as the settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from worker.adapters.tiers_file import FileTiers
from worker.core.directory_views import TEAM_TAG
from worker.ports import TierSource
from worker.settings import Settings

SSM: Final = "ssm:"


def open_tiers(settings: Settings) -> TierSource | None:
    """Open the tiers; None if there are none: nobody is given a budget then.

    Raises:
        ConfigurationError: The path of a tree of parameters is none. Files are read later.
    """
    name = settings.enforcement.tiers
    if not name:
        return None
    if name.startswith(SSM):
        from worker.adapters.tiers_ssm import SsmTiers  # noqa: PLC0415 - half a second

        return SsmTiers(name.removeprefix(SSM))
    return FileTiers(Path(name))


async def team_tag(settings: Settings) -> str:
    """Return the tag that names a principal's team.

    Raises:
        ConfigurationError: The tiers are wrong.
        TransientError: They cannot be read now.
    """
    source = open_tiers(settings)
    if source is None:
        return TEAM_TAG
    try:
        return (await source.tiers()).team_tag
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            await close()
