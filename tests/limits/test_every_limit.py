"""That no limit is without its test at its value and one past it."""

import dataclasses

from test_admission import STORIES as ADMISSION
from test_limits_of_http import STORIES as HTTP
from test_limits_of_messages import STORIES as MESSAGES
from test_limits_of_time import STORIES as TIME
from test_memory_budget import STORIES as MEMORY

from sockwave.limits import COUNTED_LIMITS, Limits

#: Those of topics, held at their values and one past them in tests/topics/test_subscriptions.py.
TOPICS = {"subscription_count", "pattern_count", "topic_count"}


def test_every_limit_that_is_counted_has_its_story() -> None:
    told = {story.limit for story in [*ADMISSION, *HTTP, *MEMORY, *MESSAGES, *TIME]}
    assert told | TOPICS == set(COUNTED_LIMITS)


def test_every_option_of_the_stories_is_one_of_its_limit_or_what_it_needs() -> None:
    for story in [*ADMISSION, *HTTP, *MEMORY, *MESSAGES, *TIME]:
        assert story.limit in story.options


def test_marks_are_the_only_numbers_that_are_not_counted() -> None:
    uncounted = {limit.name for limit in dataclasses.fields(Limits)} - set(COUNTED_LIMITS)
    of_topics = {"topic_name_size", "history_budget", "append_size"}
    others = {"low_water", "control_burst", "ping_interval", "lifetime_jitter"}
    assert uncounted == others | of_topics
