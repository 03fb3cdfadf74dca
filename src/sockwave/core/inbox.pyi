class Inbox:
    size: int
    is_wanted: bool
    is_ended: bool
