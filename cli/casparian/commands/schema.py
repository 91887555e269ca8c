"""`schema infer`: a contract drafted from files, with the evidence for every type."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import rich_click as click

from casparian.app import App, Command, ExitCode, Group, pass_app
from casparian.commands.run import chosen_parser, require_file
from casparian.render import as_json, cell


@click.group(cls=Group)
def schema() -> None:
    """Draft contracts from files."""


@schema.command(
    "infer",
    cls=Command,
    short_help="Draft a contract from files, with evidence.",
    examples="""casparian schema infer trades_2024.csv
casparian schema infer inbox/*.txt --parser advice.py > advices.schema.json""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--parser",
    "parser",
    type=click.Path(path_type=Path),
    metavar="PARSER",
    help="Take the rows of this parser: a file, a directory, or NAME[@VERSION] (default: a draft for these files).",
)
@pass_app
def infer(app: App, files: tuple[Path, ...], parser: Path | None) -> ExitCode:
    """Print a draft contract for the rows of FILES: the types that every value fits.

    Each value rules types out; the evidence is kept. What stays ambiguous, such as 01/02/2024, is drafted as a string and
    reported with what would decide it. The contract goes to stdout, the evidence to stderr. Exit 1 when a file cannot be read.
    """
    from casparian.reports import print_contracts
    from casparian.shipped import bundled
    from casparian_app.devrun.engine import run_input
    from casparian_app.drafting import drafted_rows, output_for, premade_parsers
    from casparian_app.inferring import ContractInference, contract_document, evidence_document

    for path in files:
        require_file(path)
    notes: list[str] = []
    problems: list[str] = []
    if parser is None:
        inference = ContractInference(output_for(files[0]))
        notes, problems = drafted_rows(inference, files, premade_parsers(bundled("parsers")))
    else:
        chosen = chosen_parser(app, parser)
        inference = ContractInference(next(iter(chosen.contracts), chosen.metadata.name))
        chosen = replace(chosen, contracts={})
        for path in files:
            run = run_input(
                chosen, path, params={}, python=sys.executable, limit=None, rows_shown=0, on_rows=inference.take
            )
            if run.error is not None:
                problems.append(f"{path}: {run.error.code}: {run.error.message}")
    drafts = inference.contracts()
    if app.is_json:
        evidence = {draft.output: evidence_document(draft) for draft in drafts}
        contract = contract_document(drafts) if drafts else None
        as_json(app, {"contract": contract, "evidence": evidence, "seen": notes, "problems": problems})
    else:
        for note in notes:
            app.say(cell(note))
        print_contracts(app, drafts)
        for problem in problems:
            app.say(cell(problem))
    return ExitCode.FAILED if problems else ExitCode.OK


COMMANDS: dict[str, click.Command] = {"schema": schema}
