from typing import Any, Self

from sockwave.core.session.session import Session
from sockwave.core.topics.output import LinkOutput
from sockwave.core.topics.publication import Publication
from sockwave.core.topics.subscribers import Subscribers
from sockwave.messages import Message

class Submissions:
    dropped_count: int
    def __new__(cls, output: LinkOutput) -> Self: ...
    def submit(
        self,
        topic: Subscribers,
        message: Message | None,
        id: str | None = None,
        meta: dict[str, Any] | None = None,
        besides: Session | None = None,
    ) -> Publication: ...
    def append(self, topic: Subscribers, delta: Message, id: str | None = None) -> Publication: ...
    def finish(self, topic: Subscribers, id: str | None = None) -> Publication: ...
    def relay(self, topic: Subscribers, message: Message, meta: dict[str, Any]) -> None: ...
    def broadcast(self, message: Message, meta: dict[str, Any]) -> None: ...
