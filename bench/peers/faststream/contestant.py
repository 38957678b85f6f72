"""FastStream as its documentation shows it, with SQLAlchemy's asynchronous ORM."""

from bench.peers.peer import Peer

_RUN = ("-m", "faststream", "run", "--log-level", "warning")
contestant = Peer(
    "faststream",
    workers={name: (*_RUN, f"bench.peers.faststream.{name}:app") for name in ("policy", "notifier")},
)
