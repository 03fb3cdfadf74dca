"""The asyncio engine: ordinary transports."""
