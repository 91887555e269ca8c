"""Contracts: the schema and the checks that rows of one output must satisfy.

The package owns the format of a contract (docs/reference/contract-format.md), its canonical form and hash, the parsing of one
value's text, the codes of violations, the quarantine policy, and the difference between two contracts.
`casparian_worker.validation` validates batches; the sentinel approves and stores contracts. pyarrow is imported only inside the
functions that need it (`arrow_schema`, patterns).
"""

from casparian_protocol.contract.diff import Change, ContractDiff, Misfit, diff, misfits
from casparian_protocol.contract.formats import Judged, ViolationCode
from casparian_protocol.contract.model import (
    BUILT_IN_POLICY,
    Column,
    Contract,
    ContractInvalid,
    Mode,
    PolicyBreach,
    QuarantinePolicy,
    breach,
    cascade,
    unbuilt_keys,
)
from casparian_protocol.contract.schemas import arrow_schema, arrow_type, json_schema, json_schema_text
from casparian_protocol.contract.types import (
    FOR_PARSERS,
    RAW_COLUMN,
    RAW_ENCODING_COLUMN,
    ROW_ID_COLUMN,
    AnyType,
    DataType,
    DecimalType,
    ListType,
    NameInvalid,
    SimpleType,
    StructField,
    StructType,
    ZonedTimestampType,
    check_output_name,
    describe,
    is_reserved,
)

__all__ = [
    "BUILT_IN_POLICY",
    "FOR_PARSERS",
    "RAW_COLUMN",
    "RAW_ENCODING_COLUMN",
    "ROW_ID_COLUMN",
    "AnyType",
    "Change",
    "Column",
    "Contract",
    "ContractDiff",
    "ContractInvalid",
    "DataType",
    "DecimalType",
    "Judged",
    "ListType",
    "Misfit",
    "Mode",
    "NameInvalid",
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
    "describe",
    "diff",
    "is_reserved",
    "json_schema",
    "json_schema_text",
    "misfits",
    "unbuilt_keys",
]
