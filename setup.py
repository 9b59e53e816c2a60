# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
"""Packaging in the OpenMMLab way: extras from requirements/, configs and tools in .mim.

torch and the OpenMMLab packages are never requirements of the wheel: originals and
forks share import names, and pip would overwrite one with the other. docs/install.md
says how to choose.
"""

import os
import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
# What mim and mmvpt look for in the installed package, beside the code.
MIM = ('configs', 'tools', 'model-index.yml')


def requirements(name):
    """Return the lines of ``requirements/<name>.txt`` that name a package."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    bare = (line.split('#')[0].strip() for line in lines)
    return [line for line in bare if line]


def version():
    """Return the version without importing the package."""
    text = (ROOT / 'mmvpt' / 'version.py').read_text()
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


class BuildWithMim(build_py):
    """Add ``mmvpt/.mim`` to what is built.

    A wheel gets copies, made in the build folder, so nothing is left in the source
    tree. An editable install gets links in the source tree, since that is where the
    package is imported from, and a copy there would grow old.
    """

    def run(self):
        """Build the package, then add configs, tools and the model index."""
        if self.editable_mode:
            super().run()
            self.link(ROOT / 'mmvpt' / '.mim')
            return
        # An earlier build may hold modules that no longer exist.
        package = Path(self.build_lib) / 'mmvpt'
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        self.copy(package / '.mim')

    def copy(self, target):
        """Copy what ``MIM`` names into ``target``, without caches."""
        if target.is_symlink():
            target.unlink()
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
        for name in MIM:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=ignore)
            else:
                shutil.copy2(source, target / name)

    def link(self, target):
        """Link what ``MIM`` names in ``target``; copy where links are not allowed."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        try:
            for name in MIM:
                source = os.path.relpath(ROOT / name, target)
                (target / name).symlink_to(source, (ROOT / name).is_dir())
        except OSError:
            self.copy(target)


setup(
    name='mmvpt',
    version=version(),
    description='Visual prompt tuning of frozen Vision Transformers inside OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='mmvpt contributors',
    license='Apache-2.0',
    keywords='visual prompt tuning, parameter-efficient fine-tuning, OpenMMLab',
    classifiers=[
        'Intended Audience :: Science/Research',
        'Operating System :: OS Independent',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    packages=find_packages(include=['mmvpt', 'mmvpt.*']),
    package_data={
        'mmvpt.bench': ['*.yml'],
        'mmvpt.weights': ['known.csv', '*.yml'],
        'mmvpt.zoo': ['data/*.csv', 'data/*.yml'],
        'mmvpt.datasets.prepare': ['tasks.yml'],
    },
    python_requires='>=3.9',
    install_requires=requirements('runtime'),
    extras_require={
        'mim': requirements('mminstall'),
        'upstream': requirements('upstream'),
        'optional': requirements('optional'),
        'tests': requirements('tests'),
        'all': requirements('optional') + requirements('tests'),
    },
    entry_points={'console_scripts': ['mmvpt = mmvpt.__main__:main']},
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
)
