"""The looks of all figures: colours, shapes and dashes, for light and for dark screens."""

from collections.abc import Mapping

#: Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), which readers with any colour vision tell apart, without
#: yellow, which is lost on white paper. Shape and dash tell optimizers apart without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ((1, 0), (7, 3), (2, 2), (8, 3, 2, 3), (4, 2), (1, 3), (12, 4))
INK, MUTED, GRID = "#333333", "#767676", "#e3e3e3"
FONT = "Helvetica, Arial, sans-serif"

#: What stands for each colour on a dark screen.
DARK: Mapping[str, str] = {
    INK: "#e6e6e3",
    MUTED: "#a0a3a6",
    GRID: "#33373b",
    "#0072b2": "#4a9fe0",
    "#d55e00": "#ff7b2e",
    "#009e73": "#1fc796",
    "#cc79a7": "#e59bc4",
    "#e69f00": "#f0b840",
    "#56b4e9": "#9bd8f7",
    "#555555": "#c4c6c8",
}


def dark_rules() -> str:
    """Return the lines of a style sheet that give the figures of a page their dark colours."""
    return "\n".join(
        f'svg [{part}="{light}"] {{ {part}: {dark}; }}' for light, dark in DARK.items() for part in ("fill", "stroke")
    )
