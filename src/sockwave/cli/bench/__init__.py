"""`sockwave bench URI`: how much a server takes, and how late it answers."""
