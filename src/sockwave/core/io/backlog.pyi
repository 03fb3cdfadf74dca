class Backlog:
    backlog_size: int
