"""Baselines that do not suit every task."""


class NotApplicable(Exception):  # noqa: N818, for it is no error: the table shows it
    """A baseline does not suit a task's data; the text says why, in one clause without a full stop."""
