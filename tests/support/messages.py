"""The labelled set of messages, tests/data/messages/."""

from pathlib import Path

import yaml

from services.notifier.scoring import Labelled, read

FOLDER = Path(__file__).parents[1] / "data" / "messages"


def load() -> list[Labelled]:
    return [
        one
        for path in sorted(FOLDER.glob("*.yaml"))
        for one in read(path.stem, yaml.safe_load(path.read_text("utf-8")))
    ]
