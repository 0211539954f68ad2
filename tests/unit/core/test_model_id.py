import pytest

from worker.core.model_id import (
    MODEL_ID_LENGTH_MAX,
    MODEL_TEXT_LENGTH_MAX,
    Billing,
    is_application_profile,
    resolve_model,
)

SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PROFILE = "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/abcd1234efgh"


def unknown_profile(_arn: str) -> str | None:
    return None


@pytest.mark.parametrize(
    "model_id",
    [
        SONNET,
        "anthropic.claude-v2",
        "amazon.nova-2-lite-v1:0",
        "openai.gpt-5.6",
        "openai.gpt-oss-120b-1:0",
        "zai.glm-4.7",
        "deepseek.v3.2",
        "deepseek.v3-v1:0",
        "minimax.minimax-m2.5",
        "moonshotai.kimi-k2.5",
        "qwen.qwen3-coder-480b-a35b-v1:0",
        "meta.llama3-3-70b-instruct-v1:0",
        "ai21.jamba-1-5-large-v1:0",
        "xai.grok.fast-1",
        "newcorp.v2.5-large",
        "newcorp.model-1.5",
    ],
)
def test_an_id_without_geography_is_the_model(model_id: str) -> None:
    found = resolve_model(model_id, "us-east-1", unknown_profile)
    assert (found.model, found.geography, found.routing) == (model_id, "", "regional")
    assert (found.billing, found.region, found.reason) == (Billing.TOKEN, "us-east-1", "")


@pytest.mark.parametrize(
    "geography",
    [
        "us",
        "eu",
        "apac",
        "jp",
        "au",
        "ca",
        "in",
        "us-gov",
        "global",
        "sa",
        "me",
        "af",
        "uk",
        "mx",
        "il",
        "xq",
        "ax-gov",
    ],
)
@pytest.mark.parametrize("model", [SONNET, "openai.gpt-5.6-luna", "deepseek.v3.2", "zai.glm-4.7"])
def test_a_geography_is_split_off_even_one_never_seen_before(geography: str, model: str) -> None:
    found = resolve_model(f"{geography}.{model}", "us-east-1", unknown_profile)
    assert (found.model, found.geography) == (model, geography)
    assert found.routing == ("global" if geography == "global" else "regional")


@pytest.mark.parametrize("geography", ["us", "us-gov", "global", "zz"])
def test_a_new_providers_model_under_a_geography(geography: str) -> None:
    found = resolve_model(f"{geography}.newcorp.thinker-2.5-v1:0", "us-east-1", unknown_profile)
    assert (found.geography, found.model) == (geography, "newcorp.thinker-2.5-v1:0")


@pytest.mark.parametrize(
    "model_id,model",
    [
        ("anthropic.claude-3-sonnet-20240229-v1:0:28k", "anthropic.claude-3-sonnet-20240229-v1:0"),
        ("us.amazon.nova-pro-v1:0:300k", "amazon.nova-pro-v1:0"),
        ("amazon.nova-lite-v1:0:mm", "amazon.nova-lite-v1:0"),
        ("cohere.embed-english-v3:0:512", "cohere.embed-english-v3:0"),
        ("anthropic.claude-v2:1:200k", "anthropic.claude-v2:1"),
        ("anthropic.claude-v2:1", "anthropic.claude-v2:1"),
    ],
)
def test_context_window_suffixes_are_dropped_and_versions_kept(model_id: str, model: str) -> None:
    assert resolve_model(model_id, "", unknown_profile).model == model


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn", "aws-iso", "aws-iso-b"])
@pytest.mark.parametrize(
    "tail,geography",
    [
        (f"bedrock:eu-west-1::foundation-model/{SONNET}", ""),
        (f"bedrock:eu-west-1:111122223333:inference-profile/us.{SONNET}", "us"),
        (f"bedrock:eu-west-1:111122223333:inference-profile/global.{SONNET}", "global"),
        (f"bedrock:eu-west-1:111122223333:inference-profile/us-gov.{SONNET}", "us-gov"),
    ],
)
def test_arns_of_models_and_system_profiles(partition: str, tail: str, geography: str) -> None:
    found = resolve_model(f"arn:{partition}:{tail}", "", unknown_profile)
    assert (found.model, found.geography, found.billing) == (SONNET, geography, Billing.TOKEN)
    assert found.region == "eu-west-1"


def test_the_logs_region_prices_and_the_arns_only_fills_in() -> None:
    arn = f"arn:aws:bedrock:us-west-2::foundation-model/{SONNET}"
    assert resolve_model(arn, "us-east-1", unknown_profile).region == "us-east-1"
    assert resolve_model(arn, "", unknown_profile).region == "us-west-2"
    regionless = f"arn:aws:bedrock:::foundation-model/{SONNET}"
    assert resolve_model(regionless, "", unknown_profile).region == ""
    assert resolve_model(regionless, "us-east-1\n", unknown_profile).region == ""


def test_an_application_profile_is_what_it_was_copied_from_but_keeps_its_own_region() -> None:
    sources = {PROFILE: f"arn:aws:bedrock:us-west-2:111122223333:inference-profile/global.{SONNET}"}
    found = resolve_model(PROFILE, "", sources.get)
    assert (found.model, found.routing, found.region) == (SONNET, "global", "eu-west-1")
    assert found.billing is Billing.TOKEN


def test_an_unknown_application_profile_is_unresolved_not_free() -> None:
    found = resolve_model(PROFILE, "eu-west-1", unknown_profile)
    assert found.billing is Billing.UNRESOLVED_PROFILE
    assert found.model == "application-inference-profile/abcd1234efgh"
    assert "registry" in found.reason


def test_profiles_that_refer_to_each_other_end() -> None:
    other = PROFILE + "x"
    found = resolve_model(PROFILE, "eu-west-1", {PROFILE: other, other: PROFILE}.get)
    assert found.billing is Billing.UNRECOGNISED
    assert "each other" in found.reason


@pytest.mark.parametrize(
    "resource,billing",
    [
        ("provisioned-model/abcd1234efgh", Billing.PROVISIONED),
        ("imported-model/abcd1234efgh", Billing.IMPORTED),
        ("custom-model-deployment/abcd1234efgh", Billing.CUSTOM_DEPLOYMENT),
        ("custom-model/amazon.nova-lite-v1:0:300k/abcd1234efgh", Billing.CUSTOM_DEPLOYMENT),
    ],
)
def test_what_is_not_billed_by_token_keeps_a_name_to_report(
    resource: str, billing: Billing
) -> None:
    found = resolve_model(f"arn:aws:bedrock:us-east-1:111122223333:{resource}", "", unknown_profile)
    assert (found.model, found.billing, found.region) == (resource, billing, "us-east-1")
    assert found.reason


@pytest.mark.parametrize("resource", ["endpoint/llm", "marketplace/model-endpoint/llm"])
def test_a_marketplace_endpoint_is_billed_by_the_hour(resource: str) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:111122223333:{resource}"
    found = resolve_model(arn, "", unknown_profile)
    assert (found.model, found.billing) == (resource, Billing.PROVISIONED)
    assert "instance hour" in found.reason


@pytest.mark.parametrize(
    "model_id,word",
    [
        ("", "names no model"),
        ("abcd1234efgh", "neither"),
        ("anthropic.", "neither"),
        ("us.", "neither"),
        (".", "neither"),
        ("anthropic.claude\nv2", "neither"),
        ("anthropic.claude v2", "neither"),
        ("anthropic.claud\u00e9-v2", "neither"),
        ("arn:", "malformed"),
        ("arn:aws:bedrock", "malformed"),
        ("arn:azure:bedrock:us-east-1::foundation-model/x.y", "malformed"),
        ("arn:aws:bedrock:us-east-1:1:foundation-model/../x", "neither"),
        ("arn:aws:bedrock:us-east-1::foundation-model/*", "malformed"),
        ("arn:aws:bedrock:us-east-1::foundation-model", "names no model"),
        ("arn:aws:s3:::bucket/anthropic.claude-v2", "s3"),
        ("arn:aws:sagemaker:us-east-1:111122223333:foundation-model/x.y", "sagemaker"),
        ("arn:aws:bedrock:us-east-1:111122223333:endpoint/x", "bedrock"),
        ("arn:aws:bedrock:us-east-1:111122223333:guardrail/x", "guardrail"),
        ("arn:aws:bedrock:us-east-1:111122223333:prompt/ABCDEFGHIJ:1", "managed prompt"),
        ("arn:aws:bedrock:us-east-1:111122223333:prompt-router/ab12", "prompt router"),
        (
            "arn:aws:bedrock:us-east-1:111122223333:default-prompt-router/anthropic.claude:1",
            "prompt router",
        ),
        ("a" * 100 + "." + "b" * 5_000, "neither"),
        ("arn:aws:bedrock:us-east-1::foundation-model/" + "a." * 4_000, "malformed"),
        ("\ud800.x", "neither"),
    ],
)
def test_what_names_no_model_is_unrecognised_with_a_reason(model_id: str, word: str) -> None:
    found = resolve_model(model_id, "us-east-1", unknown_profile)
    assert found.billing is Billing.UNRECOGNISED
    assert word in found.reason
    assert found.model
    assert found.model.isascii()
    assert found.model.isprintable()
    assert len(found.model) <= MODEL_TEXT_LENGTH_MAX


def test_only_application_profiles_are_application_profiles() -> None:
    assert is_application_profile(PROFILE)
    assert not is_application_profile(f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}")
    assert not is_application_profile(PROFILE.replace("bedrock", "sagemaker"))
    assert not is_application_profile("application-inference-profile/abcd1234efgh")
    assert not is_application_profile(PROFILE + "x" * MODEL_ID_LENGTH_MAX)
