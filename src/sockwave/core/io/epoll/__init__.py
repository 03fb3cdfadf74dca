"""The epoll engine (Linux): sockets of our own behind one descriptor."""
