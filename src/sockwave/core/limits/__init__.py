"""What is counted: how often each limit was applied, and how much a peer uses a second."""
