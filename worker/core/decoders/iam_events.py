"""CloudTrail events of IAM: users, roles, their keys, tags and policies.

AWS documentation: "Logging IAM and AWS STS API calls with AWS CloudTrail"; API reference of IAM
for what requests and answers hold. IAM is a global service: its events are recorded in one
Region, and a subject's key has none. Names are those of requests, without path.

CodeCommit, Keyspaces and CloudWatch Logs have service-specific credentials too: only those of
Bedrock are keys that can spend. Their creation names the service. What updates, resets or
deletes a credential names its id alone, so such events are facts about an id, and matter where
its creation was Bedrock's.
"""

from __future__ import annotations

from typing import Final, NoReturn

import msgspec

from worker.core.decoders import fields
from worker.core.decoders.fields import FieldError
from worker.core.decoders.lifecycle import (
    NAME_LENGTH_MAX,
    TAG_KEY_LENGTH_MAX,
    TAGS_MAX,
    Header,
    Tag,
    name_segment,
    tags_of,
)
from worker.core.directory import BEDROCK_SERVICE, FactKind, LifecycleFact
from worker.core.results import Ignored, LifecycleSeen

IAM_SOURCE: Final = "iam.amazonaws.com"

_USER_EVENTS: Final[dict[str, FactKind]] = {
    "CreateUser": "created",
    "DeleteUser": "deleted",
    "TagUser": "tagged",
    "UntagUser": "untagged",
    "AttachUserPolicy": "policy_changed",
    "DetachUserPolicy": "policy_changed",
    "PutUserPolicy": "policy_changed",
    "DeleteUserPolicy": "policy_changed",
}
_ROLE_EVENTS: Final[dict[str, FactKind]] = {
    "CreateRole": "created",
    "DeleteRole": "deleted",
    "TagRole": "tagged",
    "UntagRole": "untagged",
    "AttachRolePolicy": "policy_changed",
    "DetachRolePolicy": "policy_changed",
    "PutRolePolicy": "policy_changed",
    "DeleteRolePolicy": "policy_changed",
}
_KEY_EVENTS: Final[dict[str, FactKind]] = {
    "CreateServiceSpecificCredential": "key_created",
    "UpdateServiceSpecificCredential": "key_updated",
    "ResetServiceSpecificCredential": "key_updated",
    "DeleteServiceSpecificCredential": "key_deleted",
    "CreateAccessKey": "key_created",
    "UpdateAccessKey": "key_updated",
    "DeleteAccessKey": "key_deleted",
}
IAM_EVENTS: Final = frozenset({*_USER_EVENTS, *_ROLE_EVENTS, *_KEY_EVENTS})
"""Names of the events that say something of the directory."""

STATUSES: Final = frozenset({"Active", "Inactive", "Expired"})
_BEDROCK: Final = "bedrock"


class _Request(msgspec.Struct, gc=False, rename="camel"):
    user_name: str | None = None
    role_name: str | None = None
    service_name: str | None = None
    service_specific_credential_id: str | None = None
    access_key_id: str | None = None
    status: str | None = None
    policy_arn: str | None = None
    policy_document: str | None = None
    tags: list[Tag | None] | None = None
    tag_keys: list[str | None] | None = None


class _Made(msgspec.Struct, gc=False, rename="camel"):
    """The user or role of an answer."""

    user_id: str | None = None
    role_id: str | None = None


class _Key(msgspec.Struct, gc=False, rename="camel"):
    """The credential or access key of an answer."""

    user_name: str | None = None
    service_name: str | None = None
    service_specific_credential_id: str | None = None
    access_key_id: str | None = None
    status: str | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    user: _Made | None = None
    role: _Made | None = None
    access_key: _Key | None = None
    service_specific_credential: _Key | None = None


class _Event(Header, gc=False, rename="camel"):
    request_parameters: _Request | None = None
    response_elements: _Response | None = None


class _Statement(msgspec.Struct, gc=False):
    effect: str = msgspec.field(name="Effect", default="")
    action: str | list[str] | None = msgspec.field(name="Action", default=None)


class _Document(msgspec.Struct, gc=False):
    statement: _Statement | list[_Statement] = msgspec.field(
        name="Statement", default_factory=list[_Statement]
    )


_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_document: Final = msgspec.json.Decoder(_Document).decode
_NO_REQUEST: Final = _Request()
_NO_RESPONSE: Final = _Response()
_NO_KEY: Final = _Key()


def decode_iam_event(raw: bytes | msgspec.Raw) -> LifecycleSeen | Ignored:
    """Return what one event of `IAM_EVENTS` says.

    Raises:
        FieldError: It says it in a way that cannot be accepted.
        msgspec.ValidationError: A field is of another type.
    """
    event = _decode_event(raw)
    name = event.event_name
    if event.error_code:
        return Ignored(f"{name} that failed: {fields.cut(event.error_code)}")
    request = event.request_parameters or _NO_REQUEST
    answer = event.response_elements or _NO_RESPONSE
    if name in _KEY_EVENTS:
        return _key_event(event, request, answer, raw)
    is_user = name in _USER_EVENTS
    kind = (_USER_EVENTS if is_user else _ROLE_EVENTS)[name]
    noun = "user" if is_user else "role"
    named = request.user_name if is_user else request.role_name
    made = answer.user if is_user else answer.role
    unique_id = (made.user_id if is_user else made.role_id) if made is not None else None
    path = f"$.requestParameters.{noun}Name"
    keys = [key for key in (request.tag_keys or ())[:TAGS_MAX] if key]
    fact = LifecycleFact(
        subject=f"{noun}/{event.account()}/{name_segment(named, path, f'the name of a {noun}')}",
        kind=kind,
        at_ms=event.at_ms(raw),
        event_id=event.id(),
        actor=event.actor,
        unique_id=_unique_id(unique_id, noun) if kind == "created" else "",
        tags=tags_of(request.tags) if kind in {"created", "tagged"} else (),
        tag_keys=tuple(sorted({key[:TAG_KEY_LENGTH_MAX] for key in keys})),
        mentions_bedrock=name.startswith(("Attach", "Put")) and _mentions_bedrock(request),
    )
    return LifecycleSeen(fact)


def _unique_id(unique_id: str | None, noun: str) -> str:
    path = f"$.responseElements.{noun}.{noun}Id"
    what = f"the unique id of a {noun}"
    found = fields.required_name(unique_id, NAME_LENGTH_MAX, path, what)
    if not (found.isascii() and found.isalnum()):
        raise FieldError(path, what, fields.quote(found))
    return found


def _key_event(
    event: _Event, request: _Request, answer: _Response, raw: bytes | msgspec.Raw
) -> LifecycleSeen | Ignored:
    """Return what happened to a credential or an access key of a user."""
    name = event.event_name
    is_access_key = name.endswith("AccessKey")
    made = (answer.access_key if is_access_key else answer.service_specific_credential) or _NO_KEY
    service = "" if is_access_key else request.service_name or made.service_name or ""
    if service and service != BEDROCK_SERVICE:
        return Ignored(f"{name} for {fields.cut(service)}")
    kind = _KEY_EVENTS[name]
    if kind == "key_created" and not (is_access_key or service):
        path = "$.requestParameters.serviceName"
        raise FieldError(path, "the service of the credential", fields.NOTHING)
    user = made.user_name or request.user_name or event.caller.user_name
    if user is None and event.caller.type == "Root":
        return Ignored(f"{name} of the root user, who is no user of IAM")
    place = "accessKey.accessKeyId" if is_access_key else "serviceSpecificCredentialId"
    key_id = (
        request.access_key_id or made.access_key_id
        if is_access_key
        else request.service_specific_credential_id or made.service_specific_credential_id
    )
    path = f"$.{'responseElements' if kind == 'key_created' else 'requestParameters'}.{place}"
    segment = name_segment(user, "$.requestParameters.userName", "the name of a user")
    fact = LifecycleFact(
        subject=f"user/{event.account()}/{segment}",
        kind=kind,
        at_ms=event.at_ms(raw),
        event_id=event.id(),
        actor=event.actor,
        key_id=fields.required_name(key_id, NAME_LENGTH_MAX, path, "the id of a key"),
        service=service,
        status="" if kind == "key_deleted" else _status(request.status or made.status, kind),
    )
    return LifecycleSeen(fact)


def _status(status: str | None, kind: FactKind) -> str:
    if not status:
        return "Active" if kind == "key_created" else ""
    return status if status in STATUSES else _no_status(status)


def _no_status(status: str) -> NoReturn:
    raise FieldError(
        "$.requestParameters.status", "Active, Inactive or Expired", fields.quote(status)
    )


def _mentions_bedrock(request: _Request) -> bool:
    """Whether a policy is about Bedrock: by its name, or because it allows something of it.

    A policy that only denies does not make its subject somebody who spends. A document that
    cannot be read counts where it names Bedrock at all.
    """
    if _BEDROCK in (request.policy_arn or "").lower():
        return True
    document = request.policy_document or ""
    if _BEDROCK not in document.lower():
        return False
    try:
        found = _decode_document(document.encode("utf-8", "replace")).statement
    except (msgspec.DecodeError, RecursionError):
        return True
    statements = found if isinstance(found, list) else [found]
    return any(
        _BEDROCK in action.lower()
        for one in statements
        if one.effect == "Allow"
        for action in ([one.action] if isinstance(one.action, str) else one.action or ())
    )
