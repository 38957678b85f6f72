"""What can be held of the compose file without an engine: structure, references, settings, the split by path."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from amends.joined import owner_of
from shared.accounts import load_config
from shared.auth import load_keys
from shared.errors import ConfigurationError
from shared.settings import SERVICES, Process

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PORTS = {"amends": 8000, "intake": 8001, "policy": 8002, "notifier": 8003}
OURS = ("amends", "intake", "policy", "notifier", "migrate")
KEYS = {
    "image", "build", "restart", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period", "volumes",
    "profiles", "env_file", "deploy", "depends_on", "command", "environment", "ports", "healthcheck", "shm_size", "hostname",
}  # fmt: skip
HEALTH = {"test", "interval", "timeout", "retries", "start_period"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (DEPLOY / "docker-compose.yml").read_text()
    found: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))
    return found


def test_only_keys_that_compose_knows(compose: dict[str, Any]) -> None:
    assert {key for key in compose if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        assert set(service) <= KEYS, name
        assert set(service.get("healthcheck", {})) <= HEALTH, name
        assert isinstance(service.get("command", []), list), name


def test_without_a_profile_only_the_one_process_starts(compose: dict[str, Any]) -> None:
    assert [name for name, service in compose["services"].items() if "profiles" not in service] == ["amends"]
    watching = {name for name, service in compose["services"].items() if service.get("profiles") == ["obs"]}
    assert watching == {"prometheus", "grafana"}
    assert all(s["profiles"] == ["prod"] for n, s in compose["services"].items() if n not in {"amends", *watching})


def test_references_lead_somewhere(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for needed, how in service.get("depends_on", {}).items():
            other = compose["services"][needed]
            assert other.get("profiles", service.get("profiles")) == service.get("profiles"), (name, needed)
            assert "healthcheck" in other or how["condition"] == "service_completed_successfully", (name, needed)
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], (
                name,
                volume,
            )


def test_policy_and_notifier_share_one_folder_of_evidence(compose: dict[str, Any]) -> None:
    for name in ("policy", "notifier"):
        service = compose["services"][name]
        assert f"evidence:{service['environment']['AMENDS_DATA_DIR']}" in service["volumes"], name


def test_two_of_each_service_and_nothing_open_to_the_world(compose: dict[str, Any]) -> None:
    for name in SERVICES:
        assert compose["services"][name]["deploy"]["replicas"] == 2
        assert "ports" not in compose["services"][name]
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_our_containers_have_no_rights_to_spare(compose: dict[str, Any]) -> None:
    for name in (*OURS, "proxy"):
        service = compose["services"][name]
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001", dockerfile, re.M)
    assert dockerfile.index("USER 10001") < dockerfile.index("ENTRYPOINT")


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_one_that_amends_takes(compose: dict[str, Any], name: str) -> None:
    process = Process.from_env(compose["services"][name]["environment"])
    assert process.embedded == (name == "amends")
    assert process.sandbox == (name == "amends")
    assert name == "amends" or str(process.config) == "/etc/amends/accounts.yaml"
    created = re.findall(r"CREATE DATABASE (\w+);", (DEPLOY / "postgres/databases.sql").read_text())
    if name != "amends":
        urls = [process.database_url(service) for service in SERVICES]
        assert [url.rpartition("/")[2] for url in urls] == created


def test_a_misspelt_variable_would_be_seen(compose: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="AMENDS_BROKERURL"):
        Process.from_env({**compose["services"]["intake"]["environment"], "AMENDS_BROKERURL": "x"})


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_takes_the_command(compose: dict[str, Any], name: str) -> None:
    command = compose["services"][name]["command"]
    done = subprocess.run(
        [sys.executable, "-m", "amends", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout for part in command if part.startswith("--"))


@pytest.mark.parametrize(("name", "port"), PORTS.items())
def test_health_is_asked_where_the_service_listens(compose: dict[str, Any], name: str, port: int) -> None:
    service = compose["services"][name]
    assert f"127.0.0.1:{port}/readyz" in service["healthcheck"]["test"][-1]
    assert "--port" not in service["command"] or str(port) in service["command"]
    assert str(port) in re.findall(r"^EXPOSE (.*)$", (DEPLOY / "Dockerfile").read_text(), re.M)[0].split()


def split(path: str) -> str:
    """As nginx does it: the first regular expression in the file's order, else the prefix /."""
    text = (DEPLOY / "nginx/amends.conf").read_text()
    targets = dict(re.findall(r"set \$(\w+) http://(\w+:\d+);", text))
    for pattern, owner in re.findall(r"location ~ (\S+) \{[^}]*?proxy_pass \$(\w+);", text):
        if re.search(pattern, path):
            assert targets[owner] == f"{owner}:{PORTS[owner]}"
            return str(owner)
    return re.findall(r"location / \{[^}]*?proxy_pass \$(\w+);", text)[0]


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/aliexpress/ae-main", "/v1/cases", "/v1/cases/case_x_1", "/v1/cases/case_x_1/messages",
        "/v1/cases/case_x_1/timeline", "/v1/cases/messages", "/v1/messages", "/v1/messages/preview", "/v1/tasks",
        "/v1/admin/deliveries", "/v1/admin/deliveries/d1/replay", "/v1/admin/parked", "/v1/playbooks/a/b", "/docs",
        "/sandbox/calls", "/sandbox/faults", "/sandbox/poll", "/healthz", "/metrics",
    ],
)  # fmt: skip
def test_the_proxy_splits_as_the_one_process_does(path: str) -> None:
    owner = owner_of(path)
    assert split(path) == (owner if owner != "sandbox" else "policy")


def test_the_shipped_configuration_is_sound() -> None:
    config = load_config(
        DEPLOY / "config/accounts.yaml",
        {"MY_SHOP_SIGNING_SECRET": "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="},
    )
    assert list(config.accounts) == ["my-shop"]
    assert load_keys(DEPLOY / "config/keys.yaml").principals == ()


def test_the_image_takes_what_there_is(compose: dict[str, Any]) -> None:
    sources = re.findall(r"^COPY (?!--)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    allowed = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for source in " ".join(sources).split():
        assert (ROOT / source).exists(), source
        assert source.rstrip("/") in allowed, source
    assert compose["services"]["amends"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}


@pytest.mark.slow
def test_an_installed_amends_has_all_its_files(tmp_path: Path) -> None:
    """Templates, playbooks, manifests and migrations travel in the wheel."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "amends", "services", "shared"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    source = tmp_path / "source"
    for name in filter(None, [*listed, "pyproject.toml", "README.md", "requirements/run.in"]):
        if (ROOT / name).exists():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path, source],
        check=True, capture_output=True, timeout=110, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {name for name in listed if name and (source / name).exists() and "/fixtures/" not in name}
    assert wanted - packed == set()
