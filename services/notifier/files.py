"""The files an act takes along, read when it is about to leave. Only their SHA-256 travels on the broker."""

from collections.abc import Mapping

from services.notifier.claims import Work
from shared.ids import content_hash
from shared.ports import Channel
from shared.store.blobs import Blobs


class FilesMissing(Exception):
    """The act cannot be done as it was decided: it is not begun."""


def wanted(channel: Channel | None, work: Work) -> bool:
    """Whether this channel (a `ports.FileChannel`) takes files with this act."""
    errand = work.errand
    if errand.what != "act" or not errand.attachments or work.do != "send":
        return False
    return errand.name in getattr(channel, "files_for", frozenset[str]())


async def read(blobs: Blobs, work: Work) -> Mapping[str, bytes]:
    """By SHA-256. Raises FilesMissing when one is not there whole, OSError when the store cannot be read now."""
    found: dict[str, bytes] = {}
    for sha256 in work.errand.attachments:
        content = await blobs.get(sha256)
        if content is None or content_hash(content) != sha256:
            how = "is not in" if content is None else "is damaged in"
            raise FilesMissing(f"nothing was sent: the file {sha256} {how} the store of evidence")
        found[sha256] = content
    return found
