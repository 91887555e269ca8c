"""What processes say to each other on the bus, as data: messages and their frames, operations and their results.

`messages` are the kinds and `codec` their frames; `operations` and `operation_views` are what clients may ask and what comes
back; docs/protocol.md is made from these by `describe`. Sockets are moved elsewhere: by `casparian_protocol.client` and
`casparian_protocol.feed`, by the sentinel's bus and by the worker. Nothing here imports zmq, so the pure core may import it.
"""

from casparian_protocol.wire.codec import MessageTooLarge
from casparian_protocol.wire.heartbeats import Histogram, Progress, ProgressMeter, Rhythm
from casparian_protocol.wire.operation_views import ProjectorPhase

__all__ = ["Histogram", "MessageTooLarge", "Progress", "ProgressMeter", "ProjectorPhase", "Rhythm"]
