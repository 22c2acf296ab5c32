"""The page of ``tulle lab serve``: what stands still of it.  What changes is ``lab_view``'s, the walk ``html``'s.

Pure.  The page asks its own server only, for what lies beside it; its looks and its script are
files of their own, so that its policy can forbid everything inline.
"""

from typing import Final

from tulle.render.html_parts import both, icon, said, tag, tools
from tulle.render.looks import asset, behind
from tulle.render.scene import Said
from tulle.render.svg_parts import escape

STYLE: Final = "page.css"
SCRIPT: Final = "page.js"
_STEPS: Final = (
    Said("Trace a packet to a pod on another node: it arrives.", "跟踪一个发往另一节点上 Pod 的数据包：它送达了。"),
    Said("Pause the agent of the node that it starts from.", "暂停它出发的那个节点的代理。"),
    Said("Delete that node's FDB entry, and trace again.", "删除该节点的转发表项，再跟踪一次。"),
    Said("See where the packet stops, and why.", "看数据包停在哪里，以及为什么。"),
    Said("Resume the agent: it heals. Trace once more.", "恢复代理：网络自愈。再跟踪一次。"),
)


def lab_page(lab: str) -> str:
    """The page's text for the lab of this name."""
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("title", escape(f"{lab} · tulle lab")),
        _link(STYLE),
    ]
    work = tag("div", _walk(), _nodes(), class_="work")
    body = [_top(lab), tag("main", _stage(), work, _typed()), tag("script", src=SCRIPT)]
    page = tag("html", tag("head", *head), tag("body", *body), lang="en", data_lang="en", data_theme="light")
    return f"<!doctype html>\n{page}\n"


def page_style() -> str:
    """The walk's looks, the map's, and the page's own."""
    scope = "#picture"
    dark = behind(f"[data-theme=dark] {scope}", asset("dark.css"))
    return asset("walk.css") + behind(scope, asset("map.css")) + dark + asset("lab.css")


def page_script() -> str:
    return asset("lab.js")


def _link(name: str) -> str:
    return f'<link rel="stylesheet" href="{name}">'


def _top(lab: str) -> str:
    live = tag("span", both("connecting", "正在连接"), id="live", class_="pill", role="status")
    title = tag("div", tag("h1", both("lab ", "实验 "), escape(lab)), live, class_="title")
    said_of_it = Said(
        "A cluster on this machine. Everything here is real: real agents, real kernels, your own packets.",
        "本机上的一个集群。这里的一切都是真实的：真实的代理、真实的内核、你自己的数据包。",
    )
    return tag("header", tag("div", title, tag("p", said(said_of_it))), tools())


def _stage() -> str:
    """The picture, who sends to whom, and what came of it."""
    name = tag("h2", both("The cluster", "集群"), id="h-stage", class_="vh")
    picture = tag("div", id="picture", class_="map")
    hint = Said(
        "Press two pods in the picture, or choose here: from where, to where.",
        "在图中点两个 Pod，或在这里选择：从哪里，到哪里。",
    )
    outcome = tag("div", tag("p", said(hint), class_="soft"), id="outcome", role="status", aria_live="polite")
    return tag("section", name, picture, _ask(), outcome, class_="stage", aria_labelledby="h-stage")


def _ask() -> str:
    """The form: two places and a button.  Its script sends it; without one it does nothing."""
    ends = [
        tag("label", said(words), " ", tag("select", id=id_, name=id_, required=True))
        for id_, words in (("from", Said("from", "从")), ("to", Said("to", "到")))
    ]
    go = tag("button", icon("play"), both("Trace", "跟踪"), id="trace", type="submit", disabled=True)
    swap = tag(
        "button",
        tag("span", "⇄", aria_hidden="true"),
        said(Said("swap the two", "交换两端"), "vh"),
        id="swap",
        type="button",
    )
    return tag("form", ends[0], swap, ends[1], go, id="ask", class_="controls")


def _walk() -> str:
    """The walk's own page, in a frame as high as it is."""
    title = tag("h2", both("The walk of your packet", "你的数据包的路径"), id="h-walk", tabindex=-1)
    alone = tag("a", both("open it by itself", "单独打开"), id="alone", href="#", target="_blank", rel="noopener")
    frame = tag("iframe", id="walk", aria_labelledby="h-walk")
    return tag(
        "section", title, tag("p", alone, class_="soft"), frame, id="walked", hidden=True, aria_labelledby="h-walk"
    )


def _nodes() -> str:
    title = tag("h2", both("What each kernel holds", "每个内核所持有的"), id="h-nodes")
    steps = tag("ol", *(tag("li", said(step)) for step in _STEPS), class_="steps")
    lesson = tag("details", tag("summary", both("Something to try", "可以一试")), steps, open=True)
    note = Said(
        "An agent that runs puts back what you delete within moments. Pause it first to see the network without it.",
        "运行中的代理会很快补回你删除的表项。先暂停它，才能看到没有它的网络。",
    )
    cards = tag("div", id="tables")
    return tag("section", title, lesson, tag("p", said(note), class_="soft"), cards, aria_labelledby="h-nodes")


def _typed() -> str:
    """What the page did, as commands to type."""
    title = tag("h2", both("The same in a terminal", "在终端里做同样的事"), id="h-typed")
    note = Said("Each button runs a command. These were run:", "每个按钮都运行一条命令。已运行的有：")
    return tag(
        "section",
        title,
        tag("p", said(note), class_="soft"),
        tag("div", id="typed"),
        id="did",
        hidden=True,
        aria_labelledby="h-typed",
    )
