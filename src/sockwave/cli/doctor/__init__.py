"""`sockwave doctor`: what is here, what a service needs, and what is missing."""
