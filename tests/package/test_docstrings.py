"""Every public docstring: its sections, and its examples."""

import doctest
import inspect

import numpy as np
import pytest
from contract import contracts

import lapsum

PUBLIC = [getattr(lapsum, name) for name in lapsum.__all__]


@pytest.mark.parametrize("thing", PUBLIC, ids=lambda f: f.__name__)
def test_examples_run(thing):
    finder = doctest.DocTestFinder(recurse=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    with np.printoptions(legacy=False):
        for test in finder.find(thing, thing.__name__, globs={}):
            runner.run(test)
    assert runner.failures == 0
    assert runner.tries > 0 or thing is lapsum.Linearization


@pytest.mark.parametrize("func", [c.func for c in contracts()], ids=lambda f: f.__name__)
def test_an_operator_documents_all_of_itself(func):
    doc = inspect.getdoc(func)
    assert len(doc.splitlines()[0]) <= 100
    assert ".. math::" in doc
    sections = ("Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples")
    places = [doc.index(f"{section}\n{'-' * len(section)}") for section in sections]
    assert places == sorted(places)
    for name in inspect.signature(func).parameters:
        assert f"\n{name} : " in doc, name
