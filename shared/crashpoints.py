"""Named places where a process can be made to die, for crash tests. Nothing happens unless one is armed (`name:n`).

A process arms itself once, at its start, from `AMENDS_CRASHPOINT`; the places of all rooms stand in this one list.
"""

import os

NAMES = frozenset(
    {
        "intake.verified",  # a delivery is proven genuine, nothing is stored
        "intake.stored",  # its rows are written, nothing is committed
        "intake.committed",  # committed, not handed to the relay, not answered
        "intake.fetch_claimed",  # a reference is claimed, nothing is read
        "intake.read",  # a reference was read, nothing of it is stored
        "intake.fetched",  # what was read is committed, not handed to the relay
        "relay.taken",  # committed rows are about to be published
        "relay.confirmed",  # the bus has taken them, nothing is marked
        "consume.taken",  # a batch is in hand, nothing is handled
        "consume.handled",  # handled and committed, not acknowledged
        "consume.parked",  # what cannot be handled is set aside and committed, not acknowledged
        "store.opened",  # one service's database is at its head, the service has not begun
        "policy.decided",  # a batch is decided and its rows are on their way, nothing is committed
        "policy.committed",  # committed, not handed to the relay, not acknowledged
        "policy.clocks_held",  # the orders of due clocks are locked, nothing is decided
        "policy.clocks_decided",  # what they brought about is on its way, nothing is committed
        "policy.clocks_committed",  # committed, not handed to the relay
        "policy.parking",  # what cannot be handled is written aside with its task, nothing is committed
        "policy.playbooks_stored",  # a reload's playbooks are stored, in memory the old ones still hold
        "policy.action_decided",  # an operator's action and its answer are on their way, nothing is committed
        "policy.action_committed",  # committed, not answered
        "notifier.planned",  # errands are rendered and written, nothing is committed
        "notifier.recovering",  # what a dead sender left is judged and written, nothing is committed
        "notifier.claimed",  # due errands are claimed, nothing is committed
        "notifier.sending",  # `sending` is committed, no byte has left
        "notifier.request",  # the request is on its way, no answer yet
        "notifier.response",  # the answer is there, nothing is recorded
        "notifier.recorded",  # the outcome is committed
    }
)
EXIT_CODE = 137
_armed: dict[str, int] = {}


def arm(spec: str | None) -> None:
    """`name:n`: the n-th time the point is passed the process ends. None disarms. Raises ValueError for unknown names."""
    _armed.clear()
    if spec:
        name, count = parse(spec)
        _armed[name] = count


def parse(spec: str) -> tuple[str, int]:
    """Name and count. Raises ValueError."""
    name, _, count = spec.partition(":")
    if name not in NAMES or not (count or "1").isdecimal() or len(count) > 6:
        raise ValueError(f"must be name:n, the name one of {', '.join(sorted(NAMES))}")
    return name, int(count or 1)


def hit(name: str) -> None:
    """Ends the process at once, as kill -9 would, when this is the point and the time."""
    left = _armed.get(name)
    if left is None:
        return
    _armed[name] = left - 1
    if left == 1:
        os._exit(EXIT_CODE)
