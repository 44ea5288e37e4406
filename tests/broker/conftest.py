"""What the tests of live brokers share."""

import pytest


@pytest.fixture
def closing():
    """Takes links and sockets that are closed after the test."""
    kept = []

    def keep(link):
        kept.append(link)
        return link

    yield keep
    for link in kept:
        link.close()
