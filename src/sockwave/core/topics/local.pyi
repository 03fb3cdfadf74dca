from typing import Any, Self

from sockwave.core.topics.link import SequencerLink
from sockwave.core.topics.sequencer import Sequencer
from sockwave.core.topics.table import TopicTable

class LocalLink(SequencerLink):
    sequencer: Sequencer
    def __new__(
        cls,
        table: TopicTable,
        host: Any,
        *,
        sequencer: Sequencer,
    ) -> Self: ...
    def pump(self) -> None: ...
    def tick(self) -> None: ...
