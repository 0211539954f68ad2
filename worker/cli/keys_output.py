"""What `ledgerock keys` prints."""

from __future__ import annotations

import sys
from typing import Any

from worker.cli.keys_work import Created, Listed, name_of
from worker.cli.output import KeyCell, cells, console, print_json, printable, quantity, table
from worker.core.provision import Provision
from worker.core.report import iso_time


def provision_document(provision: Provision) -> dict[str, Any]:
    """Return what is written down of a user, as `--json` prints it."""
    return {
        "name": name_of(provision),
        "account": provision.subject.split("/")[1],
        "user_id": provision.unique_id,
        "state": provision.state,
        "tier": provision.tier or None,
        "budgets": list(provision.budgets),
        "policy": provision.policy,
        "created_at": iso_time(provision.created_at_ms),
        "created_by": provision.by,
    }


def show_created(created: Created, *, as_json: bool) -> None:
    """Show a new key with its secret, once.

    Raises:
        OSError: Nobody reads it.
    """
    provision, key = created.provision, created.key
    if as_json:
        print_json(
            provision_document(provision)
            | {
                "principal": created.principal,
                "key_id": key.key.id,
                "expires_at": iso_time(key.key.expires_at_ms or None),
                "cleaned_up": created.was_cleaned,
                "secret": key.secret,
            }
        )
    else:
        if created.was_cleaned:
            print("what a command left that was interrupted is cleaned up")
        end = iso_time(key.key.expires_at_ms or None)
        until = f"good until {end}" if end else "good until it is removed"
        print(f"user {name_of(provision)} has a Bedrock API key, {key.key.id}, {until}")
        print(f"its calls are booked under {created.principal}")
        print(f"budgets: {', '.join(provision.budgets)}")
        print("the secret is shown this once, and kept nowhere:")
        print(f"AWS_BEARER_TOKEN_BEDROCK={printable(key.secret)}")
    sys.stdout.flush()


def show_listed(listed: list[Listed], *, as_json: bool) -> None:
    """Show the users that were made here."""
    if as_json:
        documents = [_listed_document(one) for one in listed]
        print_json({"count": len(documents), "keys": documents})
        return
    out = console()
    if not listed:
        out.print("there are no users with a key that was made here; make one with")
        out.print("ledgerock keys create NAME --limit USD")
        return
    columns = table(("user", "key", "status", "expires", "tier", "budgets"), key="user")
    for one in listed:
        keys = () if one.user is None else one.user.keys
        values = (
            ", ".join(key.id for key in keys) or "-",
            status_of(one),
            ", ".join(iso_time(key.expires_at_ms or None) or "never" for key in keys) or "-",
            one.provision.tier or "-",
            ", ".join(one.provision.budgets) or "-",
        )
        columns.add_row(KeyCell(name_of(one.provision)), *cells(*values))
    out.print(columns)
    out.print(quantity(len(listed), "user"))


def status_of(listed: Listed) -> str:
    """Say how a user and its key are."""
    name = name_of(listed.provision)
    if listed.provision.state != "ready":
        return f"unfinished ({listed.provision.state}): ledgerock keys remove {name}"
    if listed.is_elsewhere:
        return f"in account {listed.provision.subject.split('/')[1]}"
    if listed.user is None:
        return f"gone from IAM: ledgerock keys remove {name}"
    return ", ".join(sorted({key.status for key in listed.user.keys})) or "no key"


def show_removed(provision: Provision, *, as_json: bool) -> None:
    """Say what was taken away."""
    document = provision_document(provision) | {"key_ids": list(provision.key_ids)}
    if as_json:
        print_json(document)
        return
    print(f"user {name_of(provision)} is removed, with its keys, policies and budgets")


def _listed_document(listed: Listed) -> dict[str, Any]:
    keys = () if listed.user is None else listed.user.keys
    return provision_document(listed.provision) | {
        "status": status_of(listed),
        "keys": [
            {
                "id": key.id,
                "status": key.status,
                "created_at": iso_time(key.created_at_ms),
                "expires_at": iso_time(key.expires_at_ms or None),
            }
            for key in keys
        ],
    }
