"""The constant table: its text, and that it is constant."""

from __future__ import annotations

from collections.abc import Callable

from libnetwork_py.desired import Table
from libnetwork_py.firewall.table import table
from libnetwork_py.nftables import table_text


def texts(word: Table) -> str:
    """The table as nft reads it."""
    return table_text(word.name, word.sets, word.chains)


def test_table_is_the_golden_text(golden: Callable[[str, str], None]) -> None:
    """Whoever changes a rule sees it in the golden, and that it needs a migration of tables that are loaded."""
    golden("firewall/table.nft", texts(table("", "libnetwork")))


def test_table_differs_only_by_name() -> None:
    """Two controllers' tables are the same but for their names, so that they can live side by side."""
    assert texts(table("", "one")).replace("table inet one", "table inet two") == texts(table("", "two"))


def test_every_set_is_read_by_a_rule_and_every_read_set_is_declared() -> None:
    """No set is declared in vain and none is missing."""
    word = table("", "libnetwork")
    read = {
        str(value)
        for chain in word.chains
        for rule in chain.rules
        for expression in rule.expressions
        for name, value in expression.attributes
        if expression.name == "lookup" and name == "set"
    }
    assert read == {decl.name for decl in word.sets}


def test_every_plain_chain_is_jumped_to() -> None:
    """A chain hangs on a hook or is the target of a jump; only the one that names the rules by their content is empty."""
    word = table("", "libnetwork")
    targets = {
        str(value)
        for chain in word.chains
        for rule in chain.rules
        for expression in rule.expressions
        for name, value in expression.attributes
        if name == "chain"
    }
    assert targets == {chain.name for chain in word.chains if chain.hook is None and chain.rules}
