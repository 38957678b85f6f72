"""Celery with its prefork pool of two, FastAPI in front, SQLAlchemy's ORM."""

from bench.peers.peer import Peer

_RUN = ("-m", "celery", "-A", "bench.peers.celery.app", "worker", "--concurrency", "2", "--loglevel", "WARNING")
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
contestant = Peer(
    "celery",
    workers={
        "policy": (*_RUN, *_QUIET, "-Q", "facts", "-n", "policy@%h"),
        "notifier": (*_RUN, *_QUIET, "-Q", "letters", "-n", "notifier@%h"),
    },
)
