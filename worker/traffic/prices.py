"""A hand-written table of list prices, for sums that owe nothing to the program's pricing.

On-demand prices of us-east-1 and us-west-2 as AWS publishes them (AWS documentation: "Amazon
Bedrock pricing"). Everything is an integer number of pico-USD, 10**-12 USD: a price of 1 USD
per million tokens is 1,000,000 pico-USD per token. Only models, routings and units whose price
is beyond doubt are listed; the traffic uses nothing else, except where it means to be unpriced.
"""

from dataclasses import dataclass
from typing import Final

PICO_USD_PER_USD: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Disjoint token counts of one call, or their sums over many.

    `input` leaves out whatever was read from or written to the prompt cache.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0


NO_TOKENS: Final = Tokens()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPrice:
    """Pico-USD per token, by kind of token.

    A model with `cache_write_1h` offers one hour to live, so that a cache write whose time to
    live was not logged has no certain price: it is `estimated`, at the five-minute price.
    """

    input: int
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0

    def cost_pico_usd(self, tokens: Tokens) -> int:
        """Return the exact cost of the tokens; no rounding is ever needed."""
        return (
            self.input * tokens.input
            + self.output * tokens.output
            + self.cache_read * tokens.cache_read
            + self.cache_write_5m * tokens.cache_write_5m
            + self.cache_write_1h * tokens.cache_write_1h
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model as callers name it.

    Attributes:
        model: Foundation-model id, without any geography.
        geography: Prefix of the inference profile: `us`, `eu`, `global`, or empty.
        price: Its list price in that routing.
        streams: Whether it answers `Converse` and streams; embeddings do not.
    """

    model: str
    price: ListPrice
    geography: str = ""
    streams: bool = True

    @property
    def model_id(self) -> str:
        """The id that callers pass: the inference profile's, else the model's own."""
        return f"{self.geography}.{self.model}" if self.geography else self.model


SONNET_4_5: Final = Model(
    model="anthropic.claude-sonnet-4-5-20250929-v1:0",
    geography="us",
    price=ListPrice(
        input=3_300_000,
        output=16_500_000,
        cache_read=330_000,
        cache_write_5m=4_125_000,
        cache_write_1h=6_600_000,
    ),
)
SONNET_4_5_EU: Final = Model(model=SONNET_4_5.model, geography="eu", price=SONNET_4_5.price)
SONNET_4_5_GLOBAL: Final = Model(
    model=SONNET_4_5.model,
    geography="global",
    price=ListPrice(
        input=3_000_000,
        output=15_000_000,
        cache_read=300_000,
        cache_write_5m=3_750_000,
        cache_write_1h=6_000_000,
    ),
)
HAIKU_4_5: Final = Model(
    model="anthropic.claude-haiku-4-5-20251001-v1:0",
    geography="us",
    price=ListPrice(
        input=1_100_000,
        output=5_500_000,
        cache_read=110_000,
        cache_write_5m=1_375_000,
        cache_write_1h=2_200_000,
    ),
)
HAIKU_4_5_GLOBAL: Final = Model(
    model=HAIKU_4_5.model,
    geography="global",
    price=ListPrice(
        input=1_000_000,
        output=5_000_000,
        cache_read=100_000,
        cache_write_5m=1_250_000,
        cache_write_1h=2_000_000,
    ),
)
OPUS_4_5: Final = Model(
    model="anthropic.claude-opus-4-5-20251101-v1:0",
    geography="us",
    price=ListPrice(
        input=5_500_000,
        output=27_500_000,
        cache_read=550_000,
        cache_write_5m=6_875_000,
        cache_write_1h=11_000_000,
    ),
)
SONNET_4: Final = Model(
    model="anthropic.claude-sonnet-4-20250514-v1:0",
    geography="us",
    price=ListPrice(
        input=3_000_000, output=15_000_000, cache_read=300_000, cache_write_5m=3_750_000
    ),
)
SONNET_3: Final = Model(
    model="anthropic.claude-3-sonnet-20240229-v1:0",
    price=ListPrice(input=3_000_000, output=15_000_000),
)
HAIKU_3: Final = Model(
    model="anthropic.claude-3-haiku-20240307-v1:0",
    price=ListPrice(input=250_000, output=1_250_000),
)
NOVA_PRO: Final = Model(
    model="amazon.nova-pro-v1:0",
    price=ListPrice(input=800_000, output=3_200_000, cache_read=200_000),
)
NOVA_PRO_FLEX: Final = ListPrice(input=400_000, output=1_600_000)
NOVA_PRO_PRIORITY: Final = ListPrice(input=1_400_000, output=5_600_000)
NOVA_LITE: Final = Model(
    model="amazon.nova-lite-v1:0",
    price=ListPrice(input=60_000, output=240_000, cache_read=15_000),
)
NOVA_MICRO: Final = Model(
    model="amazon.nova-micro-v1:0",
    price=ListPrice(input=35_000, output=140_000, cache_read=8_750),
)
NOVA_2_LITE: Final = Model(
    model="amazon.nova-2-lite-v1:0",
    geography="us",
    price=ListPrice(input=330_000, output=2_750_000),
)
LLAMA_3_3: Final = Model(
    model="meta.llama3-3-70b-instruct-v1:0",
    geography="us",
    price=ListPrice(input=720_000, output=720_000),
)
MISTRAL_LARGE: Final = Model(
    model="mistral.mistral-large-2402-v1:0",
    price=ListPrice(input=4_000_000, output=12_000_000),
)
TITAN_EMBED: Final = Model(
    model="amazon.titan-embed-text-v2:0", price=ListPrice(input=20_000), streams=False
)
GPT_OSS: Final = Model(
    model="openai.gpt-oss-120b-1:0", price=ListPrice(input=150_000, output=600_000)
)

MODELS: Final = (
    SONNET_4_5,
    HAIKU_4_5_GLOBAL,
    NOVA_PRO,
    SONNET_4,
    NOVA_LITE,
    TITAN_EMBED,
    HAIKU_3,
    NOVA_MICRO,
    OPUS_4_5,
    LLAMA_3_3,
    SONNET_3,
    NOVA_2_LITE,
    MISTRAL_LARGE,
)
"""Everyday models, the most used first; the workload of the bench takes the first twelve."""

IMAGE_MODEL: Final = "amazon.nova-canvas-v1:0"
IMAGE_PRICES_PICO_USD: Final = (
    (1024, 1024, "standard", 40_000_000_000),
    (1024, 1024, "premium", 60_000_000_000),
    (2048, 2048, "standard", 60_000_000_000),
    (2048, 2048, "premium", 80_000_000_000),
)
"""Nova Canvas: width, height, quality, pico-USD per image."""

RERANK_MODEL: Final = "amazon.rerank-v1:0"
RERANK_QUERY_PICO_USD: Final = 1_000_000_000
"""Amazon Rerank 1.0: 1 USD per thousand queries of up to one hundred documents."""

UNKNOWN_MODEL: Final = "acme.frontier-9-v1:0"
"""A model that no price list knows."""
