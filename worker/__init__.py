"""Ledgerock: an exact, exactly-once ledger of what Amazon Bedrock calls cost.

Layers, outermost first: `__main__`, `cli` and `runtime`, `replay`, `bootstrap`, `announcer` and
`books`, `adapters` and `pipeline`, `ports`, `settings`, `telemetry` and `traffic`, `core`. A module
imports only from layers below its own; `make lint` checks it.
"""

__version__ = "0.1.0"
