"""Scenes of CloudTrail: beside the logs, where the log wins, and alone, where nothing else is."""

from worker.traffic.cloudtrail import EntriesShape, api_event, completion_event
from worker.traffic.invocation import Invocation, metered_text
from worker.traffic.prices import HAIKU_3, NO_TOKENS, NOVA_LITE, SONNET_3, SONNET_4, Tokens
from worker.traffic.stage import Stage


def log_and_event(stage: Stage) -> None:
    """A call in both; CloudTrail knows nothing of the cache, so the log's counts must win."""
    call = stage.invocation(SONNET_4.model_id, tokens=stage.tokens(read=4_096, write_5m=1_024))
    stage.book(call, SONNET_4)
    stage.trail(call, api_event(call, counts=bool(stage.below(2))))
    stage.log(call, metered_text(call))
    stage.sums.companions += 1


def log_and_completion(stage: Stage) -> None:
    """A stream in both: the call, its completion and the log are one call."""
    call = stage.invocation(
        SONNET_4.model_id, "ConverseStream", tokens=stage.tokens(read=stage.below(9_000))
    )
    stage.book(call, SONNET_4)
    stage.trail(call, completion_event(call, SONNET_4.model, _shape(stage)))
    stage.trail(call, api_event(call, counts=False))
    stage.log(call, metered_text(call))
    stage.sums.companions += 2


def event_only(stage: Stage) -> None:
    """No log, tokens in CloudTrail: estimated."""
    call = _unlogged(stage, HAIKU_3.model_id, "InvokeModel")
    stage.book(call, HAIKU_3, "estimated")
    stage.trail(call, api_event(call, counts=True))


def completion_only(stage: Stage) -> None:
    """No log and no call, only the end of a stream: estimated."""
    call = _unlogged(stage, SONNET_3.model, "InvokeModelWithResponseStream")
    stage.book(call, SONNET_3, "estimated")
    stage.trail(call, completion_event(call, SONNET_3.model, _shape(stage)))


def call_and_completion(stage: Stage) -> None:
    """No log, but the call and its completion: estimated, once."""
    call = _unlogged(stage, NOVA_LITE.model_id, "ConverseStream")
    stage.book(call, NOVA_LITE, "estimated")
    stage.trail(call, api_event(call, counts=False))
    stage.trail(call, completion_event(call, NOVA_LITE.model, _shape(stage)))
    stage.sums.companions += 1


def sighting(stage: Stage) -> None:
    """The call was seen, and nothing more is known: unmetered."""
    call = _unlogged(stage, HAIKU_3.model_id, "Converse", NO_TOKENS)
    stage.book(call, HAIKU_3, "unmetered")
    stage.trail(call, api_event(call, counts=False))


def _unlogged(
    stage: Stage, model_id: str, operation: str, tokens: Tokens | None = None
) -> Invocation:
    """Make a call that CloudTrail alone tells of, without the caller's metadata."""
    caller = stage.caller().unlabelled()
    return stage.invocation(model_id, operation, tokens=tokens, caller=caller)


def _shape(stage: Stage) -> EntriesShape:
    return "list" if stage.below(2) else "object"
