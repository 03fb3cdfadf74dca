from typing import Any, Self

from sockwave.core.topics.output import LinkOutput
from sockwave.core.topics.submissions import Submissions
from sockwave.core.topics.table import TopicTable

class Reception:
    def __new__(
        cls, table: TopicTable, host: Any, output: LinkOutput, submissions: Submissions
    ) -> Self: ...
