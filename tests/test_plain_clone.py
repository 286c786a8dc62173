"""A clone without `../shared` still checks the numbers: few tests need what is not committed.

Those of `tests/io` are beside that: real files of cameras and scanners, which show what none made
up does.
"""

import pytest


def test_few_tests_need_files_that_are_not_committed(request: pytest.FixtureRequest) -> None:
    marked = [item for item in request.session.items if item.get_closest_marker("shared")]
    names = {item.nodeid.partition("[")[0] for item in marked}
    assert len([name for name in names if not name.startswith("tests/io/")]) <= 5
