"""Pointers of Git LFS: small text files that stand in for large files until these are fetched."""

LFS_START = b"version https://git-lfs"
"""The first bytes of every pointer."""


def is_lfs_pointer(beginning: bytes) -> bool:
    """Tell whether a file that begins with these bytes is a pointer of Git LFS."""
    return beginning.startswith(LFS_START)
