"""The public names of the package. Adding or removing one is a decision, made here as well."""

import cddfuse


def test_public_names() -> None:
    assert sorted(cddfuse.__all__) == [
        "ImagePair",
        "InputError",
        "__version__",
        "create_model",
        "fuse",
        "read_image",
        "read_pair",
        "write_image",
    ]
    assert not [name for name in cddfuse.__all__ if not hasattr(cddfuse, name)]
