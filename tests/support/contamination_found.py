"""A sample of contamination.json."""

from dnatune.evaluation.contamination import Contamination

_FOUND = {
    "model": "tiny", "task": "prom_core_all", "classes": 2, "items": 60, "mcc": 0.95, "mcc_within_gc_p": 0.0001,
    "control_mcc": 0.5, "permuted_words_mcc": -0.95, "permuted_words_within_gc_p": 1.0, "labels_p": 0.0001,
    "labels_with_dev_p": 0.0002, "other_strand_p": 0.5, "hard_items": 15, "hard_accuracy": 0.9,
    "other_strand_hard_accuracy": 0.55, "accuracy": 0.97, "changed_accuracy": 0.7, "excess_loss": 0.2,
    "excess_loss_p": 0.001,
    "dev_items": 60, "dev_accuracy": 0.6, "dev_gap": 0.3, "dev_gap_p": 0.001, "manifest_items": 10,
    "in_manifest": [1, 5],
    "signs": ["knows_the_labels", "as_good_as_trained", "knows_the_items", "better_than_on_dev", "in_manifest"],
}  # fmt: skip


def known_base(**changes) -> Contamination:
    """Return contamination.json of a base model that knows the test items, some of its values changed."""
    return Contamination(**_FOUND | changes)
