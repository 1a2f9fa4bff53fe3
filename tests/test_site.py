"""The documentation as a site: built strictly and without network, from pages whose links also work in the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mulde

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = """
import socket
def refuse(*args, **options):
    raise AssertionError(f"the site was built with the network: {args}")
socket.socket.connect = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""
FETCHED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)"
    r"|<link\b[^>]*\bhref=[\"']?([^\"'\s>]+)|url\([\"']?([^\"')]+)|@import\s+[\"']([^\"']+)"
)
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip('needs mkdocs-material: pip install -e ".[docs]"')
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def fetched(text: str) -> list[str]:
    """The addresses that a browser fetches to show a page or a style sheet."""
    return [next(filter(None, found)) for found in FETCHED.findall(text)]


def test_every_document_is_a_page(site):
    pages = {path.name for path in site.glob("*.html")}
    documents = {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    assert documents | {"index.html", "contributing.html", "changelog.html", "docker.html"} <= pages


def test_the_page_of_the_python_interface_describes_every_public_name(site):
    described = set(re.findall(r'id="mulde\.(\w+)', (site / "api.html").read_text()))
    assert set(mulde.__all__) - {"__version__"} <= described


def test_nothing_is_fetched_from_elsewhere(site):
    addresses = [
        (path.name, address)
        for path in site.rglob("*")
        if path.suffix in (".html", ".css")
        for address in fetched(path.read_text())
    ]
    assert any(address.endswith(".js") for _, address in addresses)
    assert any(address.endswith(".png") for _, address in addresses)
    assert [found for found in addresses if re.match(r"(https?:)?//", found[1])] == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://x.org/a.js">',
        "<link rel=stylesheet href=https://x.org/a.css>",
        "<img alt=a src='//x.org/a'>",
        "@font-face{src:url(https://x.org/a.woff2)}",
        '@import "https://x.org/a.css";',
    ],
)
def test_what_is_fetched_is_seen(text):
    (address,) = fetched(text)
    assert re.match(r"(https?:)?//x.org/", address)


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))],
    ids=lambda path: path.name,
)
def test_links_work_in_the_checkout(path):
    broken = [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
    assert broken == []
