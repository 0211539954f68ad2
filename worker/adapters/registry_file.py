"""The registry as a TOML file that the operator writes.

```toml
[[agents]]
id = "agent/111122223333/us-east-1/SUPPORTBOT"
name = "support-bot"
role_arns = ["arn:aws:iam::111122223333:role/agents/SupportBotRole"]
effective_from = 2026-01-01T00:00:00Z   # optional, as is effective_to: a time with an offset,
                                        # or a date, which means midnight UTC

[[principals]]
match = "user/111122223333/*"           # * stands for any text
team = "research"
tags = { cost_center = "4711" }

[[pools]]
name = "trials"                         # several entries may add to one pool
match = "user/111122223333/*"           # by default "*"
tags = { stage = "trial" }              # all of them must be among the principal's

[[applications]]
arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcd1234efgh"
model = "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-..."
application = "checkout-assistant"

[[rules]]
role_arn = "arn:aws:iam::111122223333:role/GatewayRole"
pay_by = "metadata"                     # role, session or metadata
metadata_key = "application"
organisation = "acme"

[[calendars]]
scope = "team/research"                 # or "everything", "principal/*", "*"
time_zone = "Europe/Berlin"
```

Everything is checked when the file is read; errors name the file, the entry, the key, what was
found and what is expected.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from worker.core.errors import ConfigurationError
from worker.core.model_id import Billing, is_application_profile, resolve_model
from worker.core.registry import (
    CALENDAR_KINDS,
    EMPTY_REGISTRY,
    EVERYTHING,
    WILDCARD,
    Agent,
    ApplicationProfile,
    Calendar,
    PayBy,
    Period,
    Pool,
    PrincipalFact,
    Registry,
    TrustRule,
    parse_role_arn,
)

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Largest registry file that is read."""

_FOUND_LENGTH_MAX: Final = 120
_TEXT_LENGTH_MAX: Final = 256
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT: Final = "a date, or a time with an offset such as 2026-01-01T00:00:00Z"
_KINDS: Final = {
    "role_arns": "a list of texts",
    "tags": "a table of texts",
    "pay_by": "one of role, session, metadata",
}
"""What keys take that take something else than a text."""

_MISSING: Final = object()
_PRINCIPAL_KINDS: Final = (
    "user",
    "role",
    "session",
    "federated",
    "service",
    "root",
    "unknown",
    "agent",
    "app",
)

_AGENT_ID = re.compile(r"agent/[0-9]{12}/[a-z0-9-]{1,32}/[A-Za-z0-9._@+=,%~-]{1,256}", re.ASCII)
_KEY = re.compile(r"[A-Za-z0-9._@+=,%~*/-]{1,1024}", re.ASCII)
_ROLE_ARN = re.compile(
    r"arn:aws(-[a-z0-9-]{1,24})?:iam::([0-9]{12}|\*):role/[A-Za-z0-9_+=,.@*/-]{1,576}", re.ASCII
)


class _AgentEntry(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    role_arns: list[str]
    name: str = ""
    effective_from: datetime | None = None
    effective_to: datetime | None = None


class _PrincipalEntry(msgspec.Struct, forbid_unknown_fields=True):
    match: str
    team: str = ""
    tags: dict[str, str] = {}
    effective_from: datetime | None = None
    effective_to: datetime | None = None


class _PoolEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    match: str = WILDCARD
    tags: dict[str, str] = {}
    effective_from: datetime | None = None
    effective_to: datetime | None = None


class _ApplicationEntry(msgspec.Struct, forbid_unknown_fields=True):
    arn: str
    model: str
    application: str = ""
    tags: dict[str, str] = {}
    effective_from: datetime | None = None
    effective_to: datetime | None = None


class _RuleEntry(msgspec.Struct, forbid_unknown_fields=True):
    role_arn: str
    pay_by: PayBy
    metadata_key: str = ""
    organisation: str = ""
    effective_from: datetime | None = None
    effective_to: datetime | None = None


class _CalendarEntry(msgspec.Struct, forbid_unknown_fields=True):
    scope: str
    time_zone: str


class _Place:
    """Where in which file something stands; raises errors that say so."""

    def __init__(self, path: str, table: str, index: int, raw: Mapping[str, object]) -> None:
        self.text = f"[[{table}]] entry {index + 1}"
        self._path = path
        self._raw = raw

    def fail(self, key: str, expected: str, found: object = None) -> NoReturn:
        """Raise an error on one key of this entry."""
        shown = _shown(self._raw.get(key, _MISSING) if found is None else found)
        if len(shown) > _FOUND_LENGTH_MAX:
            shown = f"{shown[:_FOUND_LENGTH_MAX]}..."
        raise ConfigurationError(
            f"registry {self._path}: {self.text}: {key}: expected {expected}, found {shown}"
        )


def _shown(value: object) -> str:
    """Return a value much as it is written in the file."""
    match value:
        case bool():
            return str(value).lower()
        case date() | time():
            return value.isoformat().replace("+00:00", "Z")
        case list():
            return f"[{', '.join(map(_shown, value))}]"
        case dict():
            return f"{{ {', '.join(f'{key} = {_shown(item)}' for key, item in value.items())} }}"
        case _:
            return "nothing" if value is _MISSING else repr(value)


_Entry = TypeVar(
    "_Entry",
    _AgentEntry,
    _PrincipalEntry,
    _PoolEntry,
    _ApplicationEntry,
    _RuleEntry,
    _CalendarEntry,
)
_Fact = TypeVar("_Fact", Agent, PrincipalFact, Pool, ApplicationProfile, TrustRule, Calendar)

_TABLES: Final = ("agents", "principals", "pools", "applications", "rules", "calendars")


def empty_registry() -> Registry:
    """Return the registry in which nothing is known."""
    return EMPTY_REGISTRY


def load_registry(path: Path) -> Registry:
    """Read a registry file.

    Args:
        path: The TOML file.

    Returns:
        The registry.

    Raises:
        ConfigurationError: The file cannot be read, is not TOML, or an entry is wrong.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        message = f"registry {path}: cannot be read ({error.strerror}); check the path"
        raise ConfigurationError(message) from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigurationError(
            f"registry {path}: expected at most {FILE_BYTES_MAX} bytes, found more"
        )
    return parse_registry(content, str(path))


def parse_registry(content: bytes, path: str) -> Registry:
    """Read a registry from the content of a TOML file; `path` names it in errors.

    Raises:
        ConfigurationError: The content is not TOML, or an entry is wrong.
    """
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"registry {path}: is not valid TOML: not UTF-8 text at byte {error.start}"
        raise ConfigurationError(message) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"registry {path}: is not valid TOML: {error}") from error
    for table in document:
        if table not in _TABLES:
            raise ConfigurationError(
                f"registry {path}: expected tables {', '.join(_TABLES)}, found {table!r}"
            )
    applications = _read(document, path, "applications", _ApplicationEntry, _application)
    _check_profiles(applications, path)
    return Registry(
        agents=_read(document, path, "agents", _AgentEntry, _agent),
        principals=_read(document, path, "principals", _PrincipalEntry, _principal),
        applications=applications,
        rules=_read(document, path, "rules", _RuleEntry, _rule),
        calendars=_read(document, path, "calendars", _CalendarEntry, _calendar),
        pools=_read(document, path, "pools", _PoolEntry, _pool),
    )


def _check_profiles(profiles: tuple[ApplicationProfile, ...], path: str) -> None:
    """Refuse a profile that is said to copy two models; it never changes what it was made from."""
    models: dict[str, tuple[str, int]] = {}
    for index, profile in enumerate(profiles):
        model, first = models.setdefault(profile.arn, (profile.model, index))
        if model != profile.model:
            raise ConfigurationError(
                f"registry {path}: [[applications]] entry {index + 1}: model: expected {model!r}, "
                f"as in entry {first + 1} of the same arn, found {profile.model!r}"
            )


def _read(
    document: Mapping[str, object],
    path: str,
    table: str,
    entry_type: type[_Entry],
    build: Callable[[_Entry, _Place], _Fact],
) -> tuple[_Fact, ...]:
    """Convert, check and build every entry of one table."""
    entries = document.get(table, [])
    if not isinstance(entries, list):
        raise ConfigurationError(
            f"registry {path}: expected [[{table}]] entries, found a single value; "
            f"write [[{table}]] with two brackets"
        )
    built: list[_Fact] = []
    seen: dict[object, tuple[_Fact, str]] = {}
    for index, raw in enumerate(entries):
        if not isinstance(raw, dict):
            found = _shown(raw)
            raise ConfigurationError(
                f"registry {path}: [[{table}]] entry {index + 1}: expected a table, found {found}"
            )
        entry = {key: _as_instant(key, value) for key, value in raw.items()}
        place = _Place(path, table, index, entry)
        fact = build(_convert(entry, entry_type, place), place)
        key, subject = _subject(fact)
        if subject in seen and seen[subject][0] != fact:
            place.fail(key, f"an entry that does not contradict {seen[subject][1]}")
        seen[subject] = (fact, place.text)
        built.append(fact)
    return tuple(built)


def _convert(raw: dict[str, Any], entry_type: type[_Entry], place: _Place) -> _Entry:
    """Check the keys and types of an entry, key by key so that errors can name it."""
    fields = {field.name: field for field in msgspec.structs.fields(entry_type)}
    for key, value in raw.items():
        if key not in fields:
            place.fail(key, f"one of the keys {', '.join(fields)}", found=key)
        if key.startswith("effective_") and not isinstance(value, datetime):
            place.fail(key, _INSTANT)
        try:
            msgspec.convert(value, fields[key].type)
        except msgspec.ValidationError:
            place.fail(key, _KINDS.get(key, "a text"))
    for key, field in fields.items():
        if field.required and key not in raw:
            place.fail(key, "a value")
    return msgspec.convert(raw, entry_type)


def _as_instant(key: str, value: object) -> object:
    """Read a date as midnight UTC, as price files do."""
    if not key.startswith("effective_") or isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value


def _subject(fact: object) -> tuple[str, object]:
    """Return the key to blame and what may be said only once; agents may be listed in parts."""
    match fact:
        case PrincipalFact():
            return "match", (fact.match, fact.period.from_ms)
        case Pool():
            return "name", fact
        case ApplicationProfile():
            return "arn", (fact.arn, fact.period.from_ms)
        case TrustRule():
            return "role_arn", (fact.role_arn, fact.period.from_ms)
        case Calendar():
            return "scope", fact.scope
        case _:
            return "id", fact


def _agent(entry: _AgentEntry, place: _Place) -> Agent:
    if not _AGENT_ID.fullmatch(entry.id):
        place.fail("id", '"agent/ACCOUNT/REGION/ID"')
    if not entry.role_arns:
        place.fail("role_arns", "at least one role's ARN")
    for arn in entry.role_arns:
        if not _ROLE_ARN.fullmatch(arn) or WILDCARD in arn or parse_role_arn(arn) is None:
            place.fail("role_arns", 'ARNs such as "arn:aws:iam::111122223333:role/NAME"', found=arn)
    return Agent(
        agent_id=entry.id,
        name=_text(entry.name, "name", place),
        role_arns=tuple(sorted(set(entry.role_arns))),
        period=_period(entry.effective_from, entry.effective_to, place),
    )


def _principal(entry: _PrincipalEntry, place: _Place) -> PrincipalFact:
    return PrincipalFact(
        match=_match(entry.match, place),
        team=_text(entry.team, "team", place),
        tags=_tags(entry.tags, place),
        period=_period(entry.effective_from, entry.effective_to, place),
    )


def _pool(entry: _PoolEntry, place: _Place) -> Pool:
    if not entry.name:
        place.fail("name", "a name")
    return Pool(
        name=_text(entry.name, "name", place),
        match=_match(entry.match, place),
        tags=_tags(entry.tags, place),
        period=_period(entry.effective_from, entry.effective_to, place),
    )


def _match(match: str, place: _Place) -> str:
    kind = match.partition("/")[0]
    if not _KEY.fullmatch(match) or not (WILDCARD in kind or kind in _PRINCIPAL_KINDS):
        kinds = ", ".join(_PRINCIPAL_KINDS)
        place.fail("match", f'a principal such as "user/111122223333/alice", of kind {kinds}, or *')
    return _as_encoded(match)


def _as_encoded(match: str) -> str:
    """Let people write `alice@example.com` where keys hold `alice%40example.com`."""
    for character in "@+=,":
        match = match.replace(character, f"%{ord(character):02X}")
    return match


def _application(entry: _ApplicationEntry, place: _Place) -> ApplicationProfile:
    if not is_application_profile(entry.arn):
        place.fail("arn", "the ARN of an application-inference-profile")
    reference = resolve_model(entry.model, "", lambda _arn: None)
    if reference.billing is Billing.UNRECOGNISED:
        place.fail("model", "the id or ARN that the profile was copied from")
    if entry.model == entry.arn:
        place.fail("model", "another ARN than the profile's own")
    return ApplicationProfile(
        arn=entry.arn,
        model=entry.model,
        application=_text(entry.application, "application", place),
        tags=_tags(entry.tags, place),
        period=_period(entry.effective_from, entry.effective_to, place),
    )


def _rule(entry: _RuleEntry, place: _Place) -> TrustRule:
    role = parse_role_arn(entry.role_arn)
    if not _ROLE_ARN.fullmatch(entry.role_arn) or role is None:
        place.fail("role_arn", 'an ARN such as "arn:aws:iam::111122223333:role/NAME"')
    if WILDCARD in entry.role_arn and role.path != "/":
        place.fail(
            "role_arn",
            "no path where there is a *, because invocation logs drop the path of a role",
        )
    for key, value in (("metadata_key", entry.metadata_key), ("organisation", entry.organisation)):
        _text(value, key, place)
        if entry.pay_by == "metadata" and not value.strip():
            place.fail(key, 'a name, which pay_by = "metadata" needs', found=value)
        if entry.pay_by != "metadata" and value:
            place.fail(key, f"no such key with pay_by = '{entry.pay_by}'")
    return TrustRule(
        role_arn=entry.role_arn,
        pay_by=entry.pay_by,
        metadata_key=entry.metadata_key,
        organisation=entry.organisation,
        period=_period(entry.effective_from, entry.effective_to, place),
    )


def _calendar(entry: _CalendarEntry, place: _Place) -> Calendar:
    kind, separator, scope_id = entry.scope.partition("/")
    is_known = kind in CALENDAR_KINDS and bool(separator and scope_id) != (kind == EVERYTHING)
    if not entry.scope.isprintable() or not (is_known or WILDCARD in kind):
        kinds = ", ".join(CALENDAR_KINDS)
        place.fail(
            "scope",
            f'"{EVERYTHING}", or a kind and an id such as "team/NAME"; one of {kinds}, or *',
        )
    return Calendar(
        scope=entry.scope, time_zone=entry.time_zone, zone=_zone(entry.time_zone, place)
    )


def _zone(name: str, place: _Place) -> tzinfo:
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # Not a name, not a known one, or the name of a whole area such as "Europe".
        place.fail("time_zone", 'a time zone of the IANA database, such as "Europe/Berlin"')


def _text(value: str, key: str, place: _Place) -> str:
    if len(value) > _TEXT_LENGTH_MAX or not value.isprintable() or value != value.strip():
        place.fail(
            key,
            f"at most {_TEXT_LENGTH_MAX} printable characters, no blanks around them",
            found=value,
        )
    return value


def _tags(tags: Mapping[str, str], place: _Place) -> tuple[tuple[str, str], ...]:
    for key, value in tags.items():
        _text(key, "tags", place)
        _text(value, "tags", place)
    return tuple(sorted(tags.items()))


def _period(start: datetime | None, end: datetime | None, place: _Place) -> Period:
    from_ms = _instant_ms(start, "effective_from", place)
    to_ms = _instant_ms(end, "effective_to", place)
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        place.fail("effective_to", "a time after effective_from", found=end)
    return Period(from_ms, to_ms)


def _instant_ms(value: datetime | None, key: str, place: _Place) -> int | None:
    if value is None:
        return None
    if value.tzinfo is None:
        place.fail(key, _INSTANT, found=value)
    return (value - _EPOCH) // _MILLISECOND
