# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""The documentation site: ``make docs`` builds it with warnings as errors."""

import re
import sys
from pathlib import Path

from docutils import nodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmvpt.version import __version__  # noqa: E402

project = 'mmvpt'
author = copyright = 'mmvpt contributors'
release = __version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'sphinx-mathjax-offline',
]
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['_build', 'data/*']
html_theme = 'furo'
# furo's own choice underlines what is imported, like a link
pygments_dark_style = 'github-dark'
html_static_path = ['_static']
html_css_files = ['site.css']
html_title = f'mmvpt {release}'
myst_enable_extensions = ['colon_fence', 'dollarmath', 'deflist']
myst_heading_anchors = 4
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_class_signature = 'mixed'
napoleon_google_docstring = True
napoleon_numpy_docstring = False
copybutton_prompt_text = r'>>> |\$ '
copybutton_prompt_is_regexp = True
# Folders of the tree have no page here; tests/test_docs.py checks that what a link
# names exists.
suppress_warnings = ['myst.xref_missing']


def unlink_folders(app, doctree, page):
    """Leave the text of links to folders, which would lead nowhere on the site."""
    for link in list(doctree.findall(nodes.reference)):
        if re.match('#.*/', link.get('refuri', f'#{link.get("refid")}')):
            link.replace_self(link.children)


def setup(app):
    """Connect what is above."""
    app.connect('doctree-resolved', unlink_folders)
