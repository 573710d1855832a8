"""The dashboards: strangers get the login page and nothing else, viewers see figures that follow the stream."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

if TYPE_CHECKING:
    from conftest import Trading

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def sign_in(url: str, name: str, password: str, following: str = "/") -> httpx.Response:
    with httpx.Client(base_url=url) as browser:
        form = browser.get("login").text
        found = re.search(r'name="_xsrf" value="([^"]+)"', form)
        assert found is not None
        fields = {"name": name, "password": password, "_xsrf": found.group(1)}
        return browser.post(f"login?next={following}", data=fields)


@pytest.fixture(scope="module")
def viewer(trading: Trading) -> Iterator[httpx.Client]:
    """A signed-in browser without scripts."""
    answer = sign_in(trading.dashboards, "admin", trading.stack.admin_password)
    with httpx.Client(base_url=trading.dashboards, cookies=answer.cookies, timeout=60) as browser:
        yield browser


@pytest.fixture(scope="module")
def kernel(viewer: httpx.Client) -> str:
    """The id of the viewer's kernel, which opening the page starts."""
    found = re.search(r'"kernelId": "([^"]+)"', viewer.get("/").text)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "anything",
        "voila/render/overview.ipynb",
        "voila/files/overview.ipynb",
        "voila/static/voila.js",
        "voila/templates/cashup/static/voila.js",
        "voila/labextensions/anywidget/package.json",
        "voila/api/themes/x/index.css",
        "voila/api/contents/",
        "api/kernels",
        f"api/kernels/{uuid.UUID(int=1)}",
        f"api/kernels/{uuid.UUID(int=1)}/channels",
        "?template=reveal&theme=dark",
        "login/../../etc/passwd",
    ],
)
def test_a_stranger_gets_the_login_page_or_nothing(trading: Trading, path: str) -> None:
    answer = httpx.get(trading.dashboards + path, follow_redirects=False)
    if answer.status_code == 302:
        assert answer.headers["location"].startswith(("/login", trading.dashboards + "login"))
    else:
        assert answer.status_code in (401, 403)
        assert len(answer.text) < 100


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_stranger_changes_nothing(trading: Trading, method: str, kernel: str) -> None:
    for path in (f"api/kernels/{kernel}", f"voila/api/shutdown/{kernel}", ""):
        assert httpx.request(method, trading.dashboards + path).status_code in (403, 405)


@pytest.mark.parametrize("headers", [{}, {"Cookie": "cashup_view=forged"}, {"Authorization": "token "}])
async def test_a_stranger_opens_no_socket(trading: Trading, kernel: str, headers: dict[str, str]) -> None:
    url = trading.dashboards.replace("http", "ws") + f"api/kernels/{kernel}/channels"
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, additional_headers=headers, proxy=None).__aenter__()
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(("name", "password"), [("admin", "wrong"), ("nobody", "wrong"), ("", "")])
def test_a_wrong_password_is_refused_with_one_sentence(trading: Trading, name: str, password: str) -> None:
    answer = sign_in(trading.dashboards, name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert "cashup_view" not in answer.cookies


def test_the_form_is_no_way_to_other_sites(trading: Trading) -> None:
    answer = sign_in(trading.dashboards, "admin", trading.stack.admin_password, "https://example.com/")
    assert answer.status_code == 302
    assert answer.headers["location"] == "/"


def test_the_cookie_is_for_this_site_alone_and_out_of_reach_of_scripts(trading: Trading) -> None:
    answer = sign_in(trading.dashboards, "admin", trading.stack.admin_password)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert trading.stack.admin_password not in answer.headers["set-cookie"]


def test_a_login_without_the_form_is_refused(trading: Trading) -> None:
    fields = {"name": "admin", "password": trading.stack.admin_password}
    assert httpx.post(trading.dashboards + "login", data=fields).status_code == 403


def test_the_page_loads_from_its_own_server_only(viewer: httpx.Client, kernel: str) -> None:
    page = viewer.get("/?template=reveal&theme=dark")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert not re.findall(r'(?:src|href)="https?://', page.text)
    assert "reveal" not in page.text
    assert "JupyterLab Dark" not in page.text
    assert viewer.get("voila/files/overview.ipynb").status_code == 403


def test_a_kernel_knows_little_and_can_only_read(trading: Trading, kernel: str) -> None:
    server = next(p for p in psutil.Process(os.getpid()).children() if "dashboards" in p.cmdline())
    kernels = [p for p in server.children() if any("ipykernel" in word for word in p.cmdline())]
    assert kernels
    for process in kernels:
        env = process.environ()
        assert {name for name in env if name.startswith("CASHUP_")} == {"CASHUP_GATEWAY_URL", "CASHUP_VIEW_TOKEN_FD"}
        assert "eyJ" not in json.dumps([env, process.cmdline()])


async def test_a_viewer_cannot_send_code(trading: Trading, viewer: httpx.Client, kernel: str, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    cookies = "; ".join(f"{name}={value}" for name, value in viewer.cookies.items())
    url = trading.dashboards.replace("http", "ws") + f"api/kernels/{kernel}/channels"
    async with connect(url, additional_headers={"Cookie": cookies}, proxy=None, max_size=None) as socket:
        await socket.send(_message("execute_request", {"code": f"open({str(proof)!r}, 'w')", "silent": False}))
        await socket.send(_message("kernel_info_request", {}))
        async with asyncio.timeout(30):
            while json.loads(await socket.recv()).get("msg_type") != "kernel_info_reply":
                pass
    assert not proof.exists()


def _message(kind: str, content: dict[str, Any]) -> str:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "username": "", "session": "s", "version": "5.3"}
    return json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})


def test_another_viewers_kernel_does_not_exist(trading: Trading, kernel: str) -> None:
    trading.add_user("viktor", "a long enough password")
    other = sign_in(trading.dashboards, "viktor", "a long enough password")
    with httpx.Client(base_url=trading.dashboards, cookies=other.cookies) as browser:
        for path in (f"api/kernels/{kernel}", f"api/kernels/{kernel}/channels"):
            assert browser.get(path).status_code == 404
        xsrf = {"X-XSRFToken": browser.cookies.get("_xsrf", "")}
        assert browser.delete(f"api/kernels/{kernel}", headers=xsrf).status_code in (403, 404)


def test_a_taken_port_is_one_sentence(trading: Trading, cashup: Any, home: Path) -> None:
    port = trading.dashboards.rsplit(":", 1)[1].strip("/")
    done = cashup(home, "dashboards", "--port", port)
    assert done.returncode == 1
    assert f"port {port} for the dashboards cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.browser
def test_the_figures_are_the_gateways_and_follow_the_stream_without_reloading(trading: Trading) -> None:
    if not Path(CHROMIUM).exists():
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing, and CI must run this test: apt-get install chromium")
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    outside: list[str] = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = chromium.new_page()
        page.on("request", lambda request: outside.append(request.url))
        page.goto(trading.dashboards)
        page.fill("input[name=name]", "admin")
        page.fill("input[name=password]", trading.stack.admin_password)
        page.click("button")
        watched = Watched(page)
        watched.wait_for(trading)
        before = watched.figures()
        page.evaluate("window.untouched = true")
        with ThreadPoolExecutor(1) as aside:  # this thread runs the browser's own event loop
            aside.submit(trading.run, 30).result()
        watched.wait_for(trading)
        after = watched.figures()
        assert page.evaluate("window.untouched"), "the page was loaded again"
        assert int(after["bars"]) == int(before["bars"]) + 30
        assert int(after["points"]) == int(before["points"]) + 30
        assert after["orders"] >= before["orders"] >= 1
        assert watched.age("worker") < 60
        chromium.close()
    assert not [
        url for url in outside if not url.startswith((trading.dashboards, f"blob:{trading.dashboards}", "data:"))
    ]


class Watched:
    """The overview as a person reads it."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def figures(self) -> dict[str, Any]:
        """What stands in the tiles, and how much is in chart and table."""
        tiles = {name: self._value(name) for name in ("equity", "cash", "worker", "bars")}
        points = self.page.get_attribute("[data-figure=curve] .cu-chart", "data-points")
        return tiles | {"points": points, "orders": self.page.locator("[data-figure=orders] tbody tr").count()}

    def age(self, name: str) -> int:
        """How old a figure says it is, in seconds."""
        return int(self.page.get_attribute(f"[data-figure={name}] .cu-age", "data-seconds"))

    def wait_for(self, trading: Trading) -> None:
        """Wait until the page shows the gateway's last bar, and compare every figure with the gateway's."""
        client = trading.stack.client
        rows = client.equity("demo")
        self.page.wait_for_selector(f'[data-figure=bars] .cu-value[data-value="{len(rows)}"]', timeout=60_000)
        self.page.wait_for_selector(f'[data-figure=curve] .cu-chart[data-points="{len(rows)}"]')
        bar = rows[-1]["bar"]
        processed = [event for event in client.events("deployment:demo") if event["kind"] == "bar_processed"]
        last = next(event["data"] for event in reversed(processed) if event["data"]["bar"] == bar)
        self.page.wait_for_selector(f'[data-figure=cash] .cu-value[data-value="{last["cash"]}"]')
        shown = self.figures()
        assert float(shown["equity"]) == pytest.approx(float(last["equity"]), abs=1e-9)
        assert shown["worker"] == "ready"
        held = {symbol for symbol, quantity in last["positions"].items() if float(quantity)}
        assert {
            self.page.locator("[data-figure=positions] tbody tr").nth(n).get_attribute("data-key")
            for n in range(len(held))
        } == held

    def _value(self, name: str) -> str:
        return str(self.page.get_attribute(f"[data-figure={name}] .cu-value", "data-value"))
