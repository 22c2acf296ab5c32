"""The states of nodes, peers and leases in the reader's language; in English they are said as they are."""

from typing import Final

STATES_ZH: Final = {
    "ready": "就绪",
    "converging": "收敛中",
    "degraded": "异常",
    "degraded: store": "存储不可达",
    "waiting for the store": "等待存储",
    "starting": "启动中",
    "self": "本节点",
    "ok": "正常",
    "held": "保留",
    "refused": "拒绝",
    "broken": "异常",
}


def state(name: str, lang: str) -> str:
    """A state as the agent's answers have it; one without a translation as it is."""
    return STATES_ZH.get(name, name) if lang == "zh" else name
