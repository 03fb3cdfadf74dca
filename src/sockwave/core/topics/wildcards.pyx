"""Names of topics, and patterns with wildcards by level: `room/*`, `room/**`."""

# Deeper patterns would let a client make the server visit many nodes for each new topic.
MAX_LEVELS = 8

ONE = "*"       # one level, whatever its name
REST = "**"     # all levels that follow, at least one


cpdef bint is_pattern(str name) except -1:
    """Tell whether a name has a wildcard."""
    return "*" in name


cpdef str check_topic_name(object name, Py_ssize_t most=255):
    """Return the name of a topic. Raise TypeError or ValueError for what can be none: an empty
    one, one of more than `most` bytes, one with a control character or a wildcard."""
    checked = check_characters("topic", name, most)
    if is_pattern(checked):
        raise ValueError(f"topic: expected a name without wildcards, given {name!r}")
    return checked


cpdef str check_pattern(object pattern, Py_ssize_t most=255):
    """Return a pattern, or the name of a topic, which matches itself. Raise TypeError or ValueError
    for what can be neither."""
    checked = check_characters("topic", pattern, most)
    if not is_pattern(checked):
        return checked
    levels = checked.split("/")
    if len(levels) > MAX_LEVELS:
        raise ValueError(
            f"topic: expected a pattern of at most {MAX_LEVELS} levels, given {pattern!r}"
        )
    for place, level in enumerate(levels):
        if "*" in level and level != ONE and (level != REST or place < len(levels) - 1):
            raise ValueError(
                f"topic: expected '*' as a whole level and '**' as the last, given {pattern!r}"
            )
    return checked


cdef str check_characters(str what, object name, Py_ssize_t most):
    if not isinstance(name, str):
        raise TypeError(f"{what}: expected str, given {type(name).__name__}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what}: expected no lone surrogate, given {name!r}") from None
    if not 1 <= size <= most:
        raise ValueError(f"{what}: expected 1 to {most} bytes, given {size}")
    for character in <str>name:
        if character < 0x20 or character == 0x7F:
            raise ValueError(f"{what}: expected no control character, given {name!r}")
    return name


cdef class Node:
    """What follows one level of the patterns that begin alike."""

    cdef Node child(self, str level, bint makes):
        cdef Node found
        if level == ONE:
            if self.one is None and makes:
                self.one = Node()
            return self.one
        if self.children is None:
            if not makes:
                return None
            self.children = {}
        found = self.children.get(level)
        if found is None and makes:
            found = self.children[level] = Node()
        return found

    cdef bint is_empty(self) except -1:
        return (
            not self.has_value and not self.has_rest and self.one is None and not self.children
        )


cdef class Patterns:
    """Patterns and names, each with a value: finds those that match the name of a topic."""

    def __cinit__(self):
        self.root = Node()

    def __len__(self):
        return self.count

    cpdef add(self, str pattern, value):
        """Add a pattern that `check_pattern` has let through, or give it another value."""
        cdef Node node = self.root
        levels = pattern.split("/")
        has_rest = levels[len(levels) - 1] == REST
        for level in levels[:len(levels) - 1] if has_rest else levels:
            node = node.child(level, True)
        self.generation += 1
        if has_rest:
            self.count += not node.has_rest
            node.has_rest, node.rest = True, value
        else:
            self.count += not node.has_value
            node.has_value, node.value = True, value

    cpdef remove(self, str pattern):
        """Remove a pattern. Raises KeyError if it is not there."""
        cdef Node node = self.root
        cdef list path = []
        levels = pattern.split("/")
        has_rest = levels[len(levels) - 1] == REST
        for level in levels[:len(levels) - 1] if has_rest else levels:
            path.append((node, level))
            node = node.child(level, False)
            if node is None:
                raise KeyError(pattern)
        if not (node.has_rest if has_rest else node.has_value):
            raise KeyError(pattern)
        if has_rest:
            node.has_rest, node.rest = False, None
        else:
            node.has_value, node.value = False, None
        self.count -= 1
        self.generation += 1
        self.prune(node, path)

    cdef int prune(self, Node node, list path) except -1:
        """Remove the nodes of a path that no pattern needs any more."""
        cdef Node parent
        while path and node.is_empty():
            parent, level = path.pop()
            if level == ONE:
                parent.one = None
            else:
                del parent.children[level]
            node = parent
        return 0

    cpdef list match(self, str name):
        """List the values of all patterns that match `name`, the most specific first: a level that
        is spelled out comes before '*', and that before '**'."""
        cdef list found = []
        if self.count:
            visit(self.root, name.split("/"), 0, found, False)
        return found

    cpdef best(self, str name):
        """Return the value of the most specific pattern that matches `name`; None: none does."""
        cdef list found = []
        if self.count:
            visit(self.root, name.split("/"), 0, found, True)
        return found[0] if found else None


cdef bint visit(Node node, list levels, Py_ssize_t place, list found, bint is_one_enough) except -1:
    """Collect the values of the patterns that match from a level on. Returns whether that is
    enough."""
    cdef Node next
    if place == len(levels):
        if node.has_value:
            found.append(node.value)
        return is_one_enough and node.has_value
    if node.children is not None:
        next = node.children.get(levels[place])
        if next is not None and visit(next, levels, place + 1, found, is_one_enough):
            return True
    if node.one is not None and visit(node.one, levels, place + 1, found, is_one_enough):
        return True
    if node.has_rest:
        found.append(node.rest)
        return is_one_enough
    return False
