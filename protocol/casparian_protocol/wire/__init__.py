"""Messages on the bus and operations of clients, as data.

`messages` has the kinds of messages and converts them to frames and back. `operations` has the requests of clients with their
results. `heartbeats` has progress, latencies and the timing of heartbeats. `describe` generates docs/protocol.md from these
models. The package does not import zmq, so that the core can use the models; sockets are in `casparian_protocol.client` and
`feed`, the sentinel's bus and the worker. Importing the package does not import `operations`: a worker needs none of them.
"""

from casparian_protocol.wire.heartbeats import Histogram, Progress, ProgressMeter, ProjectorPhase, Rhythm
from casparian_protocol.wire.messages import MessageTooLarge

__all__ = ["Histogram", "MessageTooLarge", "Progress", "ProgressMeter", "ProjectorPhase", "Rhythm"]
