"""The driver: one process that plays the marketplace on both sides, webhooks out and the sink in."""
