"""A deployment file that holds a secret is refused with the place, and the secret is not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from cashup.errors import DeploymentError
from cashup.workers.deployment import parse_file
from cashup.workers.secrets import find_in_toml

KEY = "8f2Kq9ZxT4vLmN7wRb3YcD6sHj1PgA5e"
PLAIN = 'notebook = "sma.ipynb"\ncapital = "1000"\n'


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (f'account = "{KEY}"', "line 3: account"),
        ('api_secret = "hunter22hunter"', "line 3: api_secret"),
        (f'[parameters]\ntoken = "{KEY}"', "line 4: parameters.token"),
        (f"[parameters]\nwords = [\n  'a',\n  '{KEY}',\n]", "line 6: parameters.words"),
        (f"[limits]\n# the old key was {KEY}\nmax_open_orders = 5", "line 4: limits"),
        (f"# key: {KEY}", "line 3: capital"),
        ("# password: tr0ub4dor&3", "line 3: capital"),
        ("# https://bot:hunter22@example.org/hook", "line 3: capital"),
        (f'text = """\nbegin\n{KEY}\n"""', "line 5: text"),
        ("password = 12345678", "line 3: password"),
        (f"= broken {KEY}", "line 3: capital"),
        ("-----BEGIN RSA PRIVATE KEY-----", "line 3: capital"),
    ],
)
def test_a_secret_is_refused_by_line_and_key_and_never_shown(tmp_path: Path, line: str, place: str) -> None:
    file = tmp_path / "demo.toml"
    file.write_text(PLAIN + line)
    with pytest.raises(DeploymentError, match=f"{place} holds what looks like a secret") as caught:
        parse_file(file)
    assert caught.value.code == "secret"
    for word in (KEY, KEY[:4], "hunter", "tr0ub", "12345678", "RSA"):
        assert word not in str(caught.value).replace("what looks like a secret (a private key)", "")


@pytest.mark.parametrize(
    "line",
    [
        "# No secret has a place here: keys belong in the vault, and a password or token never in a file.",
        'account = "gate-main-2025"',
        'version = "0123456789ab"',
        'notebook = "notebooks/long_name_of_a_strategy_that_holds_BTC_and_ETH_4h_v2.ipynb"',
        '[parameters]\nsymbols = ["BTC/USDT", "ETH/USDT:USDT"]\ntimeframe = "1h"\nkeys_of_the_piano = 88',
        "# sha256 of the sources: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "#:schema ./deployment.schema.json",
    ],
)
def test_ordinary_lines_are_left_alone(line: str) -> None:
    assert list(find_in_toml(PLAIN + line)) == []


def test_the_deployments_of_the_tree_hold_none() -> None:
    for file in sorted((Path(__file__).parents[3] / "live").glob("*.toml")):
        assert list(find_in_toml(file.read_text())) == []
