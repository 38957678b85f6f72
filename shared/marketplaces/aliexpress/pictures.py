"""Pictures of a case go to its dispute one by one; whatever else was handed in has no API. Reference B4.1 (no video)."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from shared.domain.errands import Errand
from shared.http import HttpFault, InDoubtFault, RefusedFault
from shared.marketplaces.aliexpress.assisted import prepared
from shared.marketplaces.aliexpress.client import Client
from shared.marketplaces.aliexpress.issue import Issue
from shared.ports import Assisted, Done, Found

EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif"}


def pictures(errand: Errand) -> dict[str, str]:
    """SHA-256 -> extension, each picture once."""
    files = errand.params.get("files") or ()
    return {f["sha256"]: EXTENSIONS[f["content_type"]] for f in files if f["content_type"] in EXTENSIONS}


async def upload(client: Client, errand: Errand, issue: Issue, files: Mapping[str, bytes] | None) -> Done | Assisted:
    """Raises HttpFault. Once one picture is there it is never just \"not sent\": it would be uploaded again."""
    wanted = pictures(errand)
    if not wanted or files is None:
        return prepared(errand)
    for there, (sha256, extension) in enumerate(wanted.items()):
        try:
            await client.act(
                "aliexpress.issue.image.upload",
                files={"image_bytes": files[sha256]},
                buyer_login_id=issue.buyer,
                issue_id=issue.id,
                extension=extension,
            )
        except HttpFault as fault:
            if not there:
                raise
            why = f"{there} of {len(wanted)} pictures are uploaded, the next was not: {fault.why}"
            if isinstance(fault, RefusedFault):
                raise RefusedFault(why, fault.status) from fault
            raise InDoubtFault(why) from fault
    return Done(left=left(errand))


def left(errand: Errand) -> Assisted | None:
    """The text and what is no picture, for a person to add."""
    others = [f["what"] for f in errand.params.get("files") or () if f["content_type"] not in EXTENSIONS]
    if not others and not errand.params.get("text"):
        return None
    more = f", and add what is no picture: {', '.join(map(str, others))}" if others else ""
    return prepared(errand, f"The pictures of this evidence are uploaded already. Only add the text, if any{more}.")


def taken(errand: Errand, issue: Issue, since: datetime, skew: timedelta) -> Found:
    """Raises InDoubtFault where some of the pictures are there and some are not: a person adds the rest."""
    wanted, since = len(pictures(errand)), max(since, errand.created_at - skew)
    there = sum(step.seller_images for step in issue.steps if step.at is not None and step.at >= since)
    if there not in (0, wanted):
        raise InDoubtFault(f"{there} pictures of ours are in the dispute where {wanted} were to be uploaded")
    return Found(there > 0, left=left(errand) if there else None)
