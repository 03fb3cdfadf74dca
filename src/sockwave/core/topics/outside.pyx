"""Other hosts, as the sequencer sees them: what it tells them, and asks of them."""


cdef class Outside:
    """What connects the sequencer to those of other hosts: a bridge."""

    cdef int use(self, object registry, object connect) except -1:
        """Connect a sequencer's `Registry`, from now on; `connect` gives new links of it."""
        raise NotImplementedError

    cdef int topic_wanted(self, OrderedTopic topic, bint is_wanted) except -1:
        """Note that the first link wants a topic, or that the last one wants it no more."""
        raise NotImplementedError

    cdef int pattern_wanted(self, str pattern, bint is_wanted) except -1:
        """Note that the first link wants a pattern, or that the last one wants it no more."""
        raise NotImplementedError

    cdef bint keeps_end(self, Link link, object name, const Head* end) except -1:
        """Tell whether a link is answered later: once the messages of other hosts come, too."""
        raise NotImplementedError

    cdef int publish(
        self, bytes name, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Take a message for other hosts; with the empty name, a broadcast."""
        raise NotImplementedError

    cdef int share_log(self, OrderedTopic topic) except -1:
        """Have the places of a topic be those that it has on all hosts."""
        raise NotImplementedError

    cdef int drop_log(self, OrderedTopic topic, object log) except -1:
        """Note that a topic has no such places any more, or others, or is about to be forgotten:
        no link waits for what comes of `log`, which was its SharedLog."""
        raise NotImplementedError

    cdef bint keeps_subscription(
        self, OrderedTopic topic, Link link, const Head* head
    ) except -1:
        """Tell whether a link that wants a topic is answered later: once all is here that it may
        have missed, or it is known that this is nothing."""
        raise NotImplementedError

    cdef int stop_keeping(self, OrderedTopic topic, Link link) except -1:
        """Answer a link no more that does not want the topic any longer by its name."""
        raise NotImplementedError

    cdef int submit(
        self, Link link, OrderedTopic topic, const Head* head, const uint8_t* payload, size_t size
    ) except -1:
        """Take a message of such a topic, which gets its place outside."""
        raise NotImplementedError

    cdef int abort_stream(self, OrderedTopic topic) except -1:
        """End a stream that is shared, and whose producer was a link that has gone."""
        raise NotImplementedError

    cdef int check_watched(self, OrderedTopic topic) except -1:
        """Look at a stream that is shared, and that no link has wanted for a while."""
        raise NotImplementedError

    cdef int know_producer(self, OrderedTopic topic, bytes host) except -1:
        """Note which host has begun a stream that is shared."""
        raise NotImplementedError

    cdef int settings_changed(self) except -1:
        """Note that the application has declared something anew."""
        raise NotImplementedError

    cdef int use_presence(self) except -1:
        """Note that some topic has presence."""
        raise NotImplementedError

    cdef int member_joined(self, OrderedTopic topic, bytes key, bytes data) except -1:
        """Note that a worker has joined with a member, or has given it other data."""
        raise NotImplementedError

    cdef int member_left(self, OrderedTopic topic, bytes key, object member) except -1:
        """Note that a worker has left with a `Member`, which others may have yet."""
        raise NotImplementedError

    cdef int welcome(self, Link link) except -1:
        """Tell a new link how the way to other hosts is."""
        raise NotImplementedError
