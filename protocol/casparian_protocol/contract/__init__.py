"""Contracts: what the rows of one output must be.

Owns the format of a contract (docs/reference/contract-format.md), its canonical form and hash, the meaning of one
value's text, the vocabulary of violations, the quarantine policy and the difference between two contracts.
Judging whole batches is `casparian_worker.validation`; approving and storing contracts is the sentinel's. Nothing here
does I/O, and pyarrow is imported only by the functions that need it (`arrow_schema`, patterns).
"""

from casparian_protocol.contract.arrow import arrow_schema, arrow_type
from casparian_protocol.contract.diff import Change, ContractDiff, diff
from casparian_protocol.contract.errors import ContractInvalid
from casparian_protocol.contract.model import Column, Contract, Mode, contracts_from_outputs
from casparian_protocol.contract.names import check_output_name, is_reserved
from casparian_protocol.contract.policy import BUILT_IN_POLICY, PolicyBreach, QuarantinePolicy, breach, cascade
from casparian_protocol.contract.published import json_schema, json_schema_text
from casparian_protocol.contract.types import (
    DataType,
    DecimalType,
    ListType,
    SimpleType,
    StructField,
    StructType,
    ZonedTimestampType,
    describe,
)
from casparian_protocol.contract.violations import ViolationCode

__all__ = [
    "BUILT_IN_POLICY",
    "Change",
    "Column",
    "Contract",
    "ContractDiff",
    "ContractInvalid",
    "DataType",
    "DecimalType",
    "ListType",
    "Mode",
    "PolicyBreach",
    "QuarantinePolicy",
    "SimpleType",
    "StructField",
    "StructType",
    "ViolationCode",
    "ZonedTimestampType",
    "arrow_schema",
    "arrow_type",
    "breach",
    "cascade",
    "check_output_name",
    "contracts_from_outputs",
    "describe",
    "diff",
    "is_reserved",
    "json_schema",
    "json_schema_text",
]
