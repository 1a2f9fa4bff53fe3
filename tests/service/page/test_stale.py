"""No picture that is older than it looks: whatever has failed, it is dark and dated within 5 s.

The clocks of the browser stand still but where a test moves them; the server's is moved by hand.
"""

from __future__ import annotations

import pytest

from tests.browser import until
from tests.service.page.conftest import NOW_MS

IS_OLD = "name => mulde.app.tiles.byName.get(name).picture.box.classList.contains('old')"
HAS_PICTURE = "name => mulde.app.tiles.byName.get(name).picture.takenMs !== null"
NO_ANSWER_IS_AWAITED = "mulde.app.pump.numAsked === 0"


def run_for(page, service, ms: int, *, taken: tuple[str, ...] = (), step_ms: int = 250) -> None:
    """Time passes, for the browser and for the server, whose cameras `taken` take new pictures."""
    for _ in range(0, ms, step_ms):
        service.now_ms += step_ms
        for name in taken:
            service.pictures[name] = service.now_ms
        page.clock.run_for(step_ms)
        until(page, NO_ANSWER_IS_AWAITED)


@pytest.fixture
def page(opened, service):
    page = opened(service, at_ms=NOW_MS)
    run_for(page, service, 500, taken=("yard", "gate"))
    for name in ("yard", "gate"):
        until(page, HAS_PICTURE, name)
    return page


def words(page, name: str) -> str:
    return page.evaluate("name => mulde.app.tiles.byName.get(name).picture.date.textContent", name)


def darkness(page, name: str) -> str:
    return page.evaluate("name => getComputedStyle(mulde.app.tiles.byName.get(name).picture.veil).opacity", name)


def test_pictures_stay_bright_while_new_ones_come(page, service):
    run_for(page, service, 20_000, taken=("yard", "gate"))
    for name in ("yard", "gate"):
        assert not page.evaluate(IS_OLD, name)
        assert " ago" not in words(page, name)
    assert darkness(page, "yard") == "0"


def test_a_camera_whose_picture_stands_still_is_marked_within_5_s(page, service):
    run_for(page, service, 10_000, taken=("yard", "gate"))
    run_for(page, service, 5000, taken=("gate",))
    assert page.evaluate(IS_OLD, "yard")
    assert not page.evaluate(IS_OLD, "gate")
    assert words(page, "yard").startswith("old: ")
    assert darkness(page, "yard") == "1"
    run_for(page, service, 2000, taken=("yard", "gate"))
    assert not page.evaluate(IS_OLD, "yard")


def test_a_server_that_is_gone_is_said_and_all_pictures_are_marked_within_5_s(page, service):
    run_for(page, service, 2000, taken=("yard", "gate"))
    service.is_gone = True
    run_for(page, service, 5000)
    assert page.evaluate(IS_OLD, "yard")
    assert page.evaluate(IS_OLD, "gate")
    run_for(page, service, 1000)
    assert page.is_visible("#offline")
    assert "no answer from the server since" in page.text_content("#offline")
    assert "no answer from the server since" in page.text_content(".tile .what")
    service.is_gone = False
    run_for(page, service, 6000, taken=("yard", "gate"))
    assert not page.is_visible("#offline")
    assert not page.evaluate(IS_OLD, "yard")
    assert "no answer" not in page.text_content(".tile .what")


@pytest.mark.parametrize("clock", ["Date", "performance"])
def test_a_machine_that_slept_shows_no_picture_of_before(page, service, clock):
    """One of the two clocks of a browser may have stood still meanwhile."""
    service.now_ms += 3_600_000
    service.is_gone = True
    page.evaluate(f"{{ const now = {clock}.now.bind({clock}); {clock}.now = () => now() + 3_600_000; }}")
    page.clock.run_for(250)
    assert page.evaluate(IS_OLD, "yard")
    assert "ago" in words(page, "yard")


def test_a_tab_that_nobody_sees_marks_its_pictures_at_once(page, service):
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { configurable: true, value: true });"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    assert page.evaluate(IS_OLD, "yard")
    before = len(service.requests)
    run_for(page, service, 3000, taken=("yard", "gate"))
    assert not [one for one in service.requests[before:] if one.endswith("now.jpg")]
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    run_for(page, service, 500, taken=("yard", "gate"))
    assert not page.evaluate(IS_OLD, "yard")


@pytest.mark.parametrize("offset_ms", [-7 * 3_600_000, 7 * 3_600_000])
def test_a_browser_whose_clock_is_wrong_judges_by_the_server_s(opened, service, offset_ms):
    page = opened(service, at_ms=NOW_MS + offset_ms)
    run_for(page, service, 3000, taken=("yard", "gate"))
    assert not page.evaluate(IS_OLD, "yard")
    run_for(page, service, 5000)
    assert page.evaluate(IS_OLD, "yard")


def test_a_picture_without_its_time_is_not_shown(opened, service, monkeypatch):
    from tests.service.page import fake_server

    plain = fake_server.Handler.answer
    monkeypatch.setattr(
        fake_server.Handler, "answer",
        lambda self, status, body, kind="application/json", **headers: plain(
            self, status, body, kind, **{name: value for name, value in headers.items() if name != "X_Taken"}
        ),
    )  # fmt: skip
    page = opened(service, at_ms=NOW_MS)
    run_for(page, service, 2000, taken=("yard",))
    assert page.evaluate(IS_OLD, "yard")
    assert words(page, "yard") == "no picture yet"


def test_a_picture_that_the_server_calls_old_is_marked_at_once(page, service):
    del service.pictures["yard"]
    run_for(page, service, 1500, taken=("gate",))
    assert page.evaluate(IS_OLD, "yard")


def test_a_picture_darkens_by_itself_where_the_script_hangs(page):
    life = page.evaluate(
        """() => {
          const [life] = mulde.app.tiles.byName.get('yard').picture.veil.getAnimations();
          const { delay } = life.effect.getTiming();
          life.finish();
          return delay;
        }"""
    )
    assert 3000 < life <= 4000
    assert not page.evaluate(IS_OLD, "yard")
    assert darkness(page, "yard") == "1"
