"""The packet filter's rules as the commands that an operator could type: ``nft`` and ``iptables-restore``."""

import shlex
from typing import assert_never

from tulle.model.objects import ChainAccept, FilterObject, IptablesRules, NftElement, NftTable
from tulle.wire import iptables, nft


def format_rules(obj: FilterObject | NftElement) -> str:
    """One object in one line."""
    match obj:
        case NftTable():
            return shell_words("table", obj.family, obj.name, obj.digest and f"digest={obj.digest}")
        case IptablesRules():
            where = obj.engine if obj.version == 4 else obj.engine.replace("iptables", "ip6tables")
            return shell_words("rules", "of", obj.owner, "in", where, obj.digest and f"digest={obj.digest}")
        case ChainAccept():
            return shell_words("accept", "in", obj.engine, *_chain(obj), *map(str, obj.networks))
        case NftElement():
            return shell_words("element", obj.family, obj.table, obj.set, *obj.value)
        case _:
            assert_never(obj)


def create(obj: FilterObject | NftElement) -> tuple[str, ...]:
    """The commands that make it; rules of one table are a here-document, whose lines never end it early."""
    match obj:
        case NftTable():
            return (f"{tool(obj)} <<'EOF'", *nft.replace_table(obj).splitlines(), "EOF")
        case IptablesRules():
            return _restore(obj, iptables.restore_text(None, obj))
        case ChainAccept(engine=iptables.LEGACY):
            return _legacy(obj, "-A")
        case ChainAccept():
            added = (" ".join(("add rule", *_chain(obj), rule)) for rule in nft.accept_rules(obj))
            return tuple(shell_words("nft", words) for words in added)
        case NftElement():
            return (shell_words("nft", f"add {nft.format_element(obj)}"),)
        case _:
            assert_never(obj)


def change(before: FilterObject, after: FilterObject) -> tuple[str, ...]:
    """The commands that turn the one into the other of the same key."""
    if isinstance(before, IptablesRules) and isinstance(after, IptablesRules):
        return _restore(after, iptables.restore_text(before, after))
    if isinstance(before, ChainAccept):
        return (*delete(before), *create(after))
    return create(after)


def delete(obj: FilterObject | NftElement) -> tuple[str, ...]:
    """The commands that remove it; a foreign chain's rules go by handle, which only a look at the chain tells."""
    match obj:
        case NftTable():
            return (shell_words("nft", "delete", "table", obj.family, obj.name),)
        case IptablesRules():
            return _restore(obj, iptables.restore_text(obj, None))
        case ChainAccept(engine=iptables.LEGACY):
            return _legacy(obj, "-D")
        case ChainAccept():
            chain = shell_words(*_chain(obj))
            pick = f"sed -n 's/.*comment \"{nft.FORWARD_MARK}\" # handle //p'"
            return (f"nft -a list chain {chain} | {pick} | xargs -rn1 nft delete rule {chain} handle",)
        case NftElement():
            return (shell_words("nft", f"delete {nft.format_element(obj)}"),)
        case _:
            assert_never(obj)


def tool(rules: NftTable | IptablesRules) -> str:
    """The command that takes the rules from its standard input."""
    if isinstance(rules, NftTable):
        return "nft -f -"
    return (
        f"{rules.engine if rules.version == 4 else rules.engine.replace('iptables', 'ip6tables')}-restore --noflush -w"
    )


def shell_words(*words: str) -> str:
    """The words as one shell command; control characters never reach a terminal raw."""
    return " ".join(shlex.quote(word if word.isprintable() else ascii(word)[1:-1]) for word in words if word)


def _restore(rules: IptablesRules, text: str) -> tuple[str, ...]:
    return (f"{tool(rules)} <<'EOF'", *text.splitlines(), "EOF")


def _legacy(accept: ChainAccept, verb: str) -> tuple[str, ...]:
    name = "ip6tables-legacy" if accept.family == "ip6" else "iptables-legacy"
    return tuple(f"{name} -w {line}" for line in iptables.accept_lines(verb, accept.networks))


def _chain(accept: ChainAccept) -> tuple[str, str, str]:
    return accept.family, accept.table, accept.chain
