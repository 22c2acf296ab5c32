"""The small parts of the page: tags, one text in two languages, commands that can be copied.

Whatever comes from a journey passes ``escape``; markup is only what this package writes.
"""

import re
from typing import Final

from tulle.render.scene import Said
from tulle.render.svg_parts import escape

_VOID: Final = frozenset({"meta", "input", "br", "hr", "col"})
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
"""Values that need no quotes."""
_ICONS: Final = {
    "first": "M3 3h2v10H3zM13 3v10L6 8z",
    "prev": "M11 3v10L4 8z",
    "play": "M4 2.5v11L13 8z",
    "pause": "M4 3h3v10H4zM9 3h3v10H9z",
    "next": "M5 3v10l7-5z",
    "last": "M3 3v10l7-5zM11 3h2v10h-2z",
    "copy": "M5 2h8v9h-2v3H3V5h2zM6.5 3.5V5H11v4.5h.5v-6zM4.5 6.5v6h5v-6z",
    "theme": "M8 1.5a6.5 6.5 0 1 0 0 13zM8 0a8 8 0 1 1 0 16A8 8 0 0 1 8 0z",
}


def tag(name: str, /, *inside: str, **attributes: object) -> str:
    """One element of HTML.  ``class_`` is ``class``; other underscores are hyphens; True is a bare attribute."""
    told = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return f"<{name}{told}>" if name in _VOID else f"<{name}{told}>{''.join(inside)}</{name}>"


def _attribute(name: str, value: object) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = escape(str(value))
    return f" {name}={text}" if _BARE.fullmatch(text) else f' {name}="{text}"'


def said(words: Said, looks: str = "") -> str:
    """A text in both languages, of which the style shows one."""
    if words.en == words.zh:
        return tag("span", escape(words.en), class_=looks) if looks else escape(words.en)
    return "".join(
        tag("span", escape(text), lang=lang, class_=looks or None)
        for lang, text in (("en", words.en), ("zh-CN", words.zh))
    )


def both(en: str, zh: str) -> str:
    return said(Said(en, zh))


def in_svg(english: str, chinese: str) -> str:
    """As ``svg_parts.switch``, but by the page's own choice of language."""
    if english == chinese:
        return english
    return f'<g lang="en">{english}</g><g lang="zh-CN">{chinese}</g>'


def icon(*names: str) -> str:
    """Small drawings, since fonts lack the signs of a player; of several the style shows one."""
    return "".join(
        f'<svg class="i i-{name}" viewBox="0 0 16 16" aria-hidden="true"><path d="{_ICONS[name]}"/></svg>'
        for name in names
    )


def button(id_: str, icons: tuple[str, ...], words: Said, **attributes: object) -> str:
    """A button with a sign to see and words to hear."""
    return tag(
        "button",
        icon(*icons),
        said(words, "vh"),
        id=id_,
        type="button",
        **attributes,
    )


def tools() -> str:
    """What every page has at its top: its language, its looks."""
    lang = tag(
        "button",
        tag("span", "中文", lang="en"),
        tag("span", "English", lang="zh-CN"),
        id="lang",
        type="button",
        aria_label="English / 中文",
    )
    return tag("div", lang, button("theme", ("theme",), Said("light or dark", "浅色或深色")), class_="tools")


def command(text: str) -> str:
    """A command; the page's script puts the button beside it with which the whole of it is copied."""
    return tag("span", tag("code", escape(text)), class_="cmd")


def once() -> str:
    """What the script puts beside every command and into every step's button: it stands in the page once."""
    copy = tag("button", icon("copy"), said(Said("copy", "复制"), "vh"), type="button", class_="copy")
    return tag("template", copy, id="copy-button") + tag(
        "template", said(Said("show on the map", "在图上显示"), "vh"), id="go-words"
    )
