"""The frame format that guest and worker use on their socket, in both directions.

This package uses only the standard library. A frame is a big-endian u32 header, followed by the contents that it announces:

| header | followed by | type here |
|---|---|---|
| 1 … 67,108,864 | that many bytes: one Arrow IPC record-batch message of the current output | `Batch` |
| 0 | nothing: everything was sent | `EndOfStream` |
| 0xFFFFFFFF | u32 length, JSON of an error report | `Failure` |
| 0xFFFFFFFE | u8 level, u32 length, UTF-8 (0 stdout, 1 stderr, 2 debug, 3 info, 4 warning, 5 error) | `Log` |
| 0xFFFFFFFD | u32 length, JSON, u32 length, Arrow schema message | `OutputStart` |
| 0xFFFFFFFC | u32 index, u64 rows | `OutputEnd` |
| 0xFFFFFFFB | u32 length, JSON | `Progress` |
| 0xFFFFFFFA | u32 length, JSON | `Hello` |

**Schema once.** `OutputStart.schema` is `pyarrow.Schema.serialize()`, and each batch is `RecordBatch.serialize()`; the
worker reads it with `pa.ipc.read_record_batch(payload, schema)`. The start's JSON is
`{"index": 0, "name": "fix_orders", "kind": "rows"}`. Indexes are dense: 0, 1, 2, … in order of first start.

**Switching.** Another start with an open index makes that output the current one again; batches always belong to the
current output. The start has the schema that is valid from there on. For kind `rows`, column names and their order never
change. Types may change: if no single type fits the values of a column, the column is sent with each value's kind for that
batch (`ValueKind`, field metadata `cf.fallback = kinds`) and typed again afterwards; or a later batch needs another type
(a wider decimal, all-null text → any type). The worker, which reads the schemas, compares names; `StreamState`, which
knows no Arrow, accepts the switch.

**Rejected rows.** `ctx.reject(output, row, …)` uses a separate stream: a start with the same name and `"kind": "rejects"`,
with its own index, ends and counts. Its schema is `_cf_output_row_index` int64 (never null), `__cf_row_id` int64,
`_cf_reject_reason` string, `_cf_raw` string, then the row's columns, all string, with exactly the text that
`safe_to_arrow` writes. Rows differ, so a switch of a `rejects` stream may also change the columns.

**Numbering.** Each output numbers all received rows from 0, accepted and rejected together, in the order in which the
parser gave them. A rejected row states its number. Accepted rows take the remaining numbers in order: the worker keeps the
next free number of each output and skips the numbers of rejected rows. The shim sends an output's rejects before any of
its batches with a later row, so that numbers can be given batch by batch.

**Records read.** The SDK's readers report each record, header and blank line in a stream of
`"kind": "records"`, named by the encoding (`utf_8`): `row` int64, `end` int64 (-1: unknown), `what` int8, none of them
null (`casparian_shim.readers.tape`). The shim sends it before any batch of rows made from those records.

**Progress.** JSON with any of `done`, `total` (numbers), `unit` (text), `skips` (reason → count), `rejects`
(output → count), `metrics` (name → number). Everything is cumulative: the last frame counts.

`encode_*` make frames, and `FrameReader` reads them from a socket; `StreamState` tells whether a frame is allowed at this
point of the stream.
"""

from casparian_shim.frames.codec import (
    encode_batch_header,
    encode_end_of_stream,
    encode_failure,
    encode_hello,
    encode_log,
    encode_output_end,
    encode_output_start,
    encode_progress,
)
from casparian_shim.frames.kinds import (
    BATCH_BYTES_MAX,
    LOG_BYTES_MAX,
    OUTPUT_NAME,
    OUTPUTS_MAX,
    PROTOCOL_VERSION,
    Batch,
    EndOfStream,
    Failure,
    Frame,
    Hello,
    Log,
    LogLevel,
    OutputEnd,
    OutputKind,
    OutputStart,
    Progress,
    ProtocolBreach,
    StreamCut,
)
from casparian_shim.frames.reader import FrameReader, OpenOutput, StreamState

__all__ = [
    "BATCH_BYTES_MAX",
    "LOG_BYTES_MAX",
    "OUTPUTS_MAX",
    "OUTPUT_NAME",
    "PROTOCOL_VERSION",
    "Batch",
    "EndOfStream",
    "Failure",
    "Frame",
    "FrameReader",
    "Hello",
    "Log",
    "LogLevel",
    "OpenOutput",
    "OutputEnd",
    "OutputKind",
    "OutputStart",
    "Progress",
    "ProtocolBreach",
    "StreamCut",
    "StreamState",
    "encode_batch_header",
    "encode_end_of_stream",
    "encode_failure",
    "encode_hello",
    "encode_log",
    "encode_output_end",
    "encode_output_start",
    "encode_progress",
]
