"""Every word in both languages, with the same facts in it; the glossary's words are used."""

import re
from string import Formatter

import pytest

from tests.kit.walks import WALKS
from tulle.render.walk_article import ARTICLE, ASIDE
from tulle.render.walk_findings import FINDINGS, finding_text
from tulle.render.walk_sentences import what_happened
from tulle.render.walk_words import WORDS, say
from tulle.trace.journey import Finding

GLOSSARY = {
    "bridge": "网桥",
    "pair": "虚拟网卡对",
    "neighbour": "邻居",
    "fdb": "转发表",
    "route": "路由",
    "unwrapped": "解封装",
    "wraps": "封装",
    "underlay": "底层网络",
    "outer": "外层",
    "inner": "内层",
    "dropped": "丢弃",
    "checksum left to the nic": "校验和由网卡补齐",
}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def pairs() -> list[tuple[str, str, str]]:
    """(name, English, Chinese) of everything that is ever said."""
    found = [(name, *words) for name, words in WORDS.items()]
    for rule, (en, zh, why_en, why_zh) in FINDINGS.items():
        found += [(rule, en, zh), (f"{rule} why", why_en, why_zh)]
    found += [(f"article {step}", *texts) for step, texts in ARTICLE.items()]
    return [*found, *((f"aside {at}", *texts) for at, texts in enumerate(ASIDE))]


PAIRS = pairs()


@pytest.mark.parametrize(("en", "zh"), [pytest.param(en, zh, id=name) for name, en, zh in PAIRS])
def test_both_languages_are_filled_from_the_same_facts(en: str, zh: str) -> None:
    assert en
    assert zh
    assert fields(en) == fields(zh)


@pytest.mark.parametrize(("en", "zh"), [pytest.param(en, zh, id=name) for name, en, zh in PAIRS])
def test_chinese_uses_the_words_of_the_glossary(en: str, zh: str) -> None:
    if zh == en or not re.search("[一-鿿]", zh):
        return
    said = re.sub(r"{\w+}", "", en).lower()
    for english, chinese in GLOSSARY.items():
        if re.search(rf"\b{english}\b", said):
            assert chinese in zh


def test_a_finding_is_said_with_its_facts() -> None:
    facts = {"node": "node1", "mac": "02:00", "ip": "10.244.2.0", "device": "flannel.1"}
    finding = Finding(id="D01", rule="no-fdb-entry", node="node1", facts=facts, evidence="", answer="", repair="")
    assert finding_text(finding, "en")[0] == "node1 has no FDB entry for VTEP 02:00 (10.244.2.0)"
    assert finding_text(finding, "zh")[0] == "node1 没有 VTEP 02:00（10.244.2.0）的转发表项"


@pytest.mark.parametrize("rule", ["of-a-later-version", "no-fdb-entry"])
def test_a_finding_that_cannot_be_said_is_shown_by_its_rule(rule: str) -> None:
    finding = Finding(id="", rule=rule, node="node1", facts={}, evidence="", answer="", repair="")
    assert finding_text(finding, "en") == (f"node1: {rule}", "")


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("walk", sorted(WALKS))
def test_no_sentence_of_a_walk_has_a_hole(walk: str, lang: str) -> None:
    journey = WALKS[walk]()
    for hop in journey.hops:
        text = what_happened(journey, hop, lang)
        assert text.strip() == text
        assert text
        assert not re.search(r"[{}]|\(\)|（）|  +| ,| :$|None", text)


def test_a_word_without_facts_is_given_as_it_is() -> None:
    assert say("underlay", "zh") == "底层网络"
