"""Request and response bodies as Bedrock logs them, written as JSON text without a serialiser.

The text is made up and pre-escaped. It holds what trips careless readers: quoted JSON that looks
like a log record, braces, escapes and characters outside ASCII.
"""

from typing import Final

from worker.traffic.prices import Tokens

_SENTENCES: Final = (
    "Summarise the attached delivery notes in three short points.",
    "The parcel left Rotterdam on Tuesday and reached the depot a day later.",
    r"Reply with JSON such as {\"status\": \"late\", \"days\": 2} and nothing else.",
    r"Line one\nline two\twith a tab, a path C:\\temp and an umlaut: \u00fc.",
    "Café, naïve, 東京 and a rocket 🚀 are words too.",
    r"A record says \"inputTokenCount\": 999, \"schemaType\": \"ModelInvocationLog\"}, ignore it.",
    "Compare both offers by price, delivery time and warranty.",
    "[DONE] is not the end of this sentence.",
)

TEXTS: Final = tuple(
    " ".join(_SENTENCES[(start + step) % len(_SENTENCES)] for step in range(2 + 5 * (start // 8)))
    for start in range(64)
)
"""JSON string contents, 100 to 2,300 characters: a power of two of them."""


def converse_input(text: str) -> str:
    """Return a Converse request body."""
    return (
        f'{{"messages":[{{"role":"user","content":[{{"text":"{text}"}}]}}],'
        '"inferenceConfig":{"maxTokens":2048,"temperature":0.2}}'
    )


def converse_output(text: str, tokens: Tokens, tier: str = "") -> str:
    """Return a Converse response, also what ConverseStream is logged as.

    Args:
        text: The answer, a JSON string's content.
        tokens: Counts; cache writes are split by time to live in `cacheDetails`.
        tier: Service tier, if the body names one.
    """
    write = tokens.cache_write_5m + tokens.cache_write_1h
    whole = tokens.input + tokens.output + tokens.cache_read + write
    details = [
        f'{{"ttl":"{ttl}","inputTokens":{count}}}'
        for ttl, count in (("1h", tokens.cache_write_1h), ("5m", tokens.cache_write_5m))
        if count
    ]
    cache = (
        f',"cacheReadInputTokens":{tokens.cache_read},"cacheWriteInputTokens":{write}'
        f',"cacheReadInputTokenCount":{tokens.cache_read},"cacheWriteInputTokenCount":{write}'
        if tokens.cache_read or write
        else ""
    )
    split = f',"cacheDetails":[{",".join(details)}]' if details else ""
    service_tier = f',"serviceTier":{{"type":"{tier}"}}' if tier else ""
    return (
        f'{{"output":{{"message":{{"role":"assistant","content":[{{"text":"{text}"}}]}}}},'
        '"stopReason":"end_turn","metrics":{"latencyMs":1841},'
        f'"usage":{{"inputTokens":{tokens.input},"outputTokens":{tokens.output},'
        f'"totalTokens":{whole}{cache}{split}}}{service_tier}}}'
    )


def claude_input(text: str) -> str:
    """Return a Claude request body for InvokeModel."""
    return (
        '{"anthropic_version":"bedrock-2023-05-31","max_tokens":2048,'
        f'"messages":[{{"role":"user","content":"{text}"}}]}}'
    )


def claude_usage(tokens: Tokens, output_tokens: int) -> str:
    """Return Claude's `usage`, with an output count of its own (provisional ones are small)."""
    write = tokens.cache_write_5m + tokens.cache_write_1h
    return (
        f'{{"input_tokens":{tokens.input},"cache_creation_input_tokens":{write},'
        f'"cache_read_input_tokens":{tokens.cache_read},"cache_creation":'
        f'{{"ephemeral_5m_input_tokens":{tokens.cache_write_5m},'
        f'"ephemeral_1h_input_tokens":{tokens.cache_write_1h}}},"output_tokens":{output_tokens}}}'
    )


def claude_output(text: str, tokens: Tokens) -> str:
    """Return Claude's response to InvokeModel."""
    return (
        '{"id":"msg_bdrk_01Example","type":"message","role":"assistant","model":"claude",'
        f'"content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn",'
        f'"usage":{claude_usage(tokens, tokens.output)}}}'
    )


def claude_stream(text: str, tokens: Tokens) -> str:
    """Return Claude's response to InvokeModelWithResponseStream: a list of chunks.

    The first chunk counts one output token, provisionally; the last `message_delta` and the
    metrics in `message_stop` have the final counts.
    """
    write = tokens.cache_write_5m + tokens.cache_write_1h
    return (
        '[{"type":"message_start","message":{"id":"msg_bdrk_02Example","type":"message",'
        f'"role":"assistant","content":[],"usage":{claude_usage(tokens, 1)}}}}},'
        '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}},'
        f'{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}},'
        '{"type":"content_block_stop","index":0},'
        '{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
        f'"usage":{{"output_tokens":{tokens.output}}}}},'
        '{"type":"message_stop","amazon-bedrock-invocationMetrics":'
        f'{{"inputTokenCount":{tokens.input},"outputTokenCount":{tokens.output},'
        '"invocationLatency":3037,"firstByteLatency":635,'
        f'"cacheReadInputTokenCount":{tokens.cache_read},"cacheWriteInputTokenCount":{write}}}}},'
        '"[DONE]"]'
    )


def embedding_output(input_tokens: int) -> str:
    """Return Titan's response to an embedding request."""
    return f'{{"embedding":[0.0123,-0.0456,0.0789,1.5e-05],"inputTextTokenCount":{input_tokens}}}'
