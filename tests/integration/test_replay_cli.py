"""`cashup replay`, as a person calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cashup.cli import main

SMA = Path(__file__).parents[2] / "notebooks" / "sma_cross.ipynb"

Cashup = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cashup(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cashup:
    """Call the command line in this process; (exit code, stdout, stderr)."""
    monkeypatch.setenv("CASHUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CASHUP_DATABASE_URL", database_url)

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    code, _, err = call("data", "generate", "--symbol", "BTC/USDT", "--bars", 400)
    assert code == 0, err
    return call


def replayed(cashup: Cashup, *words: object) -> dict[str, Any]:
    code, out, err = cashup("replay", SMA, *words, "--json")
    assert code == 0, err
    document: dict[str, Any] = json.loads(out)
    return document


def test_a_replay_is_compared_stored_and_recorded(cashup: Cashup):
    document = replayed(cashup, "-p", "fast", 5, "-p", "slow", 20, "--fee", "0.002")
    assert document["parity"]["equal"] is True
    assert document["orders"] == document["backtest"]["orders"] == document["parity"]["matched"] > 10
    assert document["final_equity"] == pytest.approx(document["backtest"]["final_equity"], rel=1e-9)
    assert float(document["exact_final_equity"]) == document["final_equity"]
    assert set(document["venue"]["balances"]) == {"BTC", "USDT"}
    assert document["data_version"]
    stored = json.loads(Path(document["output"]).read_text())
    assert len(stored["order_lines"]["venue"]) == document["venue"]["orders"]
    assert all(isinstance(line["quantity"], str) for line in stored["order_lines"]["ideal"])
    _, out, _ = cashup("runs", "show", document["run_id"], "--json")
    run = json.loads(out)
    assert (run["kind"], run["params"]) == ("replay", {"fast": 5, "slow": 20})
    assert run["spec"]["fee"] == 0.002
    assert run["metrics"]["equals_backtest"] is True


def test_asking_once_for_all_bars_is_an_option(cashup: Cashup):
    window, frame = replayed(cashup), replayed(cashup, "--decisions", "frame")
    assert window["exact_final_equity"] == frame["exact_final_equity"]


def test_a_person_gets_sentences(cashup: Cashup):
    code, out, _ = cashup("replay", SMA)
    assert code == 0
    assert "replay and backtest agree" in out
    assert "rounding costs" in out


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["-p", "fasst", 5], 2, "did you mean 'fast'"),
        (["-p", "symbols", "[BTCUSDT]"], 2, "did you mean BTC/USDT"),
        (["-p", "symbols", "[ETH/USDT]"], 2, "cashup data import"),
        (["--decisions", "guess"], 2, "window or frame"),
        (["--capital", "-5"], 2, "above 0"),
        (["--start", "2030-01-01"], 2, "no bars"),
        (["-p", "slow", 600], 2, "bars"),
    ],
)
def test_what_cannot_be_replayed_is_one_sentence_and_leaves_nothing(
    cashup: Cashup, tmp_path: Path, words: list[object], code: int, hint: str
):
    done, out, err = cashup("replay", SMA, *words, "--json")
    assert (done, out) == (code, "")
    assert hint in err
    assert err.count("\n") == 1
    assert not (tmp_path / "home" / "runs").exists()


def test_the_limits_of_a_deployment_hold_on_the_venue_only(cashup: Cashup, tmp_path: Path):
    file = tmp_path / "live" / "sma.toml"
    file.parent.mkdir()
    file.write_text(
        f'notebook = "{SMA}"\naccount = "demo"\ncapital = "10000"\n[limits]\nmax_order_notional = "500"\n'
        "max_drawdown = 0.0001\n"
    )
    document = replayed(cashup, "-p", "fast", 5, "-p", "slow", 20, "--limits", file)
    assert document["parity"]["equal"] is True
    assert document["venue"]["decisions"]["max_order_notional"] > 0
    assert [one["code"] for one in document["venue"]["breaches"]] == ["max_drawdown"]
    assert document["venue"]["decisions"]["reducing"] > 0
