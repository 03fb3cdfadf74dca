"""HTTP/1.1, from the first request of a connection to the last: RFC 9110 and RFC 9112."""
