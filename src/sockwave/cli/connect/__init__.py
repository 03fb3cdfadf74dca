"""`sockwave connect URI`: a client for people, scripts and pipes."""
