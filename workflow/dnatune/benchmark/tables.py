"""The speed comparison as tables and as a figure."""

from collections.abc import Mapping, Sequence
from typing import Any


def table(result: Mapping[str, Any]) -> str:
    """Return the measured figures as Markdown tables."""
    where = result["machine"]
    training, scoring = result["training"], result["scoring"]
    lines = [
        f"{where['cpu'] if where['device'] == 'cpu' else where['device']}, {where['cores']} cores, "
        f"{result['precision']}, {result['tokens']['vocabulary']:,} pieces, "
        f"matmul peak {result['matmul_peak'] / 1e9:,.0f} GFLOP/s",
        "",
        f"Training, one optimizer step on {training['examples']} examples: seconds, median (range)",
        "",
        "| recipe | micro-batch | forward + backward | whole step | dnatune is faster by: forward + backward "
        "| whole step | executed ÷ floor FLOPs | MFU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in training["recipes"].items():
        faster = (_times(training[key].get(name)) for key in ("speedup_forward_backward", "speedup_step"))
        lines.append(
            f"| {name} | {row['micro_batch_size']}{', Liger' if row['liger'] else ''} "
            f"| {_range(row['gradient_seconds'])} | {_range(row['step_seconds'])} | {' | '.join(faster)} "
            f"| {row['executed_over_floor']:.2f} | {row['model_flop_utilisation']:.1%} |"
        )
    in_part = [n for n, row in training["recipes"].items() if row["later_rounds_examples"] < training["examples"]]
    if in_part:
        lines += ["", partial_note(in_part, training["part_examples"])]
    lines += [
        "",
        f"Scoring {scoring['examples']} examples with {scoring['labels']} labels: seconds, median (range)",
        "",
        "| recipe | seconds | dnatune is faster by | executed ÷ floor FLOPs | MFU |",
        "|---|---|---|---|---|",
    ]
    for name, row in scoring["recipes"].items():
        lines.append(
            f"| {name} | {_range(row)} | {_times(scoring['speedup'].get(name))} "
            f"| {row['executed_over_floor']:.2f} | {row['model_flop_utilisation']:.1%} |"
        )
    for what, timed in (("Training", training), ("Scoring", scoring)):
        lines += ["", f"{what}, examples of one row: seconds, median (range)", ""]
        lines += ["| examples | tokens | seconds |", "|---|---|---|"]
        lines += [f"| {row['examples']} | {row['tokens']:,} | {_range(row)} |" for row in timed["rows"]]
    ratio = result["optimizer_steps"]["rk4_over_sgd_step"]
    lines += ["", f"An rk4 step costs {_range(ratio)} sgd steps."]
    return "\n".join(lines)


def partial_note(names: Sequence[str], examples: int) -> str:
    """Return the sentence that says that recipes were timed on a part of the batch, of `examples` examples."""
    return (
        f"After the first round, {', '.join(names)} {'was' if len(names) == 1 else 'were'} timed on {examples} of the "
        "examples, and the forward and backward passes are counted once for each such part, because an example had "
        "cost the same in the first round."
    )


def _range(values: Mapping[str, float]) -> str:
    return f"{values['median']:.3g} ({values['least']:.3g}–{values['greatest']:.3g})"


def _times(values: Mapping[str, float] | None) -> str:
    return "" if values is None else f"{values['median']:.1f} × ({values['least']:.1f}–{values['greatest']:.1f})"


def figure(result: Mapping[str, Any]) -> str:
    """Return a figure of the seconds of each recipe and of each row length, as SVG."""
    import altair as alt

    from dnatune.report.figures.base import marks, svg
    from dnatune.report.figures.style import COLOURS, INK

    training, scoring = result["training"], result["scoring"]
    steps = {name: row["step_seconds"] for name, row in training["recipes"].items()}
    bars = [
        *_bars(f"training, {training['examples']} examples", steps),
        *_bars(f"scoring, {scoring['examples']} examples", scoring["recipes"]),
    ]
    panels = []
    for panel in dict.fromkeys(bar["panel"] for bar in bars):
        rows = marks([bar for bar in bars if bar["panel"] == panel])
        recipe = alt.Y("recipe:N", sort=None, title=None)
        seconds = alt.X("median:Q", title="seconds", axis=alt.Axis(tickCount=5))
        panels.append(
            alt.layer(
                rows.mark_bar(color=COLOURS[0], size=18).encode(x=seconds, y=recipe),
                rows.mark_rule(color=INK).encode(x="least:Q", x2="greatest:Q", y=recipe),
                rows.mark_text(align="left", dx=6, color=INK).encode(x="greatest:Q", y=recipe, text="label:N"),
            ).properties(title=panel, width=330, height=28 * len(rows.data.values))
        )
    points = [
        {"panel": what, "tokens": row["tokens"], "relative": row["median"] / min(r["median"] for r in rows)}
        for what, rows in (("training", training["rows"]), ("scoring", scoring["rows"]))
        for row in rows
    ]
    lines = (
        marks(points)
        .mark_line(point=True)
        .encode(
            x=alt.X("tokens:Q", title="tokens of a shared row"),
            y=alt.Y("relative:Q", title="seconds ÷ least", scale=alt.Scale(zero=False)),
            color=alt.Color(
                "panel:N",
                scale=alt.Scale(domain=["training", "scoring"], range=COLOURS[:2]),
                legend=alt.Legend(orient="right"),
            ),
        )
        .properties(title="row length", width=260, height=170)
    )
    return svg(alt.hconcat(alt.vconcat(*panels), lines), "white")


def _bars(panel: str, rows: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    best = rows["shared prefix"]["median"]
    return [
        {
            "panel": panel,
            "recipe": name,
            **{key: row[key] for key in ("median", "least", "greatest")},
            "label": f"{row['median']:.3g} s" + ("" if row["median"] == best else f", {row['median'] / best:.1f} ×"),
        }
        for name, row in rows.items()
    ]
