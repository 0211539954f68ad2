"""What rule packs say of the templates and is so on purpose, with the reason, finding by finding.

A test runs cdk-nag's pack `AwsSolutions` over every shape: each of its findings must match a
suppression, and each suppression a finding. They stand here, and not as acknowledgements in the
constructs, because cdk-nag takes acknowledgements of whole findings alone, word by word.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True, slots=True)
class Suppression:
    """A finding that is meant to be.

    Attributes:
        rule: Of the pack, with the finding in square brackets where it reports several.
        resource: Path of the construct, below its stack; `*` stands for any text.
        reason: Why it is right as it is.
    """

    rule: str
    resource: str
    reason: str

    def matches(self, rule: str, path: str) -> bool:
        """Tell if this is about what a rule says of the construct at a path."""
        resource = path.partition("/")[2]
        return _is_like(rule, self.rule) and _is_like(resource, self.resource)


def _is_like(text: str, pattern: str) -> bool:
    """Compare with a pattern in which square brackets stand for themselves."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))


SUPPRESSIONS: Final[tuple[Suppression, ...]] = ()
