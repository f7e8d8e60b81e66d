"""Sphinx's configuration."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "libnetwork_py"
author = "the libnetwork_py authors"
project_copyright = author
release = installed_version("libnetwork_py")
version = release

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
exclude_patterns = ["_build", "_ext"]
html_theme = "furo"
html_title = f"libnetwork_py {release}"
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the code blocks are run by tests/root/test_910_docs.py, as root

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Types of other projects, and of rooms that have no page: their inventories are not fetched, so that the build needs no network.
nitpick_ignore_regex = [("py:.*", r".*")]
default_role = "literal"  # in docstrings, single back-quotes name something of this package
