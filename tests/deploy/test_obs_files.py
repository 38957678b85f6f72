"""Alerts, dashboards and the profile `obs`, as files: sound, whole, and every name in them is one that is exported."""

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.metrics import Metrics
from tests.support import servers
from tools import dashboards

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def rules() -> list[dict[str, Any]]:
    documents = (yaml.safe_load(path.read_text()) for path in RULES)
    return [rule for document in documents for group in document["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def shown() -> dict[str, list[str]]:
    """Dashboard -> its queries, as Grafana will send them."""
    found = {}
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        panels = json.loads(path.read_text())["panels"]
        found[path.stem] = [target["expr"] for panel in panels for target in panel["targets"]]
    return found


def promtool(*args: str | Path) -> str:
    tool = servers.promtool()
    done = subprocess.run([tool, *args], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_configuration_and_rules() -> None:
    assert f"{len(RULES)} rule files found" in promtool("check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("name", alerts())
def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_quiet(name: str) -> None:
    asked = [
        (step["expr"], step["exp_samples"])
        for path in TESTS
        for one in yaml.safe_load(path.read_text())["tests"]
        for step in one["promql_expr_test"]
    ]
    fires = [want for expr, want in asked if f'alertname="{name}"' in expr and 'alertstate="firing"' in expr and want]
    quiet = [expr for expr, want in asked if (f'alertname="{name}"' in expr or "alertname" not in expr) and not want]
    assert fires and quiet


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_tests_notice_each_alert_that_never_fires(path: Path, tmp_path: Path) -> None:
    """The unit tests themselves are tested: with the alerts silenced each one's test fails."""
    document = yaml.safe_load((PROMETHEUS / "rules" / path.name).read_text())
    silenced = [rule for rule in document["groups"][0]["rules"] if "alert" in rule]
    for rule in silenced:
        rule["expr"] = "vector(0) > 1"
    for folder in ("rules", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "rules" / path.name).write_text(yaml.safe_dump(document))
    (tmp_path / "tests" / path.name).write_text(path.read_text())
    command = [servers.promtool(), "test", "rules", str(tmp_path / "tests" / path.name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 1
    failed = set(re.findall(r'ALERTS\{alertname=\\?"(\w+)', done.stdout + done.stderr))
    assert failed >= {rule["alert"] for rule in silenced}


@pytest.mark.parametrize(("name", "rule"), alerts().items())
def test_an_alert_says_what_is_the_matter_and_what_to_do(name: str, rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "do", "runbook"}
    page, _, place = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.M)
    assert place == name.lower() and name in headings


def test_every_name_is_exported_or_recorded() -> None:
    """A misspelt metric never fires and shows nothing: it would not be noticed."""
    exported = set(re.findall(r"^# TYPE (\S+) (\w+)$", asyncio.run(Metrics().exposition()).decode(), re.M))
    names = {
        f"{n}{end}" for n, kind in exported for end in (("_bucket", "_count", "_sum") if kind == "histogram" else ("",))
    }
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    of_prometheus = {"ALERTS", "up", "scrape_duration_seconds"}
    used = [rule["expr"] for rule in rules()] + [query for queries in shown().values() for query in queries]
    for query in used:
        bare = re.sub(r'"[^"]*"', "", query)
        found = set(re.findall(r"\b(?:amends[a-z_:0-9]+|process_\w+|up\b|ALERTS|scrape_\w+)", bare))
        assert found or "__name__" in query or "vector" in query, query
        assert found <= names | recorded | of_prometheus, (query, found - names - recorded - of_prometheus)


def test_labels_asked_for_are_labels_there_are() -> None:
    labels = {name for one in vars(Metrics()).values() for name in getattr(one, "_labelnames", ())}
    ours = labels | {"le", "job", "instance", "alertname", "alertstate", "__name__"}
    used = [rule["expr"] for rule in rules()] + [query for queries in shown().values() for query in queries]
    for query in used:
        grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
        asked = {name.strip() for part in grouped for name in part.split(",")}
        asked |= set(re.findall(r"[{,] ?(\w+)(?:=|!=|=~|!~)\"", query))
        assert asked <= ours, (query, asked - ours)


def test_the_dashboards_are_those_described() -> None:
    folder = DEPLOY / "grafana/dashboards"
    assert {path.name: path.read_text() for path in folder.glob("*.json")} == dashboards.rendered()
    assert set(shown()) == {"intake", "cases", "dispatch", "platform"}


def test_panels_stand_beside_and_below_each_other() -> None:
    for path in (DEPLOY / "grafana/dashboards").glob("*.json"):
        taken = set()
        for panel in json.loads(path.read_text())["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24 and not cells & taken, (path.name, panel["title"])
            taken |= cells


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    services = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]
    provisioning = DEPLOY / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/amends.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/amends.yaml").read_text())["providers"]
    assert source["url"] == "http://prometheus:9090" and services["prometheus"]["ports"] == ["127.0.0.1:9090:9090"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    for path in (DEPLOY / "grafana/dashboards").glob("*.json"):
        document = json.loads(path.read_text())
        assert {panel["datasource"]["uid"] for panel in document["panels"]} == {source["uid"]}
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana/dashboards" / Path(home).name).exists()


def test_each_service_is_scraped_where_it_listens() -> None:
    services = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    scraped = {name: entry["port"] for entry in job["dns_sd_configs"] for name in entry["names"]}
    assert scraped == {"amends": 8000, "intake": 8001, "policy": 8002, "notifier": 8003}
    for name, port in scraped.items():
        assert f"127.0.0.1:{port}/readyz" in services[name]["healthcheck"]["test"][-1]
