"""How a named query becomes SQL: a text with `$parameters`, or a function that composes one from the query's conditions."""

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


#: The answer to a query: SQL whose `$names` are the query's fields, or what makes it from the query.
Answer: TypeAlias = str | Callable[[Any], Select]


def select(query: Query[Any], answer: Answer) -> Select:
    if not isinstance(answer, str):
        return answer(query)
    return of(answer, parameters_of(query))


def of(sql: str, parameters: Mapping[str, object]) -> Select:
    """The SQL with those of the parameters that it names."""
    named = set(_PARAMETER.findall(sql))
    return Select(sql, {name: value for name, value in parameters.items() if name in named})


def total(expression: str, condition: str = "") -> str:
    """A sum that is 0 over nothing, and never more than 64 bits hold."""
    kept = f" filter (where {condition})" if condition else ""
    return f"least(coalesce(sum({expression}){kept}, 0), {_BIGINT_MAX})::bigint"


def texts(states: frozenset[Any]) -> str:
    """The values of an enum as a list for `in`."""
    return ", ".join(f"'{state.value}'" for state in sorted(states))
