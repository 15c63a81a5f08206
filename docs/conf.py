"""The site: the Markdown of this repository as it is, and an API reference. `nox -s docs` builds it.

The source folder is the repository, so that links between pages, examples and results lead where they lead on a code
forge. What the side bar shows is taken from the links of docs/index.md.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from chuk_sessions import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
HOME = "README"
ABOUT = ("CONTRIBUTING", "SECURITY", "CHANGELOG", "benchmarks/README", "examples/README")

project = "chuk-sessions"
version = release = __version__
copyright = f"chuk-sessions contributors, version {__version__}"  # noqa: A001 - its name in Sphinx
root_doc = HOME
include_patterns = ["*.md", "docs/**.md", "docs/api.rst", "results/*.md", "benchmarks/README.md", "examples/README.md"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
mermaid_fullscreen = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"chuk-sessions {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False


def toctree(caption: str, pages: list[str]) -> str:
    """A part of the side bar; nothing on the page itself."""
    return "\n".join(
        ["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *(f"/{page}" for page in pages), "```", ""]
    )


def side_bar() -> str:
    """A part for each section of docs/index.md, with the pages that it links to."""
    parts = re.split(r"^## (.+)$", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    sections = {
        heading: [f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+)\.md\)", text)]
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
    }
    sections["Inside"].append("docs/api")
    about = [name for name in ABOUT if (ROOT / f"{name}.md").exists()]
    return toctree("All pages", ["docs/index"]) + "".join(
        toctree(heading, pages) for heading, pages in (sections | {"The project": about}).items()
    )


def add_side_bar(app: Sphinx, name: str, content: list[str]) -> None:
    """At the end of the first page; the pages of results belong to that of performance."""
    if name == HOME:
        content[0] += side_bar()
    if name == "docs/performance":
        content[0] += toctree("Results", sorted(f"results/{path.stem}" for path in (ROOT / "results").glob("*.md")))


def lead_home(app: Sphinx, error: Exception | None) -> None:
    """A site is opened at index.html."""
    if error is None and app.builder.format == "html":
        page = f'<!doctype html><meta http-equiv="refresh" content="0; url={HOME}.html"><title>{project}</title>\n'
        Path(app.outdir, "index.html").write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", add_side_bar)
    app.connect("build-finished", lead_home)
