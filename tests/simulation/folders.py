"""Two marketplaces more, made from the shipped `generic` folder: the same webhooks, playbooks and rules, and channels
that cannot be asked again under a key: `readable` can be read back, `blind` tells nothing."""

from pathlib import Path

from shared.marketplaces import generic

_GENERIC = Path(generic.__file__).parent
_WEBHOOK = "from shared.marketplaces.generic.webhook import dedupe_key, parse, reply, verify\n"
_CHANNEL = """
from shared.http import Call, HttpFault
from shared.marketplaces.generic.channel import Channel as Keyed
from shared.ports import Found


class Channel(Keyed):
    def ability(self, errand):
        return "{ability}"

    async def look_up(self, errand, body, since):
        call = Call("GET", self._account.base_url, label="look", params={{"key": errand.id}}, reads=True)
        answer = await self._http.call(call)
        return Found(bool(answer.json()["there"]), f"p-{{errand.id[-12:]}}")
"""


def make(root: Path) -> Path:
    """Answers the folder of marketplaces."""
    for ability in ("readable", "blind"):
        folder = root / ability
        (folder / "playbooks").mkdir(parents=True)
        manifest = (_GENERIC / "manifest.toml").read_text()
        manifest = manifest.replace('name = "generic"', f'name = "{ability}"').replace('= "keyed"', f'= "{ability}"')
        (folder / "manifest.toml").write_text(manifest)
        (folder / "webhook.py").write_text(_WEBHOOK)
        (folder / "channel.py").write_text(_CHANNEL.format(ability=ability))
        (folder / "rules.yaml").write_text((_GENERIC / "rules.yaml").read_text())
        for playbook in (_GENERIC / "playbooks").glob("*.yaml"):
            text = playbook.read_text().replace("marketplace: generic", f"marketplace: {ability}")
            (folder / "playbooks" / playbook.name).write_text(text)
    return root
