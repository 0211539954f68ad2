"""Replay: book the logs in files, folders and S3, on all cores, in constant memory.

`files` finds them, `decoding` turns them into folded digests (in this process or in children),
`run` books the digests and keeps count.
"""

from worker.replay.run import ReplayFigures, ReplayProgress, replay

__all__ = ["ReplayFigures", "ReplayProgress", "replay"]
