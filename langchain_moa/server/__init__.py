"""An OpenAI-compatible endpoint for mixtures, and a web page that shows what happens inside them.

`create_app` is in `app`, `Served` in `served`; the other modules are internal.
"""
