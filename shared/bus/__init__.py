"""The bus: `port` is what services see, `open_bus` gives the end the URL names."""

from shared.bus.port import Bus, Topology
from shared.errors import ConfigurationError


def open_bus(url: str, topology: Topology) -> Bus:
    """`embedded://` or `amqp://` / `amqps://`. Nothing is connected before `start`."""
    scheme = url.partition(":")[0]
    if scheme == "embedded":
        from shared.bus.embedded import EmbeddedBus

        return EmbeddedBus(topology)
    if scheme in ("amqp", "amqps"):
        from shared.bus.rabbit import RabbitBus

        return RabbitBus(url, topology)
    raise ConfigurationError(["AMENDS_BROKER_URL: begins with neither embedded:// nor amqp:// nor amqps://"])
