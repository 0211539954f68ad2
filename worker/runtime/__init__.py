"""The container worker: polls sources, books in micro-batches, drains when it is told to stop.

Nothing here decides what is booked, or how: that is `worker.pipeline`, which the functions and
the replay use as well. This package decides when, and how much at once.
"""
