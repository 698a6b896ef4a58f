"""What is measured. Not part of the tests; `README.md` says how to run it."""
