class Uplink:
    is_remote: bool
    is_refusing: bool
