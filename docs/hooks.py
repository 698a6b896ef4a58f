"""Puts the notebooks of examples/ among the site's pages, where mkdocs-jupyter renders them."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

EXAMPLES = Path(__file__).parents[1] / "examples"


@event_priority(100)  # before mkdocs-jupyter, which looks for notebooks among the files
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them, each by its name."""
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        files.append(File(path.name, str(EXAMPLES), config.site_dir, config.use_directory_urls))
    return files
