"""The page of the service as text: what it loads, and that names stay text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulde.service import page

NASTY = "<img src=x onerror=alert(1)></title><script>alert(2)</script>\u202e"


@pytest.mark.parametrize("mode", ["live", "review"])
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(mode):
    text = page.render("yard", mode)
    assert not re.search(r"<style|\sstyle=|\son\w+=|https?:|//", text)
    assert all("src=" in one for one in re.findall(r"<script[^>]*>", text))
    loaded = re.findall(r'(?:src|href)="static/([^"]+)"', text)
    assert len(loaded) == 3
    assert all(page.asset(name) for name in loaded)


def test_a_name_is_never_markup():
    text = page.render(NASTY, "live")
    assert "<img" not in text
    assert text.count("<script") == 1
    assert "\u202e" not in text


def test_files_of_the_page_have_their_types_and_there_are_no_others():
    assert page.asset("page.js").media_type == "text/javascript"
    assert page.asset("page.css").media_type == "text/css"
    assert page.asset("icon.svg").media_type == "image/svg+xml"
    for name in ("", "app.js", "../page.py", "../../report/shared/base.css", "page.js/"):
        assert page.asset(name) is None


def test_all_scripts_that_lie_there_are_in_the_page():
    script = page.asset("page.js").content.decode()
    static = Path(page.__file__).parent / "static"
    for path in (*static.glob("*.js"), *(static.parents[1] / "report/shared").glob("*.js")):
        assert script.count(path.read_text(encoding="utf-8")) == 1, path


def test_what_belongs_to_live_cameras_is_not_on_the_page_of_videos():
    live, review = page.render("a", "live"), page.render("a", "review")
    for name in ("clock", "need-a-hand", "outbox", "free"):
        assert f'id="{name}"' in live
        assert f'id="{name}"' not in review
    assert "videos" in review.lower()
