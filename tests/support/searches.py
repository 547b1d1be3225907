"""Searches for a learning rate."""

from dnatune.comparison import learning_rates
from dnatune.settings.tuning import ChooseSettings
from run_records import run_record

#: Dev loss of knowing only the class shares; above the losses that tests give, unless they mean it.
FLOOR = 5.0


def trial(rate, loss=None, mcc=0.0, steps=10, seconds=1.0, optimizer="sgd", stages=1, place=("m", "t"), seed=0):
    """A trial; without a loss, one that diverged."""
    end = {"step": steps, "loss": None, "gradient_norm": None, "reason": "the loss is not finite"}
    record = run_record(
        optimizer,
        rate,
        diverged=end if loss is None else None,
        model=place[0],
        task=place[1],
        steps=steps,
        gradient_evaluations=steps * stages,
        wall_seconds=seconds,
        seed=seed,
        class_share_loss=FLOOR,
    )
    scores = {"dev_loss": loss, "dev_accuracy": 0.5, "dev_mcc": mcc, "dev_f1_macro": 0.5}
    return learning_rates.Trial(record, {} if loss is None else scores)


def chosen(*found, metric="dev_loss", truth=(1, 0) * 200, optimizer="sgd", place=("m", "t")):
    of = dict(zip(("model", "task"), place, strict=True), optimizer=optimizer, labels=("no", "yes"))
    return learning_rates.choose(found, truth, ChooseSettings(**of, metric=metric, dev_examples=len(truth), seed=0))


def searched(optimizer, losses, steps=10, stages=1, model="tiny", task="prom_core_all"):
    """Return choice.json of a search over rates a factor of ten apart; a loss of None is a trial that diverged."""
    place = (model, task)
    found = [
        trial(10.0**power, loss, steps=steps, optimizer=optimizer, stages=stages, place=place)
        for power, loss in enumerate(losses, start=-4)
    ]
    return chosen(*found, optimizer=optimizer, place=place)
