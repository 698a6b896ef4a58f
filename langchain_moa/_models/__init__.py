"""From a string to a chat model, and its connections."""
