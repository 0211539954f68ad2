"""Thin AWS Lambda entry points, one file per trigger.

A handler opens what `worker.bootstrap` wires together, hands the deliveries of its event to the
pipeline and reports the outcome in the shape that its trigger expects. It decides nothing itself.
"""
