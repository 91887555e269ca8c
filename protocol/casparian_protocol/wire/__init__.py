"""Messages on the bus and operations of clients, as data.

`messages` has the kinds of messages and turns them into frames and back. `operations` has what clients may ask and
what they get. `heartbeats` has progress, latencies and the timing of beats. `describe` makes docs/protocol.md from these
models. Sockets are elsewhere (`casparian_protocol.client` and `feed`, the sentinel's bus, the worker): nothing here
imports zmq, so that the core can use the models.
"""

from casparian_protocol.wire.heartbeats import Histogram, Progress, ProgressMeter, Rhythm
from casparian_protocol.wire.messages import MessageTooLarge
from casparian_protocol.wire.operations.daemon import ProjectorPhase

__all__ = ["Histogram", "MessageTooLarge", "Progress", "ProgressMeter", "ProjectorPhase", "Rhythm"]
