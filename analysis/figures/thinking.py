"""How a model thinks: its answers to a few test puzzles after each supervision step, as people draw the task."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from analysis.data.tables import Tables
from analysis.figures.data import FigureData, Series, chosen_cell
from lightning_modules.thinking import read_thinking
from lightning_modules.trial_folder import THINKING

MAX_FRAMES = 64  # depths that are shown; more are thinned out evenly
FRAME_MS, LAST_FRAME_MS = 500, 2000  # how long a frame of a GIF is seen
# The ten colours in which ARC is drawn, and those of mazes.
ARC_COLOURS = ("#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25")
MAZE_COLOURS = {1: "#444444", 5: "#9ecae1"}
MAZE_TEXTS = {3: "S", 4: "G"}
PAPER, RIGHT, WRONG = "#ffffff", "#00694f", "#b3261e"


@dataclass(frozen=True)
class Look:
    """How one token is drawn."""

    text: str
    colour: str = PAPER


@dataclass(frozen=True)
class Thought:
    """The answers of one trial to a few puzzles of L tokens at depths 1 .. D, and what each step changes over all test rows."""

    trial: str  # its settings and seed
    kind: str
    grid: tuple[int, int]  # rows and columns of the canvas
    inputs: np.ndarray  # [puzzles, L]
    labels: np.ndarray  # [puzzles, L]
    unknown: np.ndarray  # [puzzles, L] bool
    answers: np.ndarray  # [puzzles, D, L]
    fixed: np.ndarray  # [D] tokens that became right with each step
    broken: np.ndarray  # [D]

    @property
    def depths(self) -> list[int]:
        """The depths that are shown, from 0 (the puzzle alone) on."""
        last = self.answers.shape[1]
        return sorted({round(depth) for depth in np.linspace(0, last, min(last + 1, MAX_FRAMES))})

    def tokens(self, puzzle: int, depth: int) -> np.ndarray:
        """What is seen of a puzzle at a depth, [L]: given tokens as they are, the others as they are answered."""
        inputs, unknown = self.inputs[puzzle], self.unknown[puzzle]
        seen: np.ndarray = inputs if depth == 0 else np.where(unknown, self.answers[puzzle, depth - 1], inputs)
        return seen

    def is_right(self, puzzle: int, depth: int) -> np.ndarray:
        """Which unknown tokens are answered as the label, [L] bool; all false at depth 0."""
        if depth == 0:
            return np.zeros(self.inputs.shape[1], dtype=bool)
        right: np.ndarray = self.unknown[puzzle] & (self.answers[puzzle, depth - 1] == self.labels[puzzle])
        return right


def find_thought(tables: Tables) -> Thought | None:
    """That of the best cell on validation, its first seed; None where no trial of the cell has the file."""
    if tables.completed.empty:
        return None
    cell, trials = chosen_cell(tables)
    seeds = tables.completed.set_index("fingerprint")["seed"].reindex(trials).sort_values() if "seed" in tables.completed else None
    order = list(trials if seeds is None else seeds.index)
    files = dict(tables.read_files(THINKING, order))
    name = next((name for name in order if name in files), None)
    if name is None:
        return None
    arrays = read_thinking(files[name], f"{THINKING} of trial {name}")
    seed = f", seed {seeds[name]:g}" if seeds is not None else ""
    rows, columns = map(int, arrays["grid"])
    return Thought(
        f"{cell}{seed}", str(arrays["kind"]), (rows, columns), arrays["inputs"], arrays["labels"], arrays["unknown"].astype(bool),
        arrays["answers"], arrays["fixed"], arrays["broken"],
    )  # fmt: skip


def look_of(kind: str, token: int) -> Look:
    """How people draw a token of a task: Sudoku's digits, mazes, ARC's colours; a number for all others."""
    if kind == "sudoku":
        return Look(str(token - 1) if token > 1 else "")
    if kind == "maze":
        return Look(MAZE_TEXTS.get(token, ""), MAZE_COLOURS.get(token, PAPER))
    if kind == "arc":
        return Look("", ARC_COLOURS[token - 2] if 2 <= token < 2 + len(ARC_COLOURS) else PAPER)
    return Look(str(token))


def pages_data(thought: Thought) -> dict[str, object]:
    """What the slider of a page draws: the look of each token, and for each puzzle its labels and its tokens at each depth."""
    tokens = np.unique(np.concatenate([thought.inputs.ravel(), thought.answers.ravel()]))
    puzzles = [
        {
            "unknown": thought.unknown[number].astype(int).tolist(),
            "labels": thought.labels[number].tolist(),
            "frames": [thought.tokens(number, depth).tolist() for depth in thought.depths],
        }
        for number in range(len(thought.inputs))
    ]
    looks = {int(token): [look.text, look.colour] for token in tokens if (look := look_of(thought.kind, int(token)))}
    return {"kind": thought.kind, "grid": thought.grid, "depths": thought.depths, "looks": looks, "puzzles": puzzles}


def draw_steps(thought: Thought) -> FigureData:
    """Tokens that each supervision step fixes and breaks, over all test rows."""
    depths = [float(depth) for depth in range(1, len(thought.fixed) + 1)]
    series = [
        Series("fixed", depths, thought.fixed.tolist(), color=2),
        Series("broken", depths, thought.broken.tolist(), color=1, dash=1),
    ]
    return FigureData(
        "thinking_steps", "What each step fixes and breaks",
        f"Unknown tokens of all test rows that become right, and that become wrong, with each supervision step ({thought.trial}).",
        "supervision step", "tokens", series,
    )  # fmt: skip


def write_gif(thought: Thought) -> bytes:
    """An animation of the answers by depth, the puzzles side by side."""
    frames = [_frame(thought, depth) for depth in thought.depths]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    drawn = BytesIO()
    frames[0].save(drawn, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return drawn.getvalue()


def _frame(thought: Thought, depth: int) -> Image.Image:
    rows, columns = thought.grid
    count = len(thought.inputs)
    stacked = rows == 1  # a sequence is wide: one below the other
    shape = (count, 1) if stacked else (1, count)
    size = (max(4.0, 0.3 * columns), 0.8 * count + 0.4) if stacked else (2.6 * count, 2.9)
    canvas = Figure(figsize=size, dpi=80)
    for number, axes in enumerate(canvas.subplots(*shape, squeeze=False).flat):
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        axes.set_aspect("equal")
        axes.set_axis_off()
        right, unknown = thought.is_right(number, depth), thought.unknown[number]
        for place, token in enumerate(thought.tokens(number, depth)):
            look, (row, column) = look_of(thought.kind, int(token)), divmod(place, columns)
            is_wrong = depth > 0 and unknown[place] and not right[place]
            edge, line, layer = (WRONG, 1.5, 2) if is_wrong else ("#999999", 0.4, 1)
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=look.colour, edgecolor=edge, linewidth=line, zorder=layer))
            ink = WRONG if is_wrong else RIGHT if right[place] else "black"
            letter = 60 / max(columns, 6)  # size in points
            axes.text(column + 0.5, row + 0.5, look.text, ha="center", va="center", color=ink, fontsize=letter, zorder=3)
    canvas.suptitle(f"after {depth} supervision steps" if depth else "the puzzle", fontsize=9)
    drawn = BytesIO()
    canvas.savefig(drawn, format="png")
    return Image.open(drawn).convert("P", palette=Image.Palette.ADAPTIVE)
