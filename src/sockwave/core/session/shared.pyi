from typing import final

@final
class SharedMessage: ...
