"""Pauses in accepting, while there are no descriptors or no memory for another client."""

import logging

logger = logging.getLogger("sockwave")

# Without descriptors or memory to accept: how long until the next try.
cdef double PAUSE_S = 0.1
# How long accepting must work until that is logged: near the limit, each client that leaves makes
# room for one.
cdef double RECOVERY_S = 1.0


cdef class AcceptPause:
    """Schedules the next try to accept, and logs when accepting becomes impossible and possible."""

    def __cinit__(self, loop):
        self.loop = loop

    cdef int begin(self, object reason, object again, object listener) except -1:
        """Call `again` later, and log, once for all attempts, that no client can be accepted."""
        self.loop.call_later(PAUSE_S, again, listener)
        self.stop()
        if not self.is_short:
            self.is_short = True
            logger.error("cannot accept: %s; trying again all the time", reason)
        return 0

    cdef int can_accept(self) except -1:
        """Note that a client can be accepted. After a shortage that is logged, if it lasts."""
        if self.is_short and self.recovery is None:
            self.recovery = self.loop.call_later(RECOVERY_S, self._recover)
        return 0

    def _recover(self):
        self.is_short = False
        self.recovery = None
        logger.warning("accepting again")

    cdef int stop(self) except -1:
        """Cancel the call that would end the shortage."""
        if self.recovery is not None:
            self.recovery.cancel()
            self.recovery = None
        return 0
