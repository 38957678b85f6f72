from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.registry import Registry

MANIFEST = 'name = "{name}"\ntitle = "Toy"\n'
WEBHOOK = (
    "from . import words\n"
    "def verify(*a): pass\ndef dedupe_key(i): return words.KEY\ndef parse(i, a): pass\ndef reply(a): pass\n"
)


def folder(root: Path, name: str = "toy", manifest: str = "", **files: str) -> Path:
    (root / name).mkdir(parents=True)
    (root / name / "manifest.toml").write_text(MANIFEST.format(name=name) + manifest)
    for path, text in files.items():
        (root / name / path.replace("__", "/")).parent.mkdir(exist_ok=True)
        (root / name / f"{path.replace('__', '/')}").with_suffix(".yaml" if "__" in path else ".py").write_text(text)
    return root


def test_a_folder_from_outside_offers_its_facets(tmp_path: Path) -> None:
    folder(
        tmp_path,
        webhook=WEBHOOK,
        words="KEY = 'k'\n",
        source="class Source: pass\n",
        channel="class Channel: pass\n",
        records="def facts(*a): return []\n",
        simulator="X = 1\n",
        playbooks__return="x: 1\n",
    )
    registry = Registry(tmp_path)
    assert "toy" in registry.names()
    webhook = registry.webhooks("toy")
    assert webhook is not None and webhook.dedupe_key(None) == "k"  # type: ignore[arg-type]
    source, channel, records = registry.sources("toy"), registry.channels("toy"), registry.records("toy")
    assert source is not None and channel is not None and records is not None
    assert (source.__name__, channel.__name__) == ("Source", "Channel")  # type: ignore[attr-defined]
    assert registry.simulators("toy").X == 1
    assert registry.playbook_files("toy") == [tmp_path / "toy/playbooks/return.yaml"]


def test_two_extra_folders_do_not_mix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder(tmp_path / name, webhook=WEBHOOK, words=f"KEY = '{name}'\n")
    found = [Registry(tmp_path / name).webhooks("toy") for name in ("a", "b")]
    assert [w.dedupe_key(None) for w in found if w] == ["a", "b"]  # type: ignore[arg-type]


def test_facets_that_are_not_there_are_none(tmp_path: Path) -> None:
    registry = Registry(folder(tmp_path))
    offers = (registry.webhooks, registry.records, registry.sources, registry.channels, registry.simulators)
    assert [offer("toy") for offer in offers] == [None] * 5
    assert registry.rules_file("toy") is None
    assert registry.template_dirs("toy") == registry.playbook_files("toy") == []


@pytest.mark.parametrize(
    ("facet", "text", "why"),
    [
        ("webhook", WEBHOOK.replace("verify", "check"), "webhook.py: has no verify"),
        ("webhook", WEBHOOK + "verify = None\n", "webhook.py: has no verify"),
        ("source", "x = 1\n", "source.py: has no Source"),
        ("channel", "x = (\n", "channel.py: does not load: SyntaxError"),
        ("records", "import nowhere_at_all\n", "records.py: does not load: ModuleNotFoundError"),
    ],
)
def test_an_unfit_facet_does_not_load(tmp_path: Path, facet: str, text: str, why: str) -> None:
    registry = Registry(folder(tmp_path, words="KEY = ''\n", **{facet: text}))
    offer = {
        "webhook": registry.webhooks, "source": registry.sources, "channel": registry.channels, "records": registry.records,
    }[facet]  # fmt: skip
    with pytest.raises(ConfigurationError, match=why):
        offer("toy")


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ("colour = 1\nsize = 2\n", "unknown key colour\n.*unknown key size"),
        ("[secrets]\nplaybook = ['x']\n", "manifest.toml: Invalid enum value 'playbook'"),
        ("[capabilities]\nrefund = 'sometimes'\n", "Invalid enum value 'sometimes'"),
        ("[capabilities]\nfly = 'api'\n", "capabilities.fly: no such act"),
        ("[abilities]\nfly = 'keyed'\n", "abilities.fly: no such act"),
        ("[params]\nfly = ['x']\n", "params.fly: no such action"),
        ("[settings.x]\ntype = 'float'\n", "Invalid enum value 'float'"),
        ("[settings.x]\ntype = 'money'\ndefault = '5'\n", "settings.x.default: must be an amount"),
        ("poll_every = 'soon'\n", "poll_every: not an ISO 8601 duration"),
        ("[scale]\nx = 'maybe'\n", "manifest.toml: "),
        ("[scale]\nx = {because = 'y'}\n", "manifest.toml: "),
        ("title = 'twice'\n", "manifest.toml: Cannot overwrite a value"),
        ("name", "manifest.toml: "),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, manifest: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=f"(?s){why}"):
        Registry(folder(tmp_path, manifest=manifest))


def test_faults_of_all_folders_at_once(tmp_path: Path) -> None:
    folder(tmp_path, "one", "colour = 1\n")
    folder(tmp_path, "Two")
    folder(tmp_path, "generic")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        Registry(tmp_path)
    assert len(caught.value.faults) == 4
    for why in (
        "one/manifest.toml: unknown key",
        "name must be",
        "generic is shipped already",
        "empty: no manifest.toml",
    ):
        assert why in str(caught.value)


def test_an_unknown_marketplace_or_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown marketplace 'nowhere'; there are: "):
        Registry().manifest("nowhere")
    with pytest.raises(ConfigurationError, match="no such folder"):
        Registry(tmp_path / "gone")


def test_secret_names_and_capabilities(tmp_path: Path) -> None:
    text = "[secrets]\nwebhook = ['key', 'old?']\n[capabilities]\nrefund = 'assisted'\n"
    manifest = Registry(folder(tmp_path, manifest=text)).manifest("toy")
    assert manifest.secret_names("webhook") == {"key": True, "old": False}
    assert manifest.secret_names("channel") == {}
    assert (manifest.capability("refund"), manifest.capability("appeal")) == ("assisted", "none")


def test_the_sellers_playbooks_lie_over_the_shipped_ones(tmp_path: Path) -> None:
    registry = Registry(folder(tmp_path / "markets", playbooks__return="x: 1\n", playbooks__refund="x: 1\n"))
    over = tmp_path / "mine"
    (over / "toy").mkdir(parents=True)
    (over / "toy" / "return.yaml").write_text("x: 2\n")
    (over / "toy" / "dispute.yaml").write_text("x: 2\n")
    shipped = tmp_path / "markets/toy/playbooks"
    assert registry.playbook_files("toy", over) == [
        over / "toy/dispute.yaml", shipped / "refund.yaml", over / "toy/return.yaml",
    ]  # fmt: skip


def test_purposes_of_all_and_of_one(tmp_path: Path) -> None:
    text = "purpose: wave\nstage: contact\nvariables:\n  n: {type: int, from: count}\n  who: {type: text, required: false}\n"
    purposes = Registry(folder(tmp_path, purposes__wave=text)).purposes()
    wave = purposes["wave"]
    assert wave.marketplace == "toy"
    assert (wave.variables["n"].from_, wave.variables["who"].required) == ("count", False)
    common = [p for p in purposes.values() if p.marketplace is None]
    assert len(common) >= 20


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("purpose: other\n", "wave.yaml:1 purpose: must be the file's name"),
        ("purpose: wave\ncolour: x\n", "wave.yaml: .*colour"),
        ("purpose: wave\nvariables: {n: {type: float}}\n", "Invalid enum value 'float'"),
        ("purpose: [\n", r"wave.yaml:2: "),
    ],
)
def test_a_bad_purpose_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Registry(folder(tmp_path, purposes__wave=text)).purposes()


def test_a_purpose_of_two_owners_is_refused(tmp_path: Path) -> None:
    text = "purpose: goods_received\n"
    with pytest.raises(ConfigurationError, match="goods_received exists already"):
        Registry(folder(tmp_path, purposes__goods_received=text)).purposes()
