"""An OpenAI-compatible endpoint over mixtures, and a page to look inside of them."""
