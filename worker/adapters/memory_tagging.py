"""Tags in memory, for tests and the laptop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


class MemoryTagging:
    """A `worker.ports.Tagging` in a dictionary.

    Args:
        subjects: Users and roles that there are.

    Attributes:
        by_subject: Their tags.
    """

    def __init__(self, subjects: Iterable[str] = ()) -> None:
        """Begin without tags."""
        self.by_subject: dict[str, dict[str, str]] = {subject: {} for subject in subjects}

    async def tags(self, subject: str) -> dict[str, str] | None:
        """Return all tags of a user or role; see the port."""
        found = self.by_subject.get(subject)
        return None if found is None else dict(found)

    async def tag(self, subject: str, tags: Mapping[str, str]) -> bool:
        """Set some tags; see the port."""
        if subject in self.by_subject:
            self.by_subject[subject].update(tags)
        return subject in self.by_subject

    async def untag(self, subject: str, keys: Collection[str]) -> bool:
        """Take some tags away; see the port."""
        for key in keys:
            self.by_subject.get(subject, {}).pop(key, None)
        return subject in self.by_subject

    async def close(self) -> None:
        """Hold nothing that needs closing."""
