# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the documentation names exists, and its Python examples run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('projects/**/*.md')]
)
LINK = re.compile(r'\]\((?!https?:|#|mailto:)([^)#]+)')
NAMED = re.compile(r'(?<![\w./-])((?:configs|tools|docs|mmvpt|tests)/[\w./-]*\w)')
EXAMPLES = ['docs/get_started.md']
# Files that a page tells the reader to create.
TO_CREATE = ('configs/own/', 'mmvpt/models/prompts/echo.py', 'mmvpt/apis')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_exist(page):
    text = page.read_text()
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    for path in NAMED.findall(text):
        if path.startswith(TO_CREATE):
            continue
        # a path may end where a pattern or a placeholder begins: configs/vpt/vpt-*
        if not (ROOT / path).exists() and not list(ROOT.glob(f'{path}*')):
            missing.append(path)
    assert not missing


@pytest.mark.parametrize('page', EXAMPLES)
def test_python_examples_run(page):
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, page, 'exec'), {})
