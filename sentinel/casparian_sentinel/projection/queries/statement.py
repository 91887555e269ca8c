"""How a named query becomes SQL: from a text with `$parameters`, or from a function that composes it from the query's fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from casparian_protocol.queries import Query, parameters_of

_PARAMETER = re.compile(r"\$([a-z_]+)")
_BIGINT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT with its named parameters."""

    sql: str
    parameters: Mapping[str, object]


#: The SQL for a query, with its fields as `$names`, or a function that builds it from the query.
Answer: TypeAlias = str | Callable[[Any], Select]


def select(query: Query[Any], answer: Answer) -> Select:
    if not isinstance(answer, str):
        return answer(query)
    return of(answer, parameters_of(query))


def of(sql: str, parameters: Mapping[str, object]) -> Select:
    """The SQL with only the parameters that it names."""
    named = set(_PARAMETER.findall(sql))
    return Select(sql, {name: value for name, value in parameters.items() if name in named})


def total(expression: str, condition: str = "") -> str:
    """A sum that is 0 for no rows, and is limited to 64 bits."""
    kept = f" filter (where {condition})" if condition else ""
    return f"least(coalesce(sum({expression}){kept}, 0), {_BIGINT_MAX})::bigint"


def texts(states: frozenset[Any]) -> str:
    """The values of an enum as a list for `in`."""
    return ", ".join(f"'{state.value}'" for state in sorted(states))
