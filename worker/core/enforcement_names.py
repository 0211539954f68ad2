"""Where records of enforcement are kept: partitions, names and queues, in one place.

partition           name                            what
t#<budget>          <first day>                     `BudgetStatus`
t#<budget>          <first day>#<principal>         `Member`
t#<budget>          look#<first day>                a look at the budget that is due
h#<principal>       suspension                      `Suspension`
h#<principal>       snapshot#<suspension>#<target>  `Snapshot` of what was found, written once
h#<principal>       taken#<suspension>#<target>     `Snapshot` of what is taken, written once
g                   <number>                        an entry of the audit log
g                   head                            where the audit log ends
g#<hash>            once                            an act that the audit log has, by its name
d                   <subject>                       a subject of the directory
e                   <principal>                     `Given`: which tier's budgets it was given
e#tiers             now                             which tiers everybody is given budgets by
e#left              <subject>                       a subject that is still to be given its budgets
k                   <user>                          `Keys`: which keys it has through provisioning
p                   <principal>                     `Provision`: a user that `ledgerock keys` made
n#<channel>         <notice>                        who tells people of a notice just now
"""

from __future__ import annotations

from typing import Final

QUEUE_MONITOR: Final = "monitor"
"""Statuses: grace that expired, periods that turned; and looks that are due."""
QUEUE_ENFORCE: Final = "enforce"
"""Suspensions that wait to be carried out, or to be undone."""
QUEUE_DIRECTORY: Final = "directory"
"""Subjects by when they last changed."""
QUEUE_BUDGETS: Final = "budgets"
"""Budgets by when they last changed."""
QUEUE_TAGS: Final = "tags"
"""Users whose own tags are to be looked at, and mended."""
QUEUE_GIVING: Final = "giving"
"""Subjects that could not be given their budgets."""

AUDIT: Final = "g"
AUDIT_HEAD: Final = "head"
DIRECTORY: Final = "d"
GIVEN: Final = "e"
TIERS_IN_FORCE: Final[tuple[str, str]] = "e#tiers", "now"
LEFT: Final = "e#left"
KEYS: Final = "k"
PROVISIONED: Final = "p"
SUSPENSION: Final = "suspension"
LOOK: Final = "look#"
SNAPSHOT: Final = "snapshot#"
TAKEN: Final = "taken#"


def status_partition(budget: str) -> str:
    """Return the partition of everything that is kept of a budget's periods."""
    return f"t#{budget}"


def day_name(first_day: int) -> str:
    """Return a day as names hold it: of fixed width, so that names are in order."""
    return f"{first_day:07d}"


def suspension_partition(principal: str) -> str:
    """Return the partition of everything that is kept of a principal's suspension."""
    return f"h#{principal}"


def telling_partition(channel: str) -> str:
    """Return the partition of the claims on what is told through a channel."""
    return f"n#{channel}"


def audit_name(number: int) -> str:
    """Return an entry's number as names hold it: of fixed width, so that names are in order."""
    return f"{number:012d}"


def once_partition(digest: str) -> str:
    """Return the partition that marks an act which the audit log has."""
    return f"{AUDIT}#{digest}"
