"""Ledgerock: an exact, exactly-once ledger of what Amazon Bedrock calls cost.

Layers, outermost first: `__main__`, `cli` and `runtime`, `replay`, `bootstrap`, `adapters` and
`pipeline`, `ports`, `settings` and `telemetry`, `core`. A module imports only from layers below
its own; `make lint` checks it.
"""

__version__ = "0.1.0"
