"""From a function's environment to what it works with."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from worker.bootstrap import Booking, open_booking
from worker.core.errors import ConfigurationError
from worker.settings import Settings


@asynccontextmanager
async def open_function(environment: Mapping[str, str]) -> AsyncIterator[Booking]:
    """Put together what a function works with: settings from environment and Parameter Store.

    A function's ledger is in DynamoDB unless it says otherwise: what it keeps in memory is lost
    with its process, though its deliveries were acknowledged.

    Raises:
        ConfigurationError: A setting is wrong, or the ledger would be lost.
        TransientError: The Parameter Store cannot be reached now.
    """
    if environment.get("LEDGEROCK_SSM_PATH"):
        from worker.adapters.ssm_settings import with_parameters  # noqa: PLC0415 - few need it

        environment = await with_parameters(environment)
    settings = Settings.read({"LEDGEROCK_LEDGER": "dynamodb", **environment})
    if not settings.is_kept:
        message = (
            f"LEDGEROCK_LEDGER={settings.ledger}: a function's memory is lost with its process; "
            "give dynamodb or dynamodb:PREFIX"
        )
        raise ConfigurationError(message)
    if settings.ledger_tables is not None and not environment.get("LEDGEROCK_QUARANTINE"):
        message = (
            "LEDGEROCK_QUARANTINE: a function has no disk that outlives it; "
            "say where quarantined records are kept, such as s3://BUCKET/PREFIX"
        )
        raise ConfigurationError(message)
    async with open_booking(settings) as booking:
        yield booking
