"""Mixture-of-Agents as one LangChain chat model."""
