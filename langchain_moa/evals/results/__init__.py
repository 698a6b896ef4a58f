"""Results on disk: answers, judgments and the manifest of what produced them."""
