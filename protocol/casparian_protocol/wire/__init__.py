"""Messages on the bus and operations of clients, as data.

`messages` has the kinds of messages and converts them to frames and back. `operations` has the requests of clients with their
results. `heartbeats` has progress, latencies and the timing of heartbeats. `describe` generates docs/protocol.md from these
models. The package does not import zmq, so that the core can use the models; sockets are in `casparian_protocol.client` and
`feed`, the sentinel's bus and the worker.
"""

from casparian_protocol.wire.heartbeats import Histogram, Progress, ProgressMeter, Rhythm
from casparian_protocol.wire.messages import MessageTooLarge
from casparian_protocol.wire.operations.daemon import ProjectorPhase

__all__ = ["Histogram", "MessageTooLarge", "Progress", "ProgressMeter", "ProjectorPhase", "Rhythm"]
