"""The error of a publication."""

from dnatune.errors import DnatuneError


class PublishError(DnatuneError):
    """A publication that its target refuses, or that did not arrive."""

    exit_status = 7
