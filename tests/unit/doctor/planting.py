"""What plants a fault, and what must be found of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.unit.doctor.world import World
from worker.core.doctor import Verdict

Plant = Callable[[World], Awaitable[None]]
Planter = Callable[[World], Any]
Keep = Callable[[Planter], Planter]


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: Names it.
        plant: Plants it.
        check: The check that finds it; no other may.
        says: A part of what it says.
        verdict: How bad it is.
        mend: A part of the command that mends it.
    """

    name: str
    plant: Plant
    check: str
    says: str
    mend: str
    verdict: Verdict = "wrong"


def keeper(faults: list[Fault]) -> Callable[..., Keep]:
    """Return a decorator that keeps what plants a fault, with what must be found of it."""

    def fault(check: str, says: str, mend: str, verdict: Verdict = "wrong") -> Keep:
        def keep(plant: Planter) -> Planter:
            async def planted(world: World) -> None:
                result = plant(world)
                if result is not None:
                    await result

            name = plant.__name__.replace("_", " ")
            faults.append(Fault(name, planted, check, says, mend, verdict))
            return plant

        return keep

    return fault
