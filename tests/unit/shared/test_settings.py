from pathlib import Path

import pytest

from shared.accounts import load_config
from shared.errors import ConfigurationError
from shared.settings import Process

SECRET = "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

MANIFEST = """
name = "acme"
title = "Acme"
poll_every = "PT15M"
[secrets]
webhook = ["signing_key", "app"]
source = ["app", "token?"]
channel = ["send_token"]
[settings]
seller_id = {type = "text"}
premium = {type = "bool", default = false}
ids = {type = "list"}
gap = {type = "duration"}
"""


def written(folder: Path, text: str) -> Path:
    (folder / "markets" / "acme").mkdir(parents=True)
    (folder / "markets" / "acme" / "manifest.toml").write_text(MANIFEST)
    path = folder / "accounts.yaml"
    path.write_text(f"marketplaces: ./markets\n{text}")
    return path


GOOD = """accounts:
  - id: one
    marketplace: acme
    locale: pt-BR
    time_zone: America/Sao_Paulo
    base_url: http://127.0.0.1:99/
    secrets:
      signing_key: [{env: NEW}, old]
      app: 12345
      token: {file: token.txt}
      send_token: s
    settings: {keep_item_refund_below: ["15.00 USD", "1500 JPY"], seller_id: 77, gap: PT1H}
"""


def test_a_whole_account(tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text("from-file\n")
    config = load_config(written(tmp_path, GOOD), {"NEW": "new"}, sandbox=True)
    entry = config.accounts["one"]
    assert entry.account.poll_every == "PT15M"
    assert entry.account.base_url == "http://127.0.0.1:99"
    assert entry.account.sandbox
    assert entry.account.settings == {
        "premium": False, "keep_item_refund_below": ["15.00 USD", "1500 JPY"], "seller_id": "77", "gap": "PT1H",
    }  # fmt: skip
    assert config.secrets_for("one", "webhook") == {"signing_key": ("new", "old"), "app": "12345"}
    assert config.secrets_for("one", "source") == {"app": "12345", "token": "from-file"}
    assert config.secrets_for("one", "channel") == {"send_token": "s"}
    assert "from-file" not in repr(config) and "from-file" not in repr(entry.raw)


def test_a_service_needs_only_the_secrets_of_its_facets(tmp_path: Path) -> None:
    text = (
        "accounts:\n  - {id: one, marketplace: acme, secrets: {signing_key: {env: K}, app: x, send_token: {env: S}}}\n"
    )
    path = written(tmp_path, text)
    assert load_config(path, {"K": "k"}, service="intake").accounts["one"].secrets == {"signing_key": "k", "app": "x"}
    assert load_config(path, {}, service="policy").accounts["one"].secrets == {}
    assert load_config(path, {"S": "s"}, service="notifier").accounts["one"].secrets == {"send_token": "s"}
    with pytest.raises(ConfigurationError, match="environment variable K is not set"):
        load_config(path, {"S": "s"}, service="intake")


BAD = """playbooks: ./nowhere
acounts: []
accounts:
  - id: one
    marketplace: acme
    locale: xx-nonsense
    time_zone: Mars/Base
    base_url: ftp://x
    poll_every: often
    colour: red
    secrets:
      signing_key: {env: NOT_SET}
      app: {file: gone.txt}
      unknown_key: very-secret-value
    settings:
      keep_item_refund_below: "15 EURO"
      approve_refund_above: ["1.00 USD", "2.00 USD"]
      daily_messages_per_buyer: many
      premium: "yes"
      ids: 5
      gap: P0D
      colour: blue
  - {id: one, marketplace: generic, secrets: {signing_secret: whsec_c2hvcnQ=}}
  - {id: Two!, marketplace: acme}
  - {id: three, marketplace: ebay}
  - {marketplace: acme}
  - just text
  - {id: four, marketplace: generic, secrets: {signing_secret: [a, b, c]}}
  - {id: five, marketplace: generic, secrets: {signing_secret: ""}}
  - {id: six, marketplace: generic, secrets: {signing_secret: [plain-secret-value]}}
"""

EXPECTED = [
    "2 playbooks: is no folder",
    "3 acounts: unknown key",
    "11 accounts.0.colour: unknown key",
    "7 accounts.0.locale: must be a language tag",
    "8 accounts.0.time_zone: must be a time zone",
    "9 accounts.0.base_url: must be an http:// or https:// address",
    "10 accounts.0.poll_every: must be an ISO 8601 duration",
    "13 accounts.0.secrets.signing_key: environment variable NOT_SET is not set",
    "14 accounts.0.secrets.app: file gone.txt cannot be read",
    "15 accounts.0.secrets.unknown_key: acme has no such secret",
    "12 accounts.0.secrets: secret send_token is missing",
    "17 accounts.0.settings.keep_item_refund_below: must be an amount",
    "18 accounts.0.settings.approve_refund_above: must be an amount",
    "19 accounts.0.settings.daily_messages_per_buyer: must be a whole number",
    "20 accounts.0.settings.premium: must be true or false",
    "21 accounts.0.settings.ids: must be a list",
    "22 accounts.0.settings.gap: must be an ISO 8601 duration",
    "23 accounts.0.settings.colour: acme has no such setting",
    "24 accounts.1.secrets.signing_secret: must be whsec_",
    "24 accounts.1.id: one stands twice",
    "25 accounts.2.id: must be lower case letters",
    "26 accounts.3.marketplace: unknown marketplace",
    "27 accounts.4: id is missing",
    "28 accounts.5: must be an account",
    "29 accounts.6.secrets.signing_secret: must be one value, or two",
    "30 accounts.7.secrets.signing_secret: is empty",
    "31 accounts.8.secrets.signing_secret: must be whsec_",
]


def test_every_fault_at_once_with_its_line_and_no_value(tmp_path: Path) -> None:
    path = written(tmp_path, BAD)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path, {})
    faults = caught.value.faults
    for expected in EXPECTED:
        assert any(f.startswith(f"{path}:{expected}") for f in faults), (expected, faults)
    assert len(faults) == len(EXPECTED), faults
    for secret in ("very-secret-value", "plain-secret-value", "c2hvcnQ"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("messages_per_second: 0", "must be 1 or more"),
        ("daily_messages_per_buyer: -1", "must be 0 or more"),
        ("quiet_hours: 22-8", "must be times of day"),
        ("quiet_hours: 22:00-24:00", "must be times of day"),
        ("capabilities: [refund, fly]", "names an act that there is not"),
        ("calendar: USA!", "must be a country code"),
    ],
)
def test_settings_that_no_service_could_use(tmp_path: Path, setting: str, why: str) -> None:
    account = f"{{id: one, marketplace: generic, secrets: {{signing_secret: {SECRET}}}, settings: {{{setting}}}}}"
    with pytest.raises(ConfigurationError, match=why) as caught:
        load_config(written(tmp_path, f"accounts:\n  - {account}\n"), {})
    assert len(caught.value.faults) == 1


def test_settings_that_all_accounts_take(tmp_path: Path) -> None:
    settings = (
        "{messages_per_second: 2, daily_messages_per_buyer: 0, quiet_hours: 22:00-08:00, capabilities: [refund], "
        "calendar: US, shop: Ann}"
    )
    account = f"{{id: one, marketplace: generic, secrets: {{signing_secret: {SECRET}}}, settings: {settings}}}"
    config = load_config(written(tmp_path, f"accounts:\n  - {account}\n"), {})
    assert config.accounts["one"].account.settings["calendar"] == "US"


def test_accounts_with_one_number_are_refused(tmp_path: Path) -> None:
    """ "plumless" and "buckeroo" have one CRC-32."""
    accounts = "".join(
        f"  - {{id: {n}, marketplace: generic, secrets: {{signing_secret: {SECRET}}}}}\n"
        for n in ("plumless", "buckeroo")
    )
    with pytest.raises(ConfigurationError, match="buckeroo has the same number as plumless"):
        load_config(written(tmp_path, "accounts:\n" + accounts), {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("accounts: [\n", ":3: "),
        ("accounts:\n  - {id: a, id: b}\n", ":3: key 'id' stands twice"),
        ("accounts: 5\n", ":2 accounts: must be a list"),
    ],
)  # fmt: skip
def test_wrong_yaml_is_one_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(written(tmp_path, text), {})
    assert len(caught.value.faults) == 1
    assert why in caught.value.faults[0]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml: cannot be read"):
        load_config(tmp_path / "none.yaml", {})


def test_process_defaults_and_arguments(tmp_path: Path) -> None:
    process = Process.from_env({"PATH": "x"})
    assert process.embedded and process.log_format == "console" and process.partitions == 8
    assert process.database_url("intake") == "sqlite:///var/intake.db"
    process = Process.from_env({"AMENDS_DATA_DIR": "elsewhere", "AMENDS_SANDBOX": "1"}, data_dir=tmp_path)
    assert process.sandbox and process.database_url("policy") == f"sqlite:///{tmp_path}/policy.db"


@pytest.mark.parametrize(
    ("given", "service", "url"),
    [
        ({"DATABASE_URL": "postgresql://u@h/d"}, "intake", "postgresql://u@h/d?schema=intake"),
        ({"DATABASE_URL": "postgresql://u@h/d?ssl=require"}, "policy", "postgresql://u@h/d?ssl=require&schema=policy"),
        ({"DATABASE_URL": "sqlite:////data/amends.db"}, "notifier", "sqlite:////data/amends-notifier.db"),
        (
            {"DATABASE_URL": "postgresql://u@h/d", "INTAKE_DATABASE_URL": "postgresql://u@h/i"},
            "intake",
            "postgresql://u@h/i",
        ),
    ],
)
def test_database_of_each_service(given: dict[str, str], service: str, url: str) -> None:
    assert Process.from_env({f"AMENDS_{k}": v for k, v in given.items()}).database_url(service) == url


def test_environment_faults_all_at_once() -> None:
    environ = {
        "AMENDS_DATABSE_URL": "x", "AMENDS_BROKER_URL": "http://broker", "AMENDS_LOG_FORMAT": "xml",
        "AMENDS_PARTITIONS": "0", "AMENDS_INTAKE_DATABASE_URL": "mysql://secret@x/y", "AMENDS_SANDBOX": "maybe",
        "AMENDS_TEST_POSTGRES_URL": "postgresql://x", "HOME": "/",
    }  # fmt: skip
    with pytest.raises(ConfigurationError) as caught:
        Process.from_env(environ)
    text = str(caught.value)
    assert len(caught.value.faults) == 6
    for name in ("DATABSE_URL: unknown", "BROKER_URL", "LOG_FORMAT", "PARTITIONS", "INTAKE_DATABASE_URL", "SANDBOX"):
        assert f"environment AMENDS_{name}" in text
    assert "secret" not in text
