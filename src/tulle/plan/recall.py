"""Acting by memory: what may be done before the store's first snapshot, and nothing beyond it.

The kernel may know better than the memory, which is written a moment after the kernel.  So the node's own
part is made right, what is missing of its peers is added, and nothing that is there is changed or removed.
"""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from tulle.model.change import Create, Plan
from tulle.model.objects import ObjectKey


def additions(plan: Plan, own: AbstractSet[ObjectKey]) -> Plan:
    """The part of ``plan`` that takes nothing away: what it makes, and all that is about the node's ``own`` keys."""
    return replace(plan, steps=tuple(step for step in plan.steps if isinstance(step, Create) or step.key in own))
