"""Errors of our own, for everybody above the shim. The classes live in `casparian_shim.errors`."""

from casparian_shim.errors import RETRYABLE_ONCE, CasparianError, ErrorCode, ErrorReport

__all__ = ["RETRYABLE_ONCE", "CasparianError", "ErrorCode", "ErrorReport"]
