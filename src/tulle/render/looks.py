"""The package's style sheets and scripts as text, and a style sheet behind a condition.

The files lie in ``assets/``; a rule is one line there, so that putting a condition in front of
its selectors needs no parser.
"""

import re
from importlib.resources import files


def asset(name: str) -> str:
    """The file without its opening comment."""
    source = files("tulle.render").joinpath("assets", name).read_text(encoding="utf-8")
    return re.sub(r"\A/\*.*?\*/\n", "", source, flags=re.DOTALL)


def packed(css: str) -> str:
    """``css`` without its line ends."""
    return "".join(line.strip() for line in css.splitlines())


def behind(scope: str, css: str) -> str:
    """``css``, whose rules are one line each, with ``scope`` in front of every selector."""
    told: list[str] = []
    for line in css.splitlines():
        selectors, brace, body = line.partition("{")
        told.append(",".join(f"{scope} {selector}" for selector in selectors.split(",")) + brace + body)
    return "\n".join(told) + "\n"
