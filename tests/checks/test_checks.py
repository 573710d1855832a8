"""Warm-up, determinism, secrets, parameters; the report; the command; and the glance beside a backtest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cashup as cu
from cashup.clock import parse_time
from cashup.errors import UsageError
from cashup.markets.lake import Lake
from cashup.markets.synthetic import store_generated
from cashup.research.checks.determinism import Elsewhere, check_determinism
from cashup.research.checks.glance import glance
from cashup.research.checks.lookahead import check_lookahead
from cashup.research.checks.parameters import check_parameters
from cashup.research.checks.run import NAMES
from cashup.research.checks.secrets import check_secrets
from cashup.research.checks.warmup import check_warmup
from cashup.strategies.notebook import load_strategy
from cashup.strategies.secrets import find_secrets
from tests.checks.dishonest import LOOKING_AHEAD
from tests.checks.honest import HONEST
from tests.checks.subjects import END, PARAMETERS, hours, notebook, subject

SMA = HONEST["rolling"]


def test_the_evidence_names_bar_symbol_values_and_cause(tmp_path):
    path = notebook(tmp_path, LOOKING_AHEAD["negative_shift_far"])
    full = load_strategy(path).targets(hours())
    found = check_lookahead(subject(path))
    for one in found.evidence:
        assert one.symbol == "BTC/USDT"
        assert full.at[one.bar, one.symbol] == one.full != one.truncated
        assert one.bar <= one.history
    assert "line 3" in found.evidence[0].cause
    assert "negative shift" in found.evidence[0].cause


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("centred", "centred window"),
        ("backfill", "bfill"),
        ("resample_running_day", "higher bar"),
        ("zscore", "whole frame"),
        ("merge_asof_forward", "later times"),
        ("global_frame", "the target reads prices"),
        ("closure", "the target reads frame"),
        ("global_figure", "what a cell loads with read_csv"),
        ("file_inside", "prices.csv"),
        ("fails_when_short", "ValueError: too short"),
    ],
)
def test_the_likely_cause_is_named(tmp_path, name, cause):
    found = check_lookahead(subject(notebook(tmp_path, LOOKING_AHEAD[name])))
    assert any(cause in one.cause for one in found.evidence), found.evidence


def test_a_level_function_that_looks_ahead_is_found(tmp_path):
    levels = "def stop(bars, n):\n    return (bars.close.shift(-3) / bars.close - 1).abs().clip(0.001, 0.5)\n"
    end = END.replace("warmup=warmup", "warmup=warmup, stop_loss=stop")
    found = check_lookahead(subject(notebook(tmp_path, SMA + levels, end=end)))
    assert found.verdict == "failed"
    assert found.evidence[0].output == "stop_loss"


def test_what_a_target_reaches_is_whole_again_after_the_check(tmp_path):
    strategy = load_strategy(notebook(tmp_path, LOOKING_AHEAD["closure"]))
    before = strategy.targets(hours())
    assert not cu.check(strategy, hours(), only=["lookahead"]).passed
    assert strategy.targets(hours()).equals(before)


def test_a_file_that_holds_no_series_is_a_warning(tmp_path):
    (tmp_path / "weights.json").write_text("[0.5]")
    source = (
        "from pathlib import Path\nimport json\nweights = Path('weights.json').resolve()\n"
        "def target(bars, n):\n    weight = json.loads(weights.read_text())[0]\n"
        "    return (bars.close > bars.close.rolling(n).mean()) * weight\n"
    )
    found = check_lookahead(subject(notebook(tmp_path, source)))
    assert found.verdict == "warning"
    assert "weights.json" in found.evidence[0].cause


@pytest.mark.parametrize(("declared", "verdict"), [(40, "passed"), (35, "passed"), (34, "failed")])
def test_the_needed_warmup_is_the_longest_window(tmp_path, declared, verdict):
    parameters = PARAMETERS.replace("warmup = 40", f"warmup = {declared}")
    found = check_warmup(subject(notebook(tmp_path, SMA, parameters=parameters)))
    assert (found.verdict, found.facts["needed_warmup"]) == (verdict, 35)


def test_an_exponential_average_needs_its_remainder_to_vanish(tmp_path):
    found = check_warmup(subject(notebook(tmp_path, HONEST["ewm"])))
    assert found.verdict == "failed"
    assert 60 < found.facts["needed_warmup"] < 250
    assert f"write warmup={found.facts['needed_warmup']}" in found.message


def test_no_window_is_enough_for_an_expanding_rule(tmp_path):
    found = check_warmup(subject(notebook(tmp_path, HONEST["expanding"])))
    assert found.verdict == "failed"
    assert found.facts["needed_warmup"] is None


@pytest.mark.parametrize(
    "line",
    [
        "noise = np.random.random(bars.close.shape)",
        "noise = np.array([[hash(str(t)) % 97 / 97] for t in bars.times])",
        "noise = np.full(bars.close.shape, calls.append(1) or len(calls) % 2)",
        "noise = np.full(bars.close.shape, int(os.environ.get('OMP_NUM_THREADS', '0')) / 4)",
    ],
)
def test_what_differs_from_time_to_time_is_found(tmp_path, line):
    body = f"def target(bars, n):\n    {line}\n    return bars.close * 0 + noise\n"
    source = f"import os\nimport numpy as np\ncalls = []\n{body}"
    checked = subject(notebook(tmp_path, source))
    if "calls" in line:
        checked.notebook = None  # in memory: the same object is called again
    elsewhere = Elsewhere(checked)
    try:
        found = check_determinism(checked, elsewhere)
    finally:
        elsewhere.close()
    assert found.verdict == "failed"
    assert found.evidence[0].full != found.evidence[0].truncated


TOKEN = "eyJhbGciOiJFZERTQSJ9." + "eyJzdWIiOiJib3QifQ." + "c2lnbmF0dXJlLXNpZ25hdHVyZQ"
KEY = "9f86d081884c7d65" + "9a2feaa0c55ad015"


@pytest.mark.parametrize(
    "text",
    [
        f'api_key = "{KEY}"',
        f"ccxt.gate({{'apiKey': '{KEY}', 'secret': 'x'}})",
        'password = "hunter2hunter2"',
        f'client.login("{TOKEN}")',
        'url = "postgresql://bot:correct-horse@db.internal/cashup"',
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQ",
        f'key = "{KEY}{KEY}"',
        f'os.environ["GATE_SECRET"] = "{KEY}"',
    ],
)
def test_secrets_are_found_and_not_repeated(tmp_path, text):
    assert list(find_secrets(text))
    path = notebook(tmp_path, SMA + "\n" + "\n".join(f"# {line}" for line in text.splitlines()))
    found = check_secrets(path)
    assert found.verdict == "failed"
    assert KEY not in json.dumps(found.to_json())
    assert "hunter2hunter2" not in json.dumps(found.to_json())


@pytest.mark.parametrize(
    "text",
    [
        'api_key = "YOUR_KEY"',
        'secret = ""',
        'token = "..."',
        'password = os.environ["GATE_PASSWORD"]',
        'frame.sort_values(key="close_time_of_the_bar")',
        'columns = {"key": "name of the column"}',
        f'data_version = "{KEY}{KEY}"',
        'url = "https://example.org/data:1/file@2"',
        'symbols = ["BTC/USDT"]  # what to trade',
        'secret = "<put it here>"',
    ],
)
def test_what_is_no_secret_is_left_alone(text):
    assert list(find_secrets(text)) == []


def test_outputs_and_metadata_are_looked_through(tmp_path):
    path = notebook(tmp_path, SMA, metadata={"papermill": {"parameters": {"api_key": KEY}}})
    assert check_secrets(path).verdict == "failed"
    document = json.loads(path.read_text()) | {"metadata": {}}
    assert check_secrets(_rewrite(path, document)).verdict == "passed"
    document["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [f"token: '{TOKEN}'\n"]}]
    found = check_secrets(_rewrite(path, document))
    assert "cell 2's output" in found.evidence[0].cause


def _rewrite(path: Path, document: dict) -> Path:
    path.write_text(json.dumps(document))
    return path


def test_a_parameter_that_nobody_reads_fails(tmp_path):
    found = check_parameters(subject(notebook(tmp_path, SMA, parameters=PARAMETERS + "forgotten = 3\n")))
    assert found.verdict == "failed"
    assert found.facts["untouched"] == ["forgotten"]


def test_a_parameter_that_changes_nothing_is_a_warning(tmp_path):
    source = SMA.replace("return", "shift = idle * 0\n    return")
    found = check_parameters(subject(notebook(tmp_path, source, parameters=PARAMETERS + "idle = 3\n")))
    assert found.verdict == "passed" or found.facts["untouched"] == ["idle"]
    assert found.verdict != "passed"


def test_a_value_that_the_notebook_refuses_is_replaced_by_another(tmp_path):
    parameters = PARAMETERS + "even = 4\n"
    source = "assert even % 2 == 0 and even <= 6\n" + SMA.replace(".astype(float)", ".astype(float) / even")
    assert check_parameters(subject(notebook(tmp_path, source, parameters=parameters))).verdict == "passed"


def test_the_report_of_an_honest_notebook(tmp_path):
    report = cu.check(notebook(tmp_path, SMA), hours())
    assert report.passed
    assert [check.name for check in report.checks] == list(NAMES)
    document = json.loads(json.dumps(report.to_json()))
    assert document["needed_warmup"] == 35
    assert {check["verdict"] for check in document["checks"]} == {"passed"}
    assert "lookahead" in repr(report)
    assert "<table>" in report._repr_html_()


def test_an_unknown_check_is_refused(tmp_path):
    with pytest.raises(UsageError, match="lookahead"):
        cu.check(notebook(tmp_path, SMA), hours(), only=["luck"])


@pytest.mark.parametrize("name", ["negative_shift", "zscore", "rank", "centred", "last_row", "gradient"])
def test_a_glance_sees_what_is_plain(tmp_path, name):
    found = glance(load_strategy(notebook(tmp_path, LOOKING_AHEAD[name])), hours(), 60.0)
    assert found is not None
    assert "looks ahead" in found


@pytest.mark.parametrize("name", HONEST)
def test_a_glance_accuses_no_honest_strategy(tmp_path, name):
    assert glance(load_strategy(notebook(tmp_path, HONEST[name])), hours(), 60.0) is None


@pytest.fixture
def lake(tmp_path, monkeypatch):
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    lake = Lake(tmp_path / "home" / "lake")
    store_generated(lake, "gate", "BTC/USDT", "1h", parse_time("2025-01-01"), 1_000, seed=3)
    return lake


def test_a_backtest_notes_that_its_target_looks_ahead(tmp_path, lake, capsys):
    run = cu.run(load_strategy(notebook(tmp_path, LOOKING_AHEAD["negative_shift"])))
    assert any("looks ahead" in note for note in run.notes)
    assert "looks ahead" in capsys.readouterr().err
    honest = cu.run(load_strategy(notebook(tmp_path, SMA)))
    assert not any("looks ahead" in note for note in honest.notes)


def test_the_command_says_what_is_wrong(tmp_path, lake, capsys):
    from cashup.cli import main

    honest, dishonest = tmp_path / "honest", tmp_path / "dishonest"
    honest.mkdir()
    dishonest.mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["check", str(notebook(honest, SMA)), "--json", "-p", "n", "10"])
    document = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0, document
    assert document["passed"] is True
    assert document["needed_warmup"] == 29
    with pytest.raises(SystemExit) as ended:
        main(["check", str(notebook(dishonest, LOOKING_AHEAD["negative_shift"])), "--quick"])
    told = capsys.readouterr()
    assert ended.value.code == 1
    assert told.out.startswith("failed   lookahead")
    assert "does not pass: lookahead" in told.err
