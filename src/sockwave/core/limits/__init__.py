"""What is counted: how often each limit was applied, and how much a client uses in a second."""
