"""Approvals (key `A` on Home): the contracts that wait for a decision, what each would change, and the decision itself.

The diff is computed here from the two contracts in the projection (`casparian_protocol.contract`); the decision is an
operation. The Parser Bench shows the same view for its selected parser.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from casparian_console.canvas import Line, ago, block, clean, count, fit, pad, restyle
from casparian_console.facts import Contract as Waiting
from casparian_console.listing import Cursor, Fixed
from casparian_console.messages import Answer, Effects, RunOperation, RunQuery, Tagged
from casparian_console.overlays import TextView, wrapped
from casparian_console.screen import Context
from casparian_protocol.queries.registry import ContractBefore, ContractPair
from casparian_protocol.wire.operations.registry import DECIDE_CONTRACT
from casparian_protocol.wording import command_line

_CHECKS = ("format", "pattern", "values", "min", "max", "unique", "null_values")


class Approvals:
    """The list of contracts that wait for a decision."""

    def __init__(self) -> None:
        self.is_open = False
        self.cursor = Cursor()
        self._height = 10

    def _waiting(self, context: Context) -> list[Waiting]:
        return context.facts.registry.waiting_contracts

    def _chosen(self, context: Context) -> Waiting | None:
        return next((each for each in self._waiting(context) if each.contract_id == self.cursor.identity), None)

    def has_choice(self, context: Context) -> bool:
        return self.is_open and self._chosen(context) is not None

    def open(self, context: Context) -> Effects:
        self.is_open = True
        self.cursor.settle(self._rows(context), self._height)
        return []

    def _rows(self, context: Context) -> Fixed:
        return Fixed([each.contract_id for each in self._waiting(context)])

    def move(self, key: str, context: Context) -> Effects:
        self.cursor.move(key, self._rows(context), self._height)
        return []

    def scroll(self, lines: int) -> None:
        self.cursor.top = max(0, self.cursor.top + lines)

    def click(self, row: int, clicks: int, context: Context) -> Effects:
        place = row - 2 + self.cursor.top
        if 0 <= place < len(self._waiting(context)):
            self.cursor.select(self._rows(context), place, self._height)
            return self.show(context) if clicks > 1 else []
        return []

    # --- actions ------------------------------------------------------------------------------------------------------

    def show(self, context: Context) -> Effects:
        chosen = self._chosen(context)
        return (
            [RunQuery(("home", "contract", chosen.contract_id), ContractBefore(chosen.contract_id))] if chosen else []
        )

    #: Approval begins with the diff; the approving key is in that view.
    approve = show

    def reject(self, context: Context) -> Effects:
        chosen = self._chosen(context)
        return ask_reason(chosen, ("home", "decide"), context) if chosen else []

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        if isinstance(message, Answer) and message.tag[1] == "contract":
            contract = context.facts.registry.contracts.get(message.tag[2])
            if contract is not None and message.rows:
                return context.open(contract_view(contract, message.rows[0], ("home", "decide"), context))
        return []

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        waiting = self._waiting(context)
        self._height = max(1, height - 3)
        self.cursor.settle(self._rows(context), self._height)
        lines: list[Line] = [[("title", " Approvals"), ("dim", f"  {count(len(waiting), 'contract')} waiting")], []]
        if not waiting:
            lines.append([("dim", " No contract waits. Registering a parser proposes the contracts of its outputs.")])
        for at, each in enumerate(waiting[self.cursor.top : self.cursor.top + self._height], self.cursor.top):
            who = f"{clean(each.parser)} {clean(each.version)}"
            mark = context.glyphs.cursor if at == self.cursor.at else " "
            columns = f"{pad(clean(each.output), max(16, width // 4))} {count(each.columns, 'column')}"
            line: Line = [("", f" {mark} {pad(who, max(18, width // 4))} {columns}")]
            since = ago(each.proposed_at, context.facts.now_us)
            line = [*fit(line, width - 10), ("dim", f"{since:>9} ")]
            lines.append(restyle(line, "selected") if at == self.cursor.at else line)
        return block(lines, width, height)


def selector(contract: Waiting) -> str:
    return f"{contract.parser}@{contract.version}/{contract.output}"


def decide(contract: Waiting, tag: tuple[str, ...], *, approve: bool, reason: str = "") -> RunOperation:
    """The operation that decides, with its command line."""
    word = "approve" if approve else "reject"
    why = ("--reason", reason) if reason else ()
    return RunOperation(
        (*tag, contract.contract_id),
        DECIDE_CONTRACT(selector=contract.contract_id, approve=approve, reason=reason),
        command_line("contract", word, selector(contract), *why),
        f"{selector(contract)} is {'approved' if approve else 'rejected'}",
    )


def ask_reason(contract: Waiting, tag: tuple[str, ...], context: Context) -> Effects:
    def rejected(reason: str) -> Effects:
        return [decide(contract, tag, approve=False, reason=reason)]

    return context.prompt(f"Reject {selector(contract)}: why?", rejected, hint="The reason is kept in the log.")


def contract_view(contract: Waiting, row: ContractPair, tag: tuple[str, ...], context: Context) -> TextView:
    """The contract and its changes against the last approved one, with keys to decide while it waits."""
    keys: dict[str, tuple[str, Callable[[], Effects]]] = {}
    if contract.state == "proposed" and context.can_change:
        keys = {
            "a": ("approve", lambda: [decide(contract, tag, approve=True)]),
            "x": ("reject", lambda: ask_reason(contract, tag, context)),
        }
    return TextView(f"Contract {clean(selector(contract))}", contract_lines(row, context), keys=keys)


def contract_lines(row: ContractPair, context: Context) -> list[Line]:
    from casparian_protocol.contract import (  # imports pyarrow, which would double the console's start-up time
        Contract,
        diff,
        misfits,
    )

    proposed = json.loads(row["proposed"])
    lines: list[Line] = []
    if row["approved"]:
        before = json.loads(row["approved"])
        approved = Contract.from_literal(json.loads(before["schema"]), is_stored=True)
        found = diff(approved, Contract.from_literal(proposed, is_stored=True))
        lines.append([("title", f"Against the approved {clean(before['version'])}")])
        lines += [[("", f"  {clean(change)}")] for change in found.changes] or [[("dim", "  the same")]]
        in_the_way = misfits(approved, Contract.from_literal(proposed, is_stored=True))
        if in_the_way:
            reasons = "; ".join(f"{each.column}: {each.what}" if each.column else each.what for each in in_the_way)
            words = f"does not fit the existing rows ({reasons}): a version with it waits"
        else:
            words = "fits the existing rows: a version with it takes new and changed files at once"
        lines += [*wrapped(f"  {words}", 90, "warn" if in_the_way else "ok"), []]
    else:
        lines += [[("dim", "The first contract of this output: nothing to compare with.")], []]
    lines.append([("title", f"{'column':<26}{'type':<24}{'nullable':<10}checks")])
    for column in proposed["columns"]:
        checks = ", ".join(
            f"{name} {json.dumps(column[name], ensure_ascii=False)}"
            for name in _CHECKS
            if column.get(name) not in (None, [], False)
        )
        nullable = "yes" if column.get("nullable", True) else "no"
        named = f"{pad(clean(column['name']), 25)} {pad(clean(_type(column['type'])), 23)} {nullable:<10}"
        lines.append([("", named), ("dim", clean(checks))])
    return lines


def _type(kind: object) -> str:
    if isinstance(kind, dict):
        return f"{kind['kind']}({', '.join(f'{value}' for name, value in kind.items() if name != 'kind')})"
    return str(kind)
