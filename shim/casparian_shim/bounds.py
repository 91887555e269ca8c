"""The largest and smallest numbers that a process of Casparian accepts from another. Standard library only.

msgpack, JSON, Arrow and DuckDB keep each number within these exactly, and sums of a thousand counts fit 64 bits. The
pydantic types are in `casparian_protocol.bounds`.
"""

#: Counts of rows, bytes, records, events. What every reader of JSON keeps exact; a thousand of them fit 64 bits.
COUNT_MAX = 2**53 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
