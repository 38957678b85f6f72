"""The playbooks cases run on, kept by content hash and pinned by their version."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from services.policy import tables
from services.policy.rows import text
from shared.clock import to_micros
from shared.domain.playbook import Playbook
from shared.errors import ConfigurationError
from shared.store.session import Database, Tx

Chart = tuple[str, str]
"""(marketplace, kind)."""
_decoder = msgspec.json.Decoder(Playbook)


class Playbooks:
    """`current` by chart; older versions by their hash, read from the database when a case needs them."""

    def __init__(self, current: Mapping[Chart, Playbook]) -> None:
        self._by_hash: dict[str, Playbook] = {}
        self._use(current)

    def _use(self, current: Mapping[Chart, Playbook]) -> None:
        self.current: dict[Chart, Playbook] = dict(current)
        self._by_hash |= {p.hash: p for p in current.values()}
        self._of_marketplace: dict[str, list[Playbook]] = {}
        for chart in sorted(current):
            self._of_marketplace.setdefault(chart[0], []).append(current[chart])

    def of(self, hash: str) -> Playbook:
        return self._by_hash[hash]

    def known(self, hash: str) -> bool:
        return hash in self._by_hash

    def for_marketplace(self, marketplace: str) -> Sequence[Playbook]:
        """By kind."""
        return self._of_marketplace.get(marketplace, ())

    async def need(self, tx: Tx, hashes: Iterable[str]) -> None:
        missing = sorted({h for h in hashes if h not in self._by_hash})
        if not missing:
            return
        where = tx.any_of("hash", "hashes")
        for row in await tx.rows(f"SELECT hash, document FROM playbooks WHERE {where}", hashes=missing):
            self._by_hash[row["hash"]] = _decoder.decode(row["document"])

    async def adopt(self, database: Database, fresh: Mapping[Chart, Playbook], now: datetime) -> None:
        """Pins the versions: a version that is known with other content is refused, then nothing changes."""
        async with database.transaction() as tx:
            faults = [await _pin(tx, playbook, to_micros(now)) for playbook in fresh.values()]
            if any(faults):
                raise ConfigurationError([fault for fault in faults if fault])
        self._use(fresh)


async def _pin(tx: Tx, playbook: Playbook, now: int) -> str | None:
    row = {
        "hash": playbook.hash,
        "marketplace": playbook.marketplace,
        "kind": playbook.kind,
        "version": playbook.version,
        "document": text(playbook),
        "created_at": now,
    }
    await tx.insert(tables.playbooks, [row], on_conflict="nothing")
    kept = await tx.row(
        "SELECT hash FROM playbooks WHERE marketplace = :marketplace AND kind = :kind AND version = :version",
        marketplace=playbook.marketplace, kind=playbook.kind, version=playbook.version,
    )  # fmt: skip
    if kept is not None and kept["hash"] == playbook.hash:
        return None
    return (
        f"{playbook.path}:1 -: version {playbook.version} of {playbook.name} is in use with other content: "
        "a changed playbook needs a new version"
    )
