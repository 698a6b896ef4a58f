"""ASGI middleware: metrics and logs, API key, cancellation on disconnect, admission."""
