"""Searches for a learning rate."""

from dnatune.comparison import learning_rates


def trial(rate, loss=None, mcc=0.0, steps=10, seconds=1.0, optimizer="sgd", stages=1, place=("m", "t")):
    """A trial; without a loss, one that diverged."""
    record = {
        "status": "completed" if loss is not None else "diverged",
        "diverged": None if loss is not None else {"step": steps, "reason": "the loss is not finite"},
        "model": place[0],
        "task": place[1],
        "optimizer": optimizer,
        "settings": {"optimizer": {"hyperparameters": {"learning_rate": rate}}},
        "steps": steps,
        "gradient_evaluations": steps * stages,
        "wall_seconds": seconds,
        "gpu_seconds": 0.0,
    }
    scores = {"dev_loss": loss, "dev_accuracy": 0.5, "dev_mcc": mcc, "dev_f1_macro": 0.5}
    return learning_rates.Trial(record, {} if loss is None else scores)


def chosen(*found, metric="dev_loss", truth=(1, 0) * 200, optimizer="sgd", place=("m", "t")):
    return learning_rates.choose(found, truth, *place, optimizer, ("no", "yes"), metric)


def searched(optimizer, losses, steps=10, stages=1, model="tiny", task="prom_core_all"):
    """Return choice.json of a search over rates a factor of ten apart; a loss of None is a trial that diverged."""
    place = (model, task)
    found = [
        trial(10.0**power, loss, steps=steps, optimizer=optimizer, stages=stages, place=place)
        for power, loss in enumerate(losses, start=-4)
    ]
    return chosen(*found, optimizer=optimizer, place=place)
