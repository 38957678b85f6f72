"""The labelled sets of messages, tests/data/messages/ and by another author tests/data/messages_unseen/."""

from pathlib import Path

import yaml

from services.notifier.scoring import Labelled, read

FOLDER = Path(__file__).parents[1] / "data" / "messages"
UNSEEN = FOLDER.with_name("messages_unseen")


def load(folder: Path = FOLDER) -> list[Labelled]:
    return [
        one
        for path in sorted(folder.glob("*.yaml"))
        for one in read(path.stem, yaml.safe_load(path.read_text("utf-8")))
    ]
