"""Drafts of parsers: what `new parser NAME [--from FILES]` writes, and how files without a parser are read for `schema infer`.

The detector says what the samples are; `plans` are the ways to read that; `trial` runs one in a real guest; `source` is the text
of the parser; `samples` finds the samples and makes the excerpt for its test; `draft` connects them. `premade` knows the premade
parsers, `fitting` what a sample says about their parameters. Nothing is written that has not run on its own samples.
"""

from casparian_app.drafting.draft import (
    Drafted,
    DraftRefused,
    Reading,
    draft_parser,
    draft_premade,
    drafted_rows,
    output_for,
    read_with_draft,
    skeleton,
    write_draft,
)
from casparian_app.drafting.premade import Premade, find_premade, premade_parsers
from casparian_app.drafting.samples import find_samples
from casparian_app.drafting.trial import Trial

__all__ = [
    "DraftRefused",
    "Drafted",
    "Premade",
    "Reading",
    "Trial",
    "draft_parser",
    "draft_premade",
    "drafted_rows",
    "find_premade",
    "find_samples",
    "output_for",
    "premade_parsers",
    "read_with_draft",
    "skeleton",
    "write_draft",
]
