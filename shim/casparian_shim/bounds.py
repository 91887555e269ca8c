"""The largest and smallest numbers that any process of Casparian takes from another. Standard library only.

A number is held against these where it enters, so that everything behind may add, pack and store it: msgpack, JSON, Arrow
and DuckDB keep each of them exactly. The types that models are made of stand in `casparian_protocol.bounds`.
"""

#: Counts of rows, bytes, records, events. What every reader of JSON keeps exact; a thousand of them fit 64 bits.
COUNT_MAX = 2**53 - 1
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
