"""Settings of the documentation site."""

import biolm

project = "biolm"
author = "The biolm developers"
copyright = "2026, The biolm developers"
release = version = biolm.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# Signatures keep their short names; types of parameters stand in the text.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_numpy_docstring = True
napoleon_google_docstring = False
napoleon_use_rtype = False
# Types of attributes stand in the signature; here "numpy.str_" would be read as a link.
napoleon_attr_annotations = False

html_theme = "sphinx_book_theme"
html_title = "biolm"
html_theme_options = {"show_toc_level": 2, "use_download_button": False, "use_fullscreen_button": False}
