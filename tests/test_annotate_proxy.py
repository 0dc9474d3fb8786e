"""Behind a reverse proxy: whose word is taken, and the page under a prefix through a real nginx with TLS."""

import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from browsing import CHROMIUM, FLAGS
from fastapi.testclient import TestClient
from serving import Server, numbered, put_into_queue

from annotate import auth
from annotate.app import create_app
from annotate.errors import BadInput
from annotate.ledger import Ledger
from annotate.proxy import Proxied, checked_prefix, networks

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
DEPLOY = Path(__file__).parent.parent / "docs" / "deploy.md"
FORWARDED = {"x-forwarded-for": "6.6.6.6", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}


async def seen(peer: str, headers: dict[str, str], trusted: tuple[str, ...], path: str = "/") -> dict[str, Any]:
    """What an application behind Proxied is told of a request."""
    found: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.update(scope)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "scheme": "http", "client": (peer, 1), "path": path, "raw_path": b"", "headers": raw}
    await Proxied(app, root_path="/x", trusted=trusted)(scope, None, None)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("said", "trusted", "client"),
    [
        ("6.6.6.6", (), "127.0.0.1"),
        ("6.6.6.6", ("10.0.0.1",), "127.0.0.1"),
        ("6.6.6.6", ("127.0.0.1",), "6.6.6.6"),
        ("6.6.6.6, 7.7.7.7", ("127.0.0.1",), "7.7.7.7"),
        ("6.6.6.6, 7.7.7.7, 10.1.2.3", ("127.0.0.1", "10.0.0.0/8"), "7.7.7.7"),
        ("6.6.6.6, nonsense", ("127.0.0.1",), "127.0.0.1"),
        ("::1", ("127.0.0.1",), "::1"),
        ("", ("127.0.0.1",), "127.0.0.1"),
    ],
)
def test_the_client_is_what_the_last_trusted_proxy_saw(said: str, trusted: tuple[str, ...], client: str) -> None:
    import asyncio

    scope = asyncio.run(seen("127.0.0.1", {**FORWARDED, "x-forwarded-for": said, "accept": "a"}, trusted))
    assert scope["client"][0] == client
    assert scope["scheme"] == ("https" if "127.0.0.1" in trusted else "http")
    assert [name for name, _ in scope["headers"]] == [b"accept"], "nothing behind sees what was forwarded"


@pytest.mark.parametrize(
    ("path", "inside"), [("/x/api/me", "/api/me"), ("/x/", "/"), ("/api/me", "/api/me"), ("/xy/z", "/xy/z")]
)
def test_the_prefix_is_taken_off(path: str, inside: str) -> None:
    import asyncio

    scope = asyncio.run(seen("127.0.0.1", {}, (), path))
    assert scope["path"] == inside


@pytest.mark.parametrize("wrong", ["x", "//x", "/x y", "/x/../y", "https://x", "/é", "/x?y"])
def test_a_prefix_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(BadInput, match="root-path"):
        checked_prefix(wrong)


def test_a_proxy_is_named_by_its_address() -> None:
    assert checked_prefix("/a/b-c/") == "/a/b-c" and checked_prefix("") == checked_prefix("/") == ""
    with pytest.raises(BadInput, match="trust-proxy"):
        networks(["proxy.example"])


def test_a_client_that_names_another_address_is_slowed_down_all_the_same(ledger: Ledger) -> None:
    client = TestClient(create_app(ledger))
    auth.new_token(ledger, "ann")
    statuses = []
    for number in range(6):
        spelt = "ann" + " " * number  # the same name in another spelling
        headers = {"x-forwarded-for": f"6.6.6.{number}", "forwarded": f"for=6.6.6.{number}"}
        body = {"name": spelt, "password": "wrong horse"}
        statuses.append(client.post("/api/login", json=body, headers=headers).status_code)
    assert statuses == [401] * 5 + [429]


def test_many_clients_together_may_not_guess_without_end(ledger: Ledger) -> None:
    from starlette.testclient import TestClient as Client

    app = create_app(ledger, proxies=["127.0.0.1"])
    statuses = set()
    for number in range(26):  # five each from a hundred and one addresses would be more; four each are enough
        client = Client(app, client=("127.0.0.1", 1))
        headers = {"x-forwarded-for": f"6.6.6.{number}"}
        for _ in range(4):
            answer = client.post("/api/login", json={"name": "nobody", "password": "x"}, headers=headers)
            statuses.add(answer.status_code)
    assert statuses == {401, 429}


# --- nginx -----------------------------------------------------------------------------------------------------------

needs_nginx = pytest.mark.skipif(NGINX is None, reason="needs Debian's package nginx")


class PrefixedServer(Server):
    """The application as deploy.md starts it."""

    def start(self) -> None:
        app = create_app(self.ledger, root_path="/trueloop", proxies=["127.0.0.1"])
        self._run(uvicorn.Config(app, port=self.port, log_level="warning", access_log=False, proxy_headers=False))


@pytest.fixture
def nginx(ledger: Ledger, tmp_path: Path) -> Iterator[str]:
    """The address of a real nginx with the configuration of docs/deploy.md, the application behind it."""
    put_into_queue(ledger, numbered(3))
    server = PrefixedServer(ledger)
    server.start()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key, certificate = tmp_path / "label.key", tmp_path / "label.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*made.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    block = re.search(r"```nginx\n(.*?)```", DEPLOY.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    site = block[1].replace("listen 443", f"listen 127.0.0.1:{port}").replace(":7860", f":{server.port}")
    site = site.replace("/etc/ssl/label.pem", str(certificate)).replace("/etc/ssl/label.key", str(key))
    log = tmp_path / "access.log"
    bodies = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    http = f"access_log {log}; {bodies} {site}"
    head = f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
    configuration.write_text(f"{head} http {{ {http} }}")
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-e", str(tmp_path / "error.log"), "-c", str(configuration)])
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, (tmp_path / "error.log").read_text()
        time.sleep(0.05)
    yield f"https://127.0.0.1:{port}/trueloop"
    process.terminate()
    process.wait(timeout=20)
    server.stop()
    assert "token" not in log.read_text() and "invited" not in log.read_text()


def insecure() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@needs_nginx
def test_behind_nginx_the_cookie_is_secure_and_the_prefix_holds(nginx: str, ledger: Ledger) -> None:
    token = auth.new_token(ledger, "ann")
    with httpx.Client(verify=insecure()) as client:
        origin = {"origin": nginx.removesuffix("/trueloop")}
        answer = client.post(f"{nginx}/api/login", json={"token": token}, headers=origin)
        assert answer.status_code == 200, answer.text
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Secure-trueloop_session=") and "Path=/trueloop;" in cookie
        assert "Secure" in cookie and "HttpOnly" in cookie and "SameSite=lax" in cookie
        assert int(re.findall(r"max-age=(\d+)", answer.headers["strict-transport-security"])[0]) >= 31536000
        assert client.get(f"{nginx}/api/me").json()["name"] == "ann"
        assert client.post(f"{nginx}/api/logout", headers={"origin": "https://evil.example"}).status_code == 403
        assert client.post(f"{nginx}/api/logout", headers=origin).status_code == 200
        assert client.get(f"{nginx}/").headers["location"] == "/trueloop/login"
        assert client.get(nginx).headers["location"].endswith("/trueloop/")


@needs_nginx
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
def test_behind_nginx_an_invited_annotator_chooses_a_password_and_labels(nginx: str, ledger: Ledger) -> None:
    from playwright.sync_api import sync_playwright

    secret = auth.invite(ledger, "bob")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        outside: list[str] = []
        own = (nginx, nginx.removesuffix("/trueloop") + "/manifest.json", "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(own) or outside.append(request.url))
        page.goto(f"{nginx}/login#invited={secret}")
        page.get_by_label("New password").fill("correct horse")
        page.get_by_role("button", name="Save the password").click()
        page.wait_for_selector('.tl[data-state="pair"][aria-busy="false"]')
        page.keyboard.press("1")
        page.wait_for_selector('.tl-saved:text-is("Saved")')
        assert page.url == f"{nginx}/"
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Name").fill("bob")
        page.get_by_label("Password").fill("correct horse")
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_selector('.tl[data-state="pair"]')
        page.goto(f"{nginx}/login#token={secret}")
        page.get_by_text("used already or has expired").wait_for()
        browser.close()
    assert not outside, "something was asked for outside the prefix"
