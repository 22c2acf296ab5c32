"""Answers keep the page to itself: nothing from elsewhere, nothing kept, nothing for another origin."""

from base64 import b64encode
from hashlib import sha256

import pytest

from tests.kit.pictures import HOSTILE, every_journey
from tulle.render.html import html_of
from tulle.render.lab_page import lab_page, page_script, page_style
from tulle.serve.answers import (
    JAVASCRIPT,
    Answer,
    error_answer,
    event,
    json_answer,
    page_answer,
    text_answer,
    walk_answer,
)
from tulle.serve.requests import Refusal

ANSWERS = {
    "page": page_answer(lab_page("lab")),
    "script": text_answer(JAVASCRIPT, page_script()),
    "facts": json_answer({"a": 1}),
    "refusal": error_answer(Refusal(status=405, line="method", allow="GET")),
    "walk": walk_answer("<script>1</script>"),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_answer_is_for_our_own_page_only(answer: Answer) -> None:
    headers = dict(answer.headers)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not any(name.lower().startswith("access-control") for name in headers)


def test_the_page_runs_and_shows_nothing_that_is_written_into_it() -> None:
    assert "unsafe" not in dict(ANSWERS["page"].headers)["Content-Security-Policy"]
    page = lab_page(HOSTILE)
    assert " style=" not in page
    assert " onload=" not in page
    assert page.count("<script") == 1
    assert "http" not in page
    assert "http" not in page_style() + page_script()


def test_a_walks_one_script_is_allowed_by_its_hash_and_no_other() -> None:
    for journey in every_journey().values():
        page = html_of(journey)
        script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
        digest = b64encode(sha256(script.encode()).digest()).decode()
        policy = dict(walk_answer(page).headers)["Content-Security-Policy"]
        assert f"script-src 'sha256-{digest}'" in policy
        assert "frame-ancestors 'self'" in policy


def test_a_refusal_says_which_method_is_right() -> None:
    answer = ANSWERS["refusal"]
    assert answer.status == 405
    assert dict(answer.headers)["Allow"] == "GET"
    assert answer.body == b'{"error":"method"}\n'


def test_an_event_is_one_line_of_data() -> None:
    assert event("view", b'{"a":"b\\nc"}') == b'event: view\ndata: {"a":"b\\nc"}\n\n'
