"""FastStream tuned by hand, as far as one message at a time goes: asyncpg, two statements a transaction, deep prefetch."""

from bench.peers.peer import Peer

_RUN = ("-m", "faststream", "run", "--log-level", "warning")
contestant = Peer(
    "faststream_tuned",
    "tuned",
    workers={name: (*_RUN, f"bench.peers.faststream_tuned.{name}:app") for name in ("policy", "notifier")},
)
