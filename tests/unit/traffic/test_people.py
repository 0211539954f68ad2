import ast
from pathlib import Path

import worker.traffic
from worker.traffic.people import Caller, cast, crowd

DAY = "2026-10-12"


def by_principal(text: str) -> Caller:
    (caller,) = [caller for caller in cast("2026-10-05") if caller.principal == text]
    return caller


def test_a_trusted_role_pays_itself_where_cloudtrail_alone_knows_the_call() -> None:
    gateway = by_principal("app/acme/search")
    assert gateway.payer(DAY).team == "commerce"
    seen = gateway.unlabelled()
    assert seen.payer(DAY).principal == "role/111122223333/GatewayRole"
    assert (seen.payer(DAY).team, seen.metadata) == ("", ())


def test_metadata_that_nobody_trusts_moves_no_charge() -> None:
    hugo = by_principal("user/777788889999/hugo")
    assert hugo.metadata == (("application", "search"),)
    assert hugo.unlabelled().payer(DAY) == hugo.payer(DAY)


def test_paths_are_no_part_of_an_identity_and_sessions_drop_the_role_path() -> None:
    chandra = by_principal("user/444455556666/chandra")
    assert chandra.arns == ("arn:aws:iam::444455556666:user/engineering/platform/chandra",)
    bot = by_principal("agent/111122223333/us-east-1/SUPPORTBOT")
    assert bot.role_arn == "arn:aws:iam::111122223333:role/agents/SupportBotRole"
    assert bot.arns[0].startswith("arn:aws:sts::111122223333:assumed-role/SupportBotRole/bot-")
    assert len(set(bot.arns)) == 16


def test_everybody_in_a_crowd_is_somebody_else() -> None:
    callers = crowd(principals=1_000, accounts=5, teams=25)
    assert len({caller.identity for caller in callers}) == 1_000
    assert len({caller.account for caller in callers}) == 5


def test_the_generator_imports_nothing_of_the_program_that_it_checks() -> None:
    for path in Path(worker.traffic.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("worker") or name.startswith("worker.traffic"), path
