"""That no limit is without its test at its value and one past it."""

import dataclasses

from test_admission import STORIES as ADMISSION
from test_limits_of_http import STORIES as HTTP
from test_limits_of_messages import STORIES as MESSAGES
from test_limits_of_time import STORIES as TIME
from test_memory_budget import STORIES as MEMORY

from sockwave.limits import COUNTED_LIMITS, Limits


def test_every_limit_that_is_counted_has_its_story() -> None:
    told = {story.limit for story in [*ADMISSION, *HTTP, *MEMORY, *MESSAGES, *TIME]}
    assert told == set(COUNTED_LIMITS)


def test_every_option_of_the_stories_is_one_of_its_limit_or_what_it_needs() -> None:
    for story in [*ADMISSION, *HTTP, *MEMORY, *MESSAGES, *TIME]:
        assert story.limit in story.options


def test_marks_are_the_only_numbers_that_are_not_counted() -> None:
    uncounted = {limit.name for limit in dataclasses.fields(Limits)} - set(COUNTED_LIMITS)
    assert uncounted == {"low_water", "control_burst", "ping_interval", "lifetime_jitter"}
