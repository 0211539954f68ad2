"""Catalogue, registry, learned profiles and the directory, as one poster."""

from __future__ import annotations

from collections.abc import Sequence

from worker.adapters.catalogue_files import load_catalogue
from worker.adapters.registry_file import load_registry
from worker.bootstrap.state import open_state
from worker.bootstrap.tiers import team_tag
from worker.core.posting import Poster
from worker.core.registry import (
    EMPTY_REGISTRY,
    NOTHING_LEARNED,
    ApplicationProfile,
    Registry,
)
from worker.pipeline.knowledge import load_learned
from worker.ports import Records
from worker.settings import Settings


def make_poster(settings: Settings) -> Poster:
    """Load the price catalogue and the registry.

    Raises:
        ConfigurationError: A file is missing or malformed.
    """
    registry = make_registry(settings)
    return Poster(load_catalogue(settings.prices), registry)


async def load_poster(settings: Settings) -> Poster:
    """Load catalogue and registry, and what was learned of profiles, agents and principals.

    Raises:
        ConfigurationError: A file is missing or malformed.
        TransientError: A shared ledger cannot be reached now.
    """
    poster = make_poster(settings)
    state = open_state(settings, must_exist=True)
    try:
        poster = with_profiles(poster, await state.profiles.profiles())
        return await with_directory(poster, state.records, settings)
    finally:
        await state.close()


def with_profiles(poster: Poster, profiles: Sequence[ApplicationProfile]) -> Poster:
    """Return a poster that also knows profiles that were learned of."""
    if not profiles:
        return poster
    return Poster(poster.catalogue, poster.registry.with_profiles(profiles))


async def with_directory(poster: Poster, records: Records, settings: Settings) -> Poster:
    """Return a poster that also knows what lifecycle events said of agents and principals.

    Raises:
        ConfigurationError: The tiers are wrong, which name the tag of teams.
        TransientError: Records or tiers cannot be read now.
    """
    learned = await load_learned(records, poster.registry, await team_tag(settings))
    if learned == NOTHING_LEARNED:
        return poster
    return Poster(poster.catalogue, poster.registry.with_directory(learned))


def make_registry(settings: Settings) -> Registry:
    """Load the registry.

    Raises:
        ConfigurationError: Its file is missing or malformed.
    """
    return EMPTY_REGISTRY if settings.registry is None else load_registry(settings.registry)
