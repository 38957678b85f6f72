"""The labelled sets of messages below tests/data/: ours, `messages`; by others, `messages_unseen`; what the classifier has read,
`messages_trained`."""

from pathlib import Path

import yaml

from services.notifier.scoring import Labelled, read

_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FOLDER = Path(__file__).parents[1] / "data" / "messages"
UNSEEN = FOLDER.with_name("messages_unseen")
TRAINED = FOLDER.with_name("messages_trained")


def load(folder: Path = FOLDER) -> list[Labelled]:
    return [
        one
        for path in sorted(folder.glob("*.yaml"))
        for one in read(path.stem, yaml.load(path.read_text("utf-8"), _SAFE))  # noqa: S506 - it is a safe one
    ]
