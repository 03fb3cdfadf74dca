"""Who has come and gone in topics with presence, until the application takes it.

A member waits once, whatever happens to it meanwhile: what is told of it is how it is now, as
beside what was told last. So no more waits than there are members, and nobody has to take it.

Compiled, for threads: no handler of a signal runs between what is taken out and what is noted.
"""

from collections import OrderedDict

from sockwave.deliveries import MemberChange


cdef class MemberChanges(TopicQueue):
    """The members of which the application has to be told, in the order of their changes."""

    def __cinit__(self):
        self.pending = OrderedDict()
        self.noun = "changes of members"

    def __len__(self):
        return len(self.pending)

    def want(self, subscriptions):
        """Tell of changes from now on; those who are there already come first."""
        if self.is_wanted:
            return
        self.is_wanted = True
        for subscription in subscriptions:
            for key in subscription.members:
                self.note(subscription, key)

    def note(self, subscription, str key not None):
        """Note that a member of a subscription's topic has come or gone, or has other data."""
        if not self.is_wanted:
            return
        entry = (subscription, key)
        if key in subscription.members or key in subscription.told:
            self.pending[entry] = None
        else:
            self.pending.pop(entry, None)       # it came and went, and nobody was told

    def drop(self, subscription):
        """Tell nothing of a subscription that has ended."""
        for entry in [entry for entry in self.pending if entry[0] is subscription]:
            del self.pending[entry]

    cdef object take_next(self):
        """Take out the change that has waited longest; None: none waits."""
        cdef dict here, told
        while self.pending:
            subscription, key = next(iter(self.pending))
            here, told = subscription.members, subscription.told
            change = None
            if key in here:
                if key not in told or told[key] != here[key]:
                    change = make_change("join", key, here[key], subscription.topic)
                    told[key] = here[key]
            elif key in told:
                change = make_change("leave", key, told[key], subscription.topic)
                del told[key]
            self.pending.popitem(False)
            if change is not None:
                return change
        return None


cdef object make_change(str kind, str key, data, str topic):
    # No code of Python's runs: that could be interrupted.
    return tuple.__new__(MemberChange, (kind, key, data, topic))
