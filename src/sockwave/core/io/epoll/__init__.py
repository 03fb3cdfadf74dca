"""The epoll engine (Linux): the loop watches one descriptor for all of our sockets."""
