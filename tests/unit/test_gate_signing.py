"""Gate's signatures against the published vectors, on both sides of the wire."""

import hashlib

import pytest

from cashup.simulator.signing import rest_payload, sign, stream_payload, verify

GET = (
    "55f84ea195d6fe57ce62464daaa7c3c02fa9d1dde954e4c898289c9a2407a3d6"
    "fb3faf24deff16790d726b66ac9f74526668b13bd01029199cc4fcc522418b8a"
)
POST = (
    "eae42da914a590ddf727473aff25fc87d50b64783941061f47a3fdb92742541f"
    "c4c2c14017581b4199a1418d54471c269c03a38d788d802e2c306c37636389f0"
)
STREAM = (
    "e9c13b956612d4af11a7fd2025729fe28979b16153cf00e3aff2e4c7dd0155f4"
    "13dce9fdff2297d9f62bda58c0463792dab6163597b9095f9600ed0d61990a34"
)
BODY = b'{"contract":"BTC_USD","type":"limit","size":100,"price":6800,"time_in_force":"gtc"}'
PATH, TIME, SECRET = "/api/v4/futures/orders", "1541993715", "secret"


def test_rest_get() -> None:
    payload = rest_payload("GET", PATH, "contract=BTC_USD&status=finished&limit=50", b"", TIME)
    assert sign(SECRET, payload) == GET
    assert verify(SECRET, payload, GET)
    assert not verify(SECRET, payload, GET[:-1] + "0")


def test_rest_post() -> None:
    assert hashlib.sha512(BODY).hexdigest().startswith("ad3c169203dc3026")
    assert sign(SECRET, rest_payload("POST", PATH, "", BODY, TIME)) == POST


def test_stream() -> None:
    assert sign(SECRET, stream_payload("spot.orders", "subscribe", TIME)) == STREAM


@pytest.mark.parametrize("query", ["text=t-a%2Cb&x=1", "text=t-a,b&x=1"])
def test_the_query_is_signed_without_percent_encoding(query: str) -> None:
    assert rest_payload("GET", PATH, query, b"", TIME).splitlines()[2] == "text=t-a,b&x=1"


async def test_our_client_signs_the_same() -> None:
    from cashup.exchanges.gate_client import GateClient

    client = GateClient({"apiKey": "key", "secret": SECRET})
    client.nonce = lambda: int(TIME) * 1000
    query = {"contract": "BTC_USD", "status": "finished", "limit": "50"}
    signed = client.sign("orders", ["private", "futures"], "GET", query)
    raw = signed["url"].partition("?")[2]
    assert signed["headers"]["SIGN"] == sign(SECRET, rest_payload("GET", PATH, raw, b"", TIME))
    client.seconds = lambda: int(TIME)
    assert client.subscription("spot.orders", ["!all"], private=True)["auth"]["SIGN"] == STREAM


async def test_the_fence_is_a_header_and_not_a_parameter() -> None:
    from cashup.exchanges.gate_client import FENCE, GateClient

    client = GateClient({"apiKey": "key", "secret": SECRET})
    signed = client.sign("orders", ["private", "spot"], "POST", {"text": "t-1", FENCE: "123"})
    assert signed["headers"][FENCE] == "123"
    assert "123" not in signed["body"]
    assert FENCE not in client.sign("orders", ["private", "spot"], "POST", {"text": "t-1"})["headers"]
