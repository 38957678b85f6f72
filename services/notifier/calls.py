"""One call of a channel, and what its end means, whatever the channel raises."""

import asyncio
from typing import cast

import msgspec

from services.notifier import protocol
from services.notifier.claims import Work
from services.notifier.faults import sending
from shared.clock import from_micros
from shared.http import HttpFault, InDoubtFault, NotSentFault, RefusedFault
from shared.logs import get_logger
from shared.ports import Attempt, Channel, FileChannel, Found, InDoubt, NotSent, Refused

_CALL = 12.0
_log = get_logger("dispatch")


async def send(channel: Channel, work: Work) -> Attempt:
    errand, row = work.errand, work.row
    try:
        with sending():
            async with asyncio.timeout(_CALL):
                if errand.what == "message":
                    if errand.locale != row["locale"]:
                        errand = msgspec.structs.replace(errand, locale=row["locale"])
                    return await channel.send(errand, row["subject"], row["body"])
                if work.files is not None:
                    return await cast(FileChannel, channel).perform(errand, work.files)
                return await channel.perform(errand)
    except NotSentFault as fault:
        return NotSent(fault.why, fault.retry_after)
    except RefusedFault as fault:
        return Refused(fault.why, account_wide=fault.status in (401, 403))
    except InDoubtFault as fault:
        return InDoubt(fault.why)
    except TimeoutError:
        return InDoubt("no answer in time")
    except Exception as fault:
        _log.exception("channel_broke", account=row["account"], act=row["name"], fault=type(fault).__name__)
        return InDoubt(f"the channel broke: {type(fault).__name__}")


async def look_up(channel: Channel, work: Work) -> Found | str:
    since = from_micros(work.row["first_sending_at"]) - protocol.LOOK_BACK
    try:
        async with asyncio.timeout(_CALL):
            return await channel.look_up(work.errand, work.row["body"] or "", since)
    except HttpFault as fault:
        return fault.why
    except TimeoutError:
        return "no answer in time"
    except Exception as fault:
        _log.exception("channel_broke", account=work.row["account"], act="look_up", fault=type(fault).__name__)
        return f"the channel broke: {type(fault).__name__}"
