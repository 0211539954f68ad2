"""The one way from deliveries to the ledger: decode, fold, commit, look at budgets, settle.

The container worker, the Lambda handlers and the replay all book through `Pipeline`.
"""

from worker.pipeline.digest import Digest, Digester, EvidenceRecord, Window, undecodable
from worker.pipeline.isolation import Isolation, put_aside
from worker.pipeline.pipeline import Pipeline
from worker.pipeline.steps import Figures, Step

__all__ = [
    "Digest",
    "Digester",
    "EvidenceRecord",
    "Figures",
    "Isolation",
    "Pipeline",
    "Step",
    "Window",
    "put_aside",
    "undecodable",
]
