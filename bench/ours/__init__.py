"""The product itself as a contestant: apart (three services on RabbitMQ and PostgreSQL) and embedded (one process, SQLite)."""

from bench.ours.apart import Apart
from bench.ours.embedded import Embedded

__all__ = ["Apart", "Embedded"]
