"""TaskIQ on its aio-pika broker, with SQLAlchemy's asynchronous ORM."""

from bench.peers.peer import Peer

_TASKS = "bench.peers.taskiq.tasks"
_RUN = ("-m", "taskiq", "worker", "--workers", "1", "--log-level", "WARNING")
contestant = Peer("taskiq", workers={"policy": (*_RUN, f"{_TASKS}:facts"), "notifier": (*_RUN, f"{_TASKS}:letters")})
