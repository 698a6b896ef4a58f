"""What appears on the terminal, and what is read from it."""
