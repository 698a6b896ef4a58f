"""What goes to models, and what comes back: pure functions on messages."""
