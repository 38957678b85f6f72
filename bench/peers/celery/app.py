"""Celery's end of RabbitMQ: quorum queues, confirms, acknowledged after the work; two processes per worker."""

from celery import Celery
from celery.signals import worker_ready
from kombu import Exchange, Queue
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import sessionmaker

from bench.peers import orm_sync
from bench.peers.models import Message
from bench.peers.orm_sync import Event
from bench.peers.work import Settings

settings = Settings.from_environ()
engine = create_engine(settings.sqlalchemy("psycopg"), pool_size=10, max_overflow=10)
Session = sessionmaker(engine, expire_on_commit=False)


def queue(name: str) -> Queue:
    """On a topic exchange, as Celery asks of quorum queues."""
    return Queue(name, Exchange("cases", "topic"), routing_key=name, queue_arguments={"x-queue-type": "quorum"})


app = Celery("peer", broker=settings.amqp)
app.conf.update(
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_default_queue_type="quorum",
    task_default_queue="facts",
    task_default_exchange="cases",
    task_default_exchange_type="topic",
    task_default_routing_key="facts",
    task_queues=[queue("facts"), queue("letters")],
    task_routes={"policy.*": {"queue": "facts"}, "notifier.*": {"queue": "letters"}},
    worker_prefetch_multiplier=16,
)


@app.task(name="policy.on_fact", autoretry_for=(IntegrityError,), default_retry_delay=0)
def on_fact(event: Event) -> None:
    with Session.begin() as session:
        message = orm_sync.advance(session, event)
    if message is not None:
        on_letter.delay(message.id)


@app.task(name="notifier.on_letter")
def on_letter(message_id: str) -> None:
    with Session.begin() as session:
        said = orm_sync.take(session.get(Message, message_id, with_for_update=True))
    if said is None:
        return
    orm_sync.call(settings, said)
    with Session.begin() as session:
        orm_sync.record(session, message_id)


@worker_ready.connect
def announce(sender: object, **_: object) -> None:
    """The worker's own name is `policy@…` or `notifier@…`."""
    settings.announce(str(getattr(sender, "hostname", "")).partition("@")[0])
