"""The text of a drafted parser: its metadata, what was seen in the samples, its contract, its code, and its test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from textwrap import wrap

from casparian_app.drafting.plans import Plan, quoted
from casparian_app.inferring import DraftedContract, spelt
from casparian_protocol.contract.model import ColumnLiteral

#: Comments of a draft are cut here; `casparian preview` and `schema infer` say everything.
_SENTENCES_MAX = 40
_WIDTH = 116
_LAST = "Draft: what a sample does not show is not known. Set nullable, checks and further types yourself."
_LIBRARY = "casparian_shim"


def parser_source(name: str, plan: Plan, seen: Sequence[str], drafts: Sequence[DraftedContract], suffix: str) -> str:
    """The module of the parser; for its trial without contracts."""
    needs_output = "OUTPUT" in plan.body
    above = [*([f"OUTPUT = {quoted(name)}"] if needs_output else []), *([plan.above] if plan.above else [])]
    parts = [_docstring(name, suffix), _imports(plan), _metadata(name, plan.dependencies)]
    if drafts:
        about = [sentence for draft in drafts for sentence in about_types(draft, len(drafts) > 1)]
        parts.append(_comments([*seen, *about, _LAST]) + "\n" + _outputs(drafts))
    parts += ["\n\n".join(above)] if above else []
    text = "\n\n".join(part for part in parts if part)
    return f"{text}\n\n\ndef parse({plan.arguments}):\n{_indented(plan.body)}\n"


def _docstring(name: str, suffix: str) -> str:
    return f'''"""Parser `{name}`: say here what it reads and what a row means.

Try it:       casparian run {name}.py tests/{name}.{suffix}
Register it:  casparian parser register .
"""'''


def _imports(plan: Plan) -> str:
    standard = [f"import {name}" for name in sorted(plan.modules) if not name.startswith("pyarrow")]
    others = [f"import {name}" for name in sorted(plan.modules) if name.startswith("pyarrow")]
    own = [f"from {_LIBRARY} import {', '.join(sorted(plan.readers))}"] if plan.readers else []
    return "\n\n".join("\n".join(group) for group in (standard, [*others, *own]) if group)


def _metadata(name: str, dependencies: Sequence[str]) -> str:
    needs = python_literal(list(dependencies))
    return f'name = "{name}"\nversion = "0.1.0"\ntopics = ["{name}"]\ndependencies = {needs}'


def _comments(sentences: Sequence[str]) -> str:
    lines: list[str] = []
    for sentence in sentences[:_SENTENCES_MAX]:
        plain = sentence if sentence.isprintable() else ascii(sentence)[1:-1]
        lines += [f"# {line}" for line in wrap(plain, _WIDTH, subsequent_indent="  ", break_long_words=True)]
    if len(sentences) > _SENTENCES_MAX:
        lines.append(f"# … and {len(sentences) - _SENTENCES_MAX} more: `casparian schema infer FILE` lists them.")
    return "\n".join(lines)


def about_types(draft: DraftedContract, is_named: bool = False) -> list[str]:
    """What the values say of the types: those that are certain, and what is open."""
    prefix = f"{draft.output}: " if is_named else ""
    typed = [f"{found.name} ({spelt(found.column)})" for found in draft.columns if found.column["type"] != "string"]
    empty = [found.name for found in draft.columns if found.empty_count]
    lines = [
        f"{prefix}Every value seen is of this type: {', '.join(typed) or 'none but string'}.",
        f"{prefix}Empty in some records: {', '.join(empty) or 'none'}.",
    ]
    lines += [f"{prefix}Not certain, {found.name}: {each}." for found in draft.columns for each in found.ambiguities]
    return lines


def _outputs(drafts: Sequence[DraftedContract]) -> str:
    return "outputs = {\n" + "".join(map(_output, drafts)) + "}"


def _output(draft: DraftedContract) -> str:
    entries = "\n".join(f"            {_column(found.column)}," for found in draft.columns)
    return f'''    "{draft.output}": {{
        "mode": "strict",
        "columns": [
{entries}
        ],
    }},
'''


def _column(column: ColumnLiteral) -> str:
    pairs = ", ".join(f"{quoted(key)}: {python_literal(value)}" for key, value in column.items())
    return f"{{{pairs}}}"


def python_literal(value: object) -> str:
    """A value of JSON as a Python literal, texts in double quotes."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(str(key))}: {python_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(python_literal, value)) + "]"
    return repr(value)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in text.splitlines())


def expected_document(outputs: Mapping[str, tuple[int, int]], skipped: int) -> bytes:
    """The expectation of the drafted test: records and counts, not every value, so that it still passes after small edits."""
    document = {
        name: {"valid": valid, "quarantined": quarantined, "skipped": skipped}
        for name, (valid, quarantined) in outputs.items()
    }
    return json.dumps(document, indent=2).encode() + b"\n"
