"""The floor: the least that is durable, called and recorded; in batches all the way, without case, transition, template."""

from bench.peers.peer import Peer

contestant = Peer(
    "floor", "floor", workers={name: ("-m", f"bench.peers.floor.{name}") for name in ("policy", "notifier")}
)
