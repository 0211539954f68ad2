"""Products as the AWS Price List writes them, made up after published rows."""

from typing import Any

BEDROCK = "AmazonBedrock"
SERVICE = "AmazonBedrockService"
MARKETPLACE = "AmazonBedrockFoundationModels"


def product(
    sku: str,
    usd: str,
    *,
    service: str = BEDROCK,
    region: str = "us-east-1",
    unit: str = "1K tokens",
    description: str = "",
    effective: str = "2026-06-01T00:00:00Z",
    **attributes: str,
) -> dict[str, Any]:
    """One item of a GetProducts price list, decoded."""
    code = f"{sku}.JRTCKXETXF"
    dimension = {
        "unit": unit,
        "endRange": "Inf",
        "description": description,
        "appliesTo": [],
        "rateCode": f"{code}.6YS6EN2CT7",
        "beginRange": "0",
        "pricePerUnit": {"USD": usd},
    }
    return {
        "product": {
            "productFamily": "Amazon Bedrock",
            "attributes": {"regionCode": region, "servicecode": service, **attributes},
            "sku": sku,
        },
        "serviceCode": service,
        "terms": {
            "OnDemand": {
                code: {
                    "priceDimensions": {f"{code}.6YS6EN2CT7": dimension},
                    "sku": sku,
                    "effectiveDate": effective,
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                }
            }
        },
    }


def marketplace(
    sku: str, usd: str, name: str, usage: str, *, region: str = "us-east-1"
) -> dict[str, Any]:
    """One item of AmazonBedrockFoundationModels: per million, in "Units"."""
    return product(
        sku,
        usd,
        service=MARKETPLACE,
        region=region,
        unit="Units",
        description=f"AWS Marketplace software usage|{region}|Million tokens",
        servicename=f"{name} (Amazon Bedrock Edition)",
        usagetype=usage,
    )
