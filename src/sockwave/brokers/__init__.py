"""What connects the hosts of a service: a broker, of which each host is one client."""
