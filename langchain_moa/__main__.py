"""`python -m langchain_moa` is `moa`."""

from langchain_moa.cli import main

if __name__ == "__main__":
    main()
