# Copyright (c) mmvpt contributors. Licensed under Apache-2.0.
import sys
from importlib import import_module

import pytest

from mmvpt.moved import PLACES


@pytest.mark.parametrize('name', PLACES)
def test_old_name_gives_the_module_at_its_new_place(name, monkeypatch):
    monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.warns(FutureWarning, match=PLACES[name].replace('.', r'\.')):
        module = import_module(name)
    place = import_module(PLACES[name])
    assert module is place
    assert place.__spec__.name == place.__name__ == PLACES[name]
