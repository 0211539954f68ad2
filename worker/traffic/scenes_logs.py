"""Scenes of invocation logs: every operation, model id and ending that a record can tell of."""

from worker.traffic import bodies
from worker.traffic.invocation import Invocation, counted, log_text, metered_text, with_body
from worker.traffic.people import ACCOUNTS, REGIONS
from worker.traffic.prices import (
    GPT_OSS,
    HAIKU_4_5,
    HAIKU_4_5_GLOBAL,
    IMAGE_MODEL,
    IMAGE_PRICES_PICO_USD,
    NO_TOKENS,
    NOVA_PRO,
    NOVA_PRO_FLEX,
    NOVA_PRO_PRIORITY,
    OPUS_4_5,
    RERANK_MODEL,
    RERANK_QUERY_PICO_USD,
    SONNET_3,
    SONNET_4,
    SONNET_4_5,
    SONNET_4_5_EU,
    SONNET_4_5_GLOBAL,
    TITAN_EMBED,
    UNKNOWN_MODEL,
    Model,
    Tokens,
)
from worker.traffic.registry import (
    APPLICATION_PROFILE,
    PROFILE_ACCOUNT,
    PROFILE_REGION,
    UNRESOLVED_PROFILE,
)
from worker.traffic.stage import Stage

_ERRORS = (
    "ThrottlingException",
    "ModelTimeoutException",
    "AccessDeniedException",
    "ValidationException",
)


def _text(stage: Stage) -> str:
    return bodies.TEXTS[stage.below(len(bodies.TEXTS))]


def stream_of_chunks(stage: Stage) -> None:
    """InvokeModelWithResponseStream: a list body, provisional counts first, final ones last."""
    tokens = stage.tokens(read=9_216, write_5m=512)
    call = stage.invocation(SONNET_4.model_id, "InvokeModelWithResponseStream", tokens=tokens)
    sent, received = counted(call)
    if stage.below(2):
        sent = received = ""  # the body alone has the counts
    stage.book(call, SONNET_4)
    asked, answered = bodies.claude_input(_text(stage)), bodies.claude_stream(_text(stage), tokens)
    _log_bodies(stage, call, (sent, asked), (received, answered))


def cache_split(stage: Stage) -> None:
    """Converse with prompt caching: the body splits the writes into five minutes and one hour."""
    model = (SONNET_4_5, SONNET_4_5_GLOBAL, HAIKU_4_5, OPUS_4_5)[stage.below(4)]
    tokens = stage.tokens(read=15_388, write_5m=1_789, write_1h=2_048 * stage.below(3))
    call = stage.invocation(model.model_id, "ConverseStream", tokens=tokens)
    stage.book(call, model)
    _log_converse(stage, call)


def cache_write_of_unknown_life(stage: Stage) -> None:
    """A cache write without a body on a model that offers one hour: estimated."""
    model = (SONNET_4_5, HAIKU_4_5_GLOBAL)[stage.below(2)]
    call = stage.invocation(model.model_id, tokens=stage.tokens(write_5m=13_384))
    stage.book(call, model, "estimated")
    stage.log(call, metered_text(call))


def service_tier(stage: Stage) -> None:
    """Converse in the flex or the priority tier, which only the body tells."""
    tier, price = (("flex", NOVA_PRO_FLEX), ("priority", NOVA_PRO_PRIORITY))[stage.below(2)]
    call = stage.invocation(NOVA_PRO.model_id)
    stage.book(call, NOVA_PRO, cost_pico_usd=price.cost_pico_usd(call.tokens))
    _log_converse(stage, call, tier)


def responses_twins(stage: Stage) -> None:
    """The OpenAI-compatible API: a record, and an empty twin that may come first."""
    named = f"arn:aws:bedrock:{REGIONS[1]}::foundation-model/{GPT_OSS.model}"
    call = stage.invocation(named, "InvokeModel", caller=stage.caller(ACCOUNTS[1]))
    records = [metered_text(call), log_text(call, "", "")]
    if stage.below(2):
        records.reverse()
    stage.book(call, GPT_OSS)
    for record in records:
        stage.log(call, record)
    stage.sums.companions += 1


def embedding(stage: Stage) -> None:
    """An embedding: only the input is counted."""
    tokens = Tokens(input=stage.tokens().input)
    call = stage.invocation(TITAN_EMBED.model_id, "InvokeModel", tokens=tokens)
    stage.book(call, TITAN_EMBED)
    sent, _ = counted(call)
    asked, answered = f'{{"inputText":"{_text(stage)}"}}', bodies.embedding_output(tokens.input)
    _log_bodies(stage, call, (sent, asked), ("", answered))


def images(stage: Stage) -> None:
    """Images: no tokens; number, size and quality are in the bodies."""
    width, height, quality, price = IMAGE_PRICES_PICO_USD[stage.below(len(IMAGE_PRICES_PICO_USD))]
    number = 1 + stage.below(3)
    call = stage.invocation(IMAGE_MODEL, "InvokeModel", tokens=NO_TOKENS, region=REGIONS[0])
    stage.book(call, IMAGE_MODEL, cost_pico_usd=number * price)
    asked = (
        '{"taskType":"TEXT_IMAGE","textToImageParams":{"text":"a paper boat"},'
        f'"imageGenerationConfig":{{"numberOfImages":{number},"width":{width},"height":{height},'
        f'"quality":"{quality}"}}}}'
    )
    pictures = ",".join('"iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"' for _ in range(number))
    answered = f'{{"images":[{pictures}]}}'
    _log_bodies(stage, call, ("", asked), ("", answered))


def images_without_body(stage: Stage) -> None:
    """Images with delivery of bodies off: nobody can know how many."""
    call = stage.invocation(IMAGE_MODEL, "InvokeModel", tokens=NO_TOKENS, region=REGIONS[0])
    stage.book(call, IMAGE_MODEL, "unmetered")
    kind = 'ContentType":"application/json"'
    stage.log(call, log_text(call, f'"input{kind}', f'"output{kind}'))


def rerank(stage: Stage) -> None:
    """A reranking of three documents: one query."""
    call = stage.invocation(RERANK_MODEL, "InvokeModel", tokens=NO_TOKENS, region=REGIONS[1])
    stage.book(call, RERANK_MODEL, cost_pico_usd=RERANK_QUERY_PICO_USD)
    asked = '{"query":"late parcels","documents":["one","two","three"],"top_n":2}'
    answered = '{"results":[{"index":2,"relevance_score":0.91},{"index":0,"relevance_score":0.12}]}'
    _log_bodies(stage, call, ("", asked), ("", answered))


def guardrail_blocks_stream(stage: Stage) -> None:
    """A guardrail blocks the input of a stream: both counts are zero."""
    call = stage.invocation(SONNET_4.model_id, "ConverseStream", tokens=NO_TOKENS)
    stage.book(call, SONNET_4)
    stage.log(call, log_text(call, '"inputTokenCount":0', '"outputTokenCount":0'))


def guardrail_blocks_output(stage: Stage) -> None:
    """A guardrail blocks the answer: the tokens were used, and are billed."""
    call = stage.invocation(SONNET_4.model_id, "InvokeModel", tokens=Tokens(input=70, output=209))
    stage.book(call, SONNET_4)
    sent, received = counted(call)
    answered = '{"amazon-bedrock-guardrailAction":"INTERVENED","content":[]}'
    stage.log(call, log_text(call, sent, with_body(received, "output", answered)))


def guardrail_blocks_call(stage: Stage) -> None:
    """A guardrail blocks the input of InvokeModel: no counts, nothing was used."""
    call = stage.invocation(SONNET_4.model_id, "InvokeModel", tokens=NO_TOKENS)
    stage.book(call, SONNET_4)
    asked = bodies.claude_input(_text(stage))
    answered = '{"amazon-bedrock-guardrailAction":"INTERVENED","content":[]}'
    _log_bodies(stage, call, ("", asked), ("", answered))


def failure(stage: Stage) -> None:
    """A call that failed: an error code, no counts, no charge."""
    call = stage.invocation(SONNET_4_5.model_id, tokens=NO_TOKENS)
    stage.book(call, SONNET_4_5, "failed")
    stage.log(call, log_text(call, "", "", error=_ERRORS[stage.below(len(_ERRORS))]))


def aborted_stream(stage: Stage) -> None:
    """A stream that broke off: an error code with counts is billed."""
    call = stage.invocation(SONNET_3.model_id, "ConverseStream")
    stage.book(call, SONNET_3)
    stage.log(call, log_text(call, *counted(call), error="ModelStreamErrorException"))


def half_counted(stage: Stage) -> None:
    """A text model's record without the output count: estimated from the input."""
    call = stage.invocation(SONNET_3.model_id, "InvokeModel")
    stage.book(call, SONNET_3, "estimated", tokens=Tokens(input=call.tokens.input))
    stage.log(call, log_text(call, *counted(call, output=False)))


def model_names(stage: Stage) -> None:
    """One model by its bare id, geography, Region-less ARN and profile ARN: one price each."""
    caller = stage.caller()
    profile = f"arn:aws:bedrock:{caller.region}:{caller.account}:inference-profile"
    forms: tuple[tuple[Model, str, str], ...] = (
        (SONNET_4, SONNET_4.model, ""),
        (SONNET_4, f"{profile}/{SONNET_4.model_id}", ""),
        (SONNET_3, f"arn:aws:bedrock:{caller.region}::foundation-model/{SONNET_3.model}", ""),
        (SONNET_3, f"arn:aws:bedrock:::foundation-model/{SONNET_3.model}", ""),
        (SONNET_4_5_GLOBAL, f"{profile}/{SONNET_4_5_GLOBAL.model_id}", ""),
        (SONNET_4_5_EU, SONNET_4_5_EU.model_id, "eu-central-1"),
        (SONNET_4_5, SONNET_4_5.model, ""),
    )
    model, named, region = forms[stage.below(len(forms))]
    call = stage.invocation(named, caller=caller, region=region)
    stage.book(call, model)
    stage.log(call, metered_text(call))


def application_profile(stage: Stage) -> None:
    """An application inference profile that the registry knows."""
    caller = stage.caller(PROFILE_ACCOUNT)
    call = stage.invocation(APPLICATION_PROFILE, caller=caller, region=PROFILE_REGION)
    stage.book(call, SONNET_4_5)
    stage.log(call, metered_text(call))


def unresolved_profile(stage: Stage) -> None:
    """An application inference profile that nobody knows: counted, not priced."""
    caller = stage.caller(PROFILE_ACCOUNT)
    call = stage.invocation(UNRESOLVED_PROFILE, caller=caller, region=PROFILE_REGION)
    stage.book(call, UNRESOLVED_PROFILE.split(":", 5)[5], "unpriced")
    stage.log(call, metered_text(call))


def provisioned(stage: Stage) -> None:
    """Capacity billed by the hour: the tokens are not the cost."""
    caller = stage.caller()
    kind = ("provisioned-model", "imported-model", "custom-model-deployment")[stage.below(3)]
    resource = f"{kind}/q1w2e3r4t5y6"
    named = f"arn:aws:bedrock:{caller.region}:{caller.account}:{resource}"
    call = stage.invocation(named, "InvokeModel", caller=caller)
    stage.book(call, resource, "unmetered")
    stage.log(call, metered_text(call))


def unknown_model(stage: Stage) -> None:
    """A model that no price list knows: counted, not priced."""
    call = stage.invocation(UNKNOWN_MODEL)
    stage.book(call, UNKNOWN_MODEL, "unpriced")
    stage.log(call, metered_text(call))


def _log_converse(stage: Stage, call: Invocation, tier: str = "") -> None:
    sent, received = counted(call)
    asked = bodies.converse_input(_text(stage))
    answered = bodies.converse_output(_text(stage), call.tokens, tier)
    _log_bodies(stage, call, (sent, asked), (received, answered))


def _log_bodies(
    stage: Stage, call: Invocation, sent: tuple[str, str], received: tuple[str, str]
) -> None:
    """Deliver a record with bodies; each side is its counts and its body."""
    asked = with_body(sent[0], "input", sent[1])
    answered = with_body(received[0], "output", received[1])
    stage.log(call, log_text(call, asked, answered))
