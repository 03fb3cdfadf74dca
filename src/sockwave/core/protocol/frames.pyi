CONSEQUENCES: dict[int, tuple[int, str, int]]
