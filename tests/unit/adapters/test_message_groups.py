import random

from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.message_groups import MessageGroups


class Watch:
    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds


def groups_of(*receipts: str) -> tuple[MessageGroups, Watch]:
    """Some deliveries on their way, in the group that their first letter names, for 60 seconds."""
    watch = Watch()
    groups = MessageGroups(watch.now)
    for receipt in receipts:
        groups.add(receipt[0], receipt, 60)
    return groups, watch


def test_nothing_is_acknowledged_before_what_came_earlier() -> None:
    groups, _ = groups_of("a1", "b1", "a2", "a3")
    decisions = groups.settle([("a2", True), ("a3", True), ("b1", True)])
    assert (decisions.acknowledge, decisions.defer) == (["b1"], {})
    assert groups.waiting() == ["a2", "a3"]
    decisions = groups.settle([("a1", True)])
    assert (decisions.acknowledge, decisions.defer) == (["a1", "a2", "a3"], {})
    assert groups.waiting() == []


def test_what_is_deferred_takes_everything_later_along() -> None:
    groups, _ = groups_of("a1", "a2", "a3", "b1", "a4")
    decisions = groups.settle([("a1", True), ("a2", False), ("a3", True), ("b1", True)])
    assert (decisions.acknowledge, decisions.defer) == (["a1", "b1"], {"a": ["a2", "a3"]})
    # Worked on all the while; must not end before what comes again.
    decisions = groups.settle([("a4", True)])
    assert (decisions.acknowledge, decisions.defer) == ([], {"a": ["a4"]})


def test_a_group_begins_anew_with_what_comes_again() -> None:
    groups, _ = groups_of("a1", "a2")
    groups.settle([("a1", False)])
    groups.add("a", "a1-again", 60)
    decisions = groups.settle([("a1-again", True)])
    assert decisions.acknowledge == ["a1-again"]
    assert groups.settle([("a2", True)]).defer == {"a": ["a2"]}


def test_what_ran_out_of_time_is_as_good_as_deferred() -> None:
    groups, watch = groups_of("a1", "a2", "a3")
    groups.extend(["a2", "a3", "unheard of"], 120)
    watch.seconds = 61
    decisions = groups.settle([("a2", True)])
    assert (decisions.acknowledge, decisions.defer) == ([], {"a": ["a2"]})
    assert groups.settle([("a3", True)]).defer == {"a": ["a3"]}


def test_what_comes_again_does_not_wait_for_what_ran_out_of_time() -> None:
    groups, watch = groups_of("a1", "a2")
    watch.seconds = 61
    groups.add("a", "a1-again", 120)
    groups.add("a", "a2-again", 120)
    decisions = groups.settle([("a2-again", True), ("a1-again", True)])
    assert (decisions.acknowledge, decisions.defer) == (["a1-again", "a2-again"], {})
    # Whoever was late has its receipt given back, which is void.
    assert groups.settle([("a1", True)]).defer == {}


def test_unknown_receipts_end_as_they_are() -> None:
    groups, _ = groups_of("a1")
    decisions = groups.settle([("x", True), ("y", False)])
    assert (decisions.acknowledge, decisions.defer) == (["x"], {"y": ["y"]})


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30), st.integers())
def test_groups_end_in_their_order_however_their_deliveries_do(
    deliveries: list[tuple[str, bool]], seed: int
) -> None:
    chance = random.Random(seed)
    named = [(f"{group}{number}", ends) for number, (group, ends) in enumerate(deliveries)]
    groups, _ = groups_of(*(receipt for receipt, _ in named))
    ended: dict[str, list[tuple[str, bool]]] = {}
    waiting = list(named)
    chance.shuffle(waiting)
    while waiting:
        some = [waiting.pop() for _ in range(chance.randint(1, len(waiting)))]
        decisions = groups.settle(some)
        for receipt in decisions.acknowledge:
            ended.setdefault(receipt[0], []).append((receipt, True))
        for group, receipts in decisions.defer.items():
            ended.setdefault(group, []).extend((receipt, False) for receipt in receipts)
    assert groups.waiting() == []
    for group in "abc":
        wanted = [(receipt, ends) for receipt, ends in named if receipt[0] == group]
        first_deferred = next((at for at, one in enumerate(wanted) if not one[1]), len(wanted))
        found = ended.get(group, [])
        acknowledged = [receipt for receipt, ends in found if ends]
        assert acknowledged == [receipt for receipt, _ in wanted[:first_deferred]]
        deferred = {receipt for receipt, ends in found if not ends}
        assert deferred == {receipt for receipt, _ in wanted[first_deferred:]}
