"""Catalogue, registry and learned profiles, as one poster."""

from __future__ import annotations

from collections.abc import Sequence

from worker.adapters.catalogue_files import load_catalogue
from worker.adapters.registry_file import load_registry
from worker.bootstrap.state import open_state
from worker.core.posting import Poster
from worker.core.registry import EMPTY_REGISTRY, ApplicationProfile, Registry
from worker.settings import Settings


def make_poster(settings: Settings) -> Poster:
    """Load the price catalogue and the registry.

    Raises:
        ConfigurationError: A file is missing or malformed.
    """
    registry = make_registry(settings)
    return Poster(load_catalogue(settings.prices), registry)


async def load_poster(settings: Settings) -> Poster:
    """Load catalogue and registry, and the profiles that were learned of beside the ledger.

    Raises:
        ConfigurationError: A file is missing or malformed.
        TransientError: A shared ledger cannot be reached now.
    """
    poster = make_poster(settings)
    state = open_state(settings, must_exist=True)
    try:
        return with_profiles(poster, await state.profiles.profiles())
    finally:
        await state.close()


def with_profiles(poster: Poster, profiles: Sequence[ApplicationProfile]) -> Poster:
    """Return a poster that also knows profiles that were learned of."""
    if not profiles:
        return poster
    return Poster(poster.catalogue, poster.registry.with_profiles(profiles))


def make_registry(settings: Settings) -> Registry:
    """Load the registry.

    Raises:
        ConfigurationError: Its file is missing or malformed.
    """
    return EMPTY_REGISTRY if settings.registry is None else load_registry(settings.registry)
