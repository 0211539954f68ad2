"""The rights in IAM of whoever suspends, of whoever mends tags, and where they end.

They are limited to the users and roles under the paths that the configuration names, and to those
with the tag that it names; Ledgerock's own roles and policies are denied whatever else is allowed.
IAM has no way to allow inline policies of certain names alone (AWS documentation: "Actions,
resources, and condition keys for AWS Identity and Access Management").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

from infra.config import StageConfig
from infra.environment import role_environment
from infra.permissions import Conditions, Statements, allow

DENY_POLICIES: Final = "ledgerock/ledgerock-deny-*"
"""Path and name of the managed policies that deny; a test compares it with the worker's own."""
OWN_TAGS: Final = "ledgerock:*"
"""Keys of the tags that are Ledgerock's own; a test compares it with the worker's own."""

READ: Final = (
    *("iam:GetUser", "iam:GetRole", "iam:GetUserPolicy", "iam:GetRolePolicy"),
    *("iam:ListUserPolicies", "iam:ListRolePolicies"),
    *("iam:ListAttachedUserPolicies", "iam:ListAttachedRolePolicies"),
)
INLINE: Final = (
    *("iam:PutUserPolicy", "iam:DeleteUserPolicy"),
    *("iam:PutRolePolicy", "iam:DeleteRolePolicy"),
)
ATTACH: Final = (
    *("iam:AttachUserPolicy", "iam:DetachUserPolicy"),
    *("iam:AttachRolePolicy", "iam:DetachRolePolicy"),
)
TAG: Final = ("iam:TagUser", "iam:UntagUser", "iam:TagRole", "iam:UntagRole")
OWN_POLICIES: Final = (
    *("iam:CreatePolicy", "iam:DeletePolicy", "iam:GetPolicy", "iam:ListEntitiesForPolicy"),
    *("iam:CreatePolicyVersion", "iam:DeletePolicyVersion"),
    *("iam:GetPolicyVersion", "iam:ListPolicyVersions"),
)
UPDATE_KEY: Final = "iam:UpdateServiceSpecificCredential"


def enforcement_statements(config: StageConfig) -> Statements:
    """Return everything that suspending and restoring takes in the account of a stack.

    Where the same one mends our tags, with what that takes.
    """
    users, roles = _users(config), _roles(config)
    tagged = _tagged(config)
    detach = config.enforcement.mode == "detach"
    own: Conditions = {"ArnLike": {"iam:PolicyARN": _arn(f"policy/{DENY_POLICIES}")}}
    statements = [
        allow("Look", READ, [*users, *roles]),
        allow("LookAtKeys", ["iam:ListServiceSpecificCredentials"], users),
        allow("Deny", INLINE, [*users, *roles], tagged),
        # Detaching takes away, and restoring gives back, whatever there is.
        allow("Attach", ATTACH, [*users, *roles], tagged if detach else {**tagged, **own}),
        allow("OwnPolicies", OWN_POLICIES, [_arn(f"policy/{DENY_POLICIES}")]),
    ]
    if detach:
        statements.append(allow("Keys", [UPDATE_KEY], users, tagged))
    if mends_tags(config) and config.enforcement.by == "worker":
        statements += _mending(config)
    return [*statements, own_is_denied(config)]


def tagging_statements(config: StageConfig) -> Statements:
    """Return what mending our own tags takes in the account of a stack, and nothing else."""
    return [*_mending(config), own_is_denied(config)]


def _mending(config: StageConfig) -> Statements:
    everybody = [*_users(config), *_roles(config)]
    own_tags: Conditions = {"ForAllValues:StringLike": {"aws:TagKeys": OWN_TAGS}}
    return [
        allow("LookAtTags", ["iam:ListUserTags", "iam:ListRoleTags"], everybody),
        allow("Tags", TAG, everybody, {**own_tags, **_tagged(config)}),
    ]


def mends_tags(config: StageConfig) -> bool:
    """Whether anybody mends our own tags: keys are watched, and IAM may be changed at all."""
    return config.keys and config.enforcement.by != "off"


def reaches_iam(config: StageConfig) -> bool:
    """Whether the monitor asks IAM for anything."""
    return config.enforcement.by == "worker" or mends_tags(config)


def own_is_denied(config: StageConfig) -> iam.PolicyStatement:
    """Return what denies all changes of Ledgerock's own roles and policies."""
    return iam.PolicyStatement(
        sid="NeverOurs",
        effect=iam.Effect.DENY,
        actions=[*INLINE, *ATTACH, *TAG, UPDATE_KEY, *_POLICY_CHANGES],
        resources=[
            *(_arn(f"{kind}{config.path}*") for kind in ("user", "role", "policy")),
            # Those of other stages in the account.
            _arn(f"role/{config.prefix}/*"),
        ],
    )


_POLICY_CHANGES: Final = tuple(
    one for one in OWN_POLICIES if one.startswith(("iam:Create", "iam:Delete"))
)


# --- Who has them, in how many accounts --------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What somebody who changes IAM needs; nothing at all, as it is made.

    With other accounts, each is reached through a role of one name, and so is the ledger's own: by
    being that role.

    Attributes:
        role: Name of the role to run under; None for any.
        environment: Variables.
        statements: Rights.
    """

    role: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    statements: Sequence[iam.PolicyStatement] = ()


def hands_of_monitor(config: StageConfig) -> Hands:
    """Return what the monitor needs: to suspend, unless workflows do, and to mend tags."""
    if config.enforcement.by == "worker":
        return _hands(config, enforcement_role_name(config), enforcement_statements(config))
    if mends_tags(config):
        return _hands(config, tagging_role_name(config), tagging_statements(config))
    return Hands()


def hands_of_workflows(config: StageConfig) -> Hands:
    """Return what the function behind the workflows needs."""
    return _hands(config, enforcement_role_name(config), enforcement_statements(config))


def member_roles(config: StageConfig) -> dict[str, Statements]:
    """Return the roles that each other account needs, by name; `home_role` may assume them."""
    if config.enforcement.by == "off":
        return {}
    roles = {enforcement_role_name(config): enforcement_statements(config)}
    if config.enforcement.by == "workflows" and mends_tags(config):
        roles[tagging_role_name(config)] = tagging_statements(config)
    return roles


def home_role(config: StageConfig, name: str) -> iam.IPrincipal:
    """Return whom a role of this name in another account trusts: its namesake at home.

    It is named in a condition, so that it need not be there first, and trust survives its being
    made anew.
    """
    return iam.AccountPrincipal(config.account).with_conditions(
        {"ArnEquals": {"aws:PrincipalArn": _in_account(config, name, config.account)}}
    )


def enforcement_role_name(config: StageConfig) -> str:
    """Return the name of the role that suspends, the same in every account."""
    return f"{config.name}-enforcement"


def tagging_role_name(config: StageConfig) -> str:
    """Return the name of the role that mends tags and no more, the same in every account."""
    return f"{config.name}-tagging"


def _hands(config: StageConfig, name: str, statements: Statements) -> Hands:
    members = [_in_account(config, name, one.account) for one in config.members]
    if not members:
        return Hands(statements=statements)
    return Hands(
        role=name,
        environment=role_environment(_in_account(config, name, "{account}")),
        statements=[*statements, allow("Members", ["sts:AssumeRole"], members)],
    )


def role_everywhere(config: StageConfig, name: str) -> str:
    """Return the ARN of a role of this name, in whatever account."""
    return _in_account(config, name, "*")


def _in_account(config: StageConfig, name: str, account: str) -> str:
    return f"arn:{cdk.Aws.PARTITION}:iam::{account}:role{config.path}{name}"


def _users(config: StageConfig) -> list[str]:
    return [_arn(f"user{path}*") for path in config.enforcement.user_paths]


def _roles(config: StageConfig) -> list[str]:
    return [_arn(f"role{path}*") for path in config.enforcement.role_paths]


def _arn(resource: str) -> str:
    return f"arn:{cdk.Aws.PARTITION}:iam::{cdk.Aws.ACCOUNT_ID}:{resource}"


def _tagged(config: StageConfig) -> Conditions:
    """Return the condition that a user or role has the tag, if the configuration names one."""
    key, _, value = config.enforcement.tag.partition("=")
    return {"StringEquals": {f"aws:ResourceTag/{key}": value}} if key else {}
