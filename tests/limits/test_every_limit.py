"""That no limit is without its test at its value and one past it."""

import dataclasses

from test_admission import STORIES as ADMISSION
from test_limits_of_http import STORIES as HTTP
from test_limits_of_messages import STORIES as MESSAGES
from test_memory_budget import STORIES as MEMORY

from sockwave.options import COUNTED_LIMITS, Limits

# What has its test in another form: `close` has to be called, and a client to be idle, first.
TESTED_OTHERWISE = {"close_timeout", "keep_alive_timeout"}


def test_every_limit_that_is_counted_has_its_story() -> None:
    told = {story.limit for story in [*ADMISSION, *HTTP, *MEMORY, *MESSAGES]}
    assert told | TESTED_OTHERWISE == set(COUNTED_LIMITS)
    assert not told & TESTED_OTHERWISE


def test_every_option_of_the_stories_is_one_of_its_limit_or_what_it_needs() -> None:
    for story in [*ADMISSION, *HTTP, *MEMORY, *MESSAGES]:
        assert story.limit in story.options


def test_marks_are_the_only_numbers_that_are_not_counted() -> None:
    uncounted = {limit.name for limit in dataclasses.fields(Limits)} - set(COUNTED_LIMITS)
    assert uncounted == {"low_water", "control_burst"}
