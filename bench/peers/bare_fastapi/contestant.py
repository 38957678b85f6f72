"""FastAPI alone: what an answer costs when nothing has to last."""

from bench.peers.peer import Peer

contestant = Peer("bare_fastapi", "bare", servers=frozenset())
