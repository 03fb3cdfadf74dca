"""Which route takes a path: exact names before `{name}` segments. RFC 3986, section 3.3.

A path is split as it was sent, and each segment is decoded once: so an escaped slash is a part of a
segment, and never separates two.
"""

from urllib.parse import unquote_to_bytes


cdef str decode_segment(str part):
    """Return a segment with its escapes decoded; None where that is no UTF-8."""
    cdef str decoded = None
    try:
        decoded = unquote_to_bytes(part.encode("latin-1")).decode()
    except UnicodeDecodeError:
        pass
    return decoded


cdef list split_path(str path, Py_ssize_t most):
    """Return the segments of a path, each decoded. None for a path that no route takes: one of more
    than `most` segments, with a dot segment, or that is no UTF-8."""
    cdef list parts
    cdef str part
    cdef Py_ssize_t i
    if not path or path[0] != "/":
        return None             # "*", of OPTIONS
    # One cut more than a route may have: so a path of thousands of slashes costs no more.
    parts = path[1:].split("/", most)
    if len(parts) > most:
        return None
    for i in range(len(parts)):
        part = parts[i]
        if "%" in part:         # else it is ASCII: a target with any other byte is refused
            part = decode_segment(part)
            if part is None:
                return None
            parts[i] = part
        # RFC 3986, 3.3: "." and ".." are "intended for use at the beginning of a relative-path
        # reference"; clients take them away, and who sends them means to leave a place.
        if part == "." or part == "..":
            return None
    return parts


cdef class Node:
    """Where a path has come to, behind some of its segments."""


cdef class Route:
    """What takes one path, or all that have names in the places of its `{name}` segments."""


cdef Route new_route(object taker, str path, tuple names):
    cdef Route route = Route.__new__(Route)
    route.taker = taker
    route.path = path
    route.names = names
    return route


cdef Route route_for(Node node, str key):
    """Return the route of a node for a key; HEAD is answered by what answers GET."""
    cdef object route = node.routes.get(key)
    if route is None and key == "HEAD":
        route = node.routes.get("GET")
    return <Route>route


cdef Node child_of(Node node, str segment):
    """Return the node behind a segment, None: behind a `{name}`; it is made where there is none."""
    cdef Node child
    if segment is None:
        if node.named is None:
            node.named = Node.__new__(Node)
        return node.named
    if node.children is None:
        node.children = {}
    child = node.children.get(segment)
    if child is None:
        child = node.children[segment] = Node.__new__(Node)
    return child


cdef class RouteTable:
    """The routes of one kind: key and path → taker. The key of requests is their method.

    `refuse` makes, of the keys that a path has, what takes it with any other key.
    """

    def __init__(self, refuse=None):
        self.root = Node.__new__(Node)
        self.exact = {}
        self.refuse = refuse

    def add(self, str path, tuple segments, tuple names, str key, taker):
        """Let `taker` take a path, whose segments are str, and None for each of `names`.

        Returns None; or the path of the route that takes the same paths already, and stays.
        """
        cdef Node node = self.root
        cdef Route known
        for segment in segments:
            node = child_of(node, segment)
        if node.routes is None:
            node.routes = {}
        known = node.routes.get(key)
        if known is not None:
            return known.path
        node.routes[key] = new_route(taker, path, names)
        self.depth = max(self.depth, len(segments))
        self.count += 1
        if not names:
            self.exact[path] = node     # no path that is sent otherwise is equal to it
        return None

    cpdef object find(self, RequestHead head, str key):
        """Return what takes a path with a key, and note the `path_params` of its head; None: no
        route has this path. If it has other keys only, return what `refuse` makes of them."""
        cdef str path
        cdef Node node
        cdef Route route
        cdef list parts, values
        cdef set others
        if not self.count:
            return None
        path = head.path_of()
        node = self.exact.get(path)
        if node is not None:
            route = route_for(node, key)
            if route is not None:
                return route.taker
        parts = split_path(path, self.depth)
        if parts is None:
            return None
        values = []
        others = set()
        route = self.find_below(self.root, parts, 0, key, values, others)
        if route is not None:
            if route.names:
                head.kept_path_params = dict(zip(route.names, values))
            return route.taker
        return self.refuse(sorted(others)) if others and self.refuse is not None else None

    cdef Route find_below(
        self, Node node, list parts, Py_ssize_t at, str key, list values, set others
    ):
        """Find the route behind a node: exact names first, segment by segment. `values` gets what
        stands in the places of names, `others` the keys of what has the path and not the key."""
        cdef Node child
        cdef Route route
        cdef str part
        if at == len(parts):
            if node.routes is None:
                return None
            route = route_for(node, key)
            if route is None:
                others.update(node.routes)
            return route
        part = parts[at]
        child = None if node.children is None else node.children.get(part)
        if child is not None:
            route = self.find_below(child, parts, at + 1, key, values, others)
            if route is not None:
                return route
        if node.named is None or not part:
            return None
        values.append(part)
        route = self.find_below(node.named, parts, at + 1, key, values, others)
        if route is None:
            values.pop()
        return route
