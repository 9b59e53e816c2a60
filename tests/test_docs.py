# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""What the documentation names exists, and its Python examples run."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob('*.md'), *ROOT.glob('docs/**/*.md'), *ROOT.glob('projects/**/*.md')]
)
LINK = re.compile(r'\]\((?!https?:|#|mailto:)([^)#]+)')
NAMED = re.compile(r'(?<![\w./-])((?:configs|tools|docs|mmvpt|tests)/[\w./-]*\w)')
EXAMPLES = ['docs/get_started.md']
# Files that a page tells the reader to create, and what an installation makes.
TO_CREATE = ('configs/own/', 'mmvpt/models/prompts/echo.py', 'mmvpt/apis', 'mmvpt/.mim')


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


def test_every_method_has_its_picture(tmp_path):
    methods = ROOT / 'docs/methods'
    gallery = (methods / 'index.md').read_text()
    pages = {page.stem for page in methods.glob('*.md')} - {'index', 'add_your_own'}
    assert set(re.findall(r'pictures/(\w+)\.svg\)\]\(\1\.md\)', gallery)) == pages
    for name in pages:
        assert f'](pictures/{name}.svg)' in (methods / f'{name}.md').read_text()
    runpy.run_path(str(methods / 'draw.py'))['main'](tmp_path)
    drawn = {
        path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob('*.svg')
    }
    old = [p for p, text in drawn.items() if (ROOT / 'docs' / p).read_text() != text]
    assert not old, 'python docs/methods/draw.py brings the pictures up to date'
    assert {p.stem for p in drawn} == {*pages, 'method'}
