"""The case as one durable workflow: transaction, step, transaction, each checkpointed in PostgreSQL. No broker.

Both workers are executors of the same application and take whole workflows from its queue.
"""

import signal
import sys
from typing import Any

from dbos import DBOS, DBOSConfig, SQLAlchemyDatasource

from bench.peers import orm_sync
from bench.peers.orm_sync import Event
from bench.peers.work import Settings

QUEUE, WORKFLOW = "cases", "on_webhook"
CONCURRENCY, POLL = 16, 0.1

settings = Settings.from_environ()
URL = settings.sqlalchemy("psycopg")
store = SQLAlchemyDatasource.create(URL, engine_kwargs={"pool_size": CONCURRENCY, "max_overflow": 4})


@store.transaction(isolation_level="READ COMMITTED")
def move(event: Event) -> dict[str, Any] | None:
    return orm_sync.take(orm_sync.advance(store.sql_session(), event))


@DBOS.step()
def call(said: dict[str, Any]) -> None:
    orm_sync.call(settings, said)


@store.transaction(isolation_level="READ COMMITTED")
def record(message_id: str) -> None:
    orm_sync.record(store.sql_session(), message_id)


@DBOS.workflow(name=WORKFLOW)
def on_webhook(event: Event) -> None:
    said = move(event)
    if said is not None:
        call(said)
        record(said["id"])


def run(executor: str) -> None:
    config = DBOSConfig(name="peer", system_database_url=URL, executor_id=executor, log_level="WARNING")
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL)
    settings.announce(executor)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    DBOS.destroy()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    run(sys.argv[1])
