"""The chat of `sockwave chat`, run by a program of your own.

Its code, some 50 lines, is `create_chat` in `sockwave/cli/chat.py`; its page stands beside it.
"""

from sockwave.cli.chat import create_chat

chat = create_chat()
chat.listen(8000, "127.0.0.1")
print("Chat on http://127.0.0.1:8000/", flush=True)
chat.run()
