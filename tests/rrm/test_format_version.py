import pytest

from rrm.errors import UserError
from rrm.format_version import check_format


def test_a_file_without_a_version_has_the_first() -> None:
    assert check_format(None, 3, "spec.yaml") == 1


def test_known_versions_are_read() -> None:
    assert [check_format(version, 3, "spec.yaml") for version in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("version", [4, 0, -1, "2", 1.0, True])
def test_any_other_version_is_refused_with_the_file_and_the_version(version: object) -> None:
    with pytest.raises(UserError, match=r"^spec\.yaml: ") as caught:
        check_format(version, 3, "spec.yaml")
    assert repr(version) in str(caught.value)
