const drawings = () => [...document.querySelectorAll(".js-plotly-plot")];
const isNarrow = () => window.innerWidth < 760;

const heights = new Map();  // of drawings as they were written
const marks = new Map();  // of their logarithmic axes

// The names of the marks along x as they were written.
function namesOf(drawing) {
  if (!drawing.dataset.names) drawing.dataset.names = JSON.stringify(drawing.layout.xaxis.ticktext || []);
  return JSON.parse(drawing.dataset.names);
}

// On a narrow page a legend stands below its figure, texts beside points are left to the pointer, and every second mark is drawn.
function layOut(drawing) {
  if (!drawing.offsetParent) return;  // in a closed fold, where it has no width
  if (drawing.closest(".optuna")) {  // Optuna's layout stays; a narrow page scrolls it
    Plotly.Plots.resize(drawing);
    return;
  }
  if (!heights.has(drawing)) heights.set(drawing, drawing.layout.height);
  if (!marks.has(drawing)) marks.set(drawing, drawing.layout.xaxis.type === "log" ? drawing.layout.xaxis.tickvals : null);
  const height = heights.get(drawing), ticks = marks.get(drawing), narrow = isNarrow();
  const rows = drawing.data.filter((trace) => trace.showlegend !== false).length;
  const isBelow = narrow && drawing.layout.showlegend;
  const change = {
    "legend.orientation": isBelow ? "h" : "v",
    "legend.x": isBelow ? 0 : 1.02,
    "legend.y": isBelow ? -0.28 : 1,
    "legend.yanchor": "top",
    height: isBelow ? height + 20 * rows : height,
    autosize: true,
  };
  const names = namesOf(drawing);
  if (ticks && ticks.length > 5) {
    const isShown = (_, place) => !narrow || place % 2 === 0;
    change["xaxis.tickvals"] = ticks.filter(isShown);
    change["xaxis.ticktext"] = names.filter(isShown);
  } else if (drawing.data[0].type === "heatmap") {
    change["xaxis.ticktext"] = names.map((name) => (narrow ? name.split("<br>")[0] : name));
  }
  drawing.data.forEach((trace, number) => {
    if (trace.mode && trace.text) Plotly.restyle(drawing, { mode: narrow ? trace.mode.replace("+text", "") : `${trace.mode.replace("+text", "")}+text` }, [number]);
    if (trace.type === "heatmap") Plotly.restyle(drawing, { showscale: !narrow }, [number]);
  });
  Plotly.relayout(drawing, change);
}

function openFold(target) {
  const fold = target && target.closest("details");
  if (fold) fold.open = true;
}

function follow() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  openFold(target);
  if (target) target.scrollIntoView();
}

window.addEventListener("load", () => { drawings().forEach(layOut); if (location.hash) follow(); });
window.addEventListener("resize", () => drawings().forEach(layOut));
window.addEventListener("hashchange", follow);
document.querySelectorAll("a[href^='#']").forEach((link) => link.addEventListener("click", () => openFold(document.querySelector(link.hash))));
document.querySelectorAll("details").forEach((fold) => fold.addEventListener("toggle", () => {
  fold.querySelectorAll(".js-plotly-plot").forEach(layOut);
}));

let opened = [];
window.addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((fold) => { fold.open = true; });
  drawings().forEach((drawing) => { layOut(drawing); Plotly.relayout(drawing, { width: Math.min(drawing.clientWidth, 680) }); });
});
window.addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));

document.querySelectorAll("table.sortable th button").forEach((button) => button.addEventListener("click", () => {
  const head = button.parentNode;
  const place = [...head.parentNode.children].indexOf(head);
  const body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const key = (row) => row.cells[place].textContent.replaceAll(",", "");
  const compare = (a, b) => {
    const [x, y] = [parseFloat(key(a)), parseFloat(key(b))];
    return Number.isNaN(x) || Number.isNaN(y) ? key(a).localeCompare(key(b)) : x - y;
  };
  head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * compare(a, b)));
}));

document.querySelectorAll("input.filter").forEach((input) => input.addEventListener("input", () => {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of input.nextElementSibling.querySelector("tbody").rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
}));

// The boards of "Watch a model think" at the depth of the slider.
document.querySelectorAll(".thinking").forEach((box) => {
  const { kind, grid: [rows, columns], depths, looks, puzzles } = JSON.parse(box.dataset.thinking);
  const slider = box.querySelector("input");
  const block = kind === "sudoku" ? { 4: [2, 2], 6: [2, 3], 9: [3, 3] }[columns] : null;
  const boards = puzzles.map(() => {
    const board = document.createElement("div");
    board.className = "board";
    board.style.gridTemplateColumns = `repeat(${columns}, minmax(${rows === 1 ? "1.6rem" : "0"}, 1fr))`;
    board.style.maxWidth = rows === 1 ? "none" : "15rem";
    for (let place = 0; place < rows * columns; place += 1) {
      const cell = document.createElement("span");
      const [row, column] = [Math.floor(place / columns), place % columns];
      if (block && column && column % block[1] === 0) cell.classList.add("left");
      if (block && row && row % block[0] === 0) cell.classList.add("above");
      board.append(cell);
    }
    return board;
  });
  box.querySelector(".boards").append(...boards);
  const draw = () => {
    const at = Number(slider.value), texts = [];
    puzzles.forEach(({ unknown, labels, frames }, number) => {
      let right = 0;
      frames[at].forEach((token, place) => {
        const cell = boards[number].children[place], [text, colour] = looks[token];
        const isRight = at > 0 && unknown[place] && token === labels[place];
        right += isRight;
        cell.textContent = text;
        cell.style.background = colour;
        cell.classList.toggle("right", isRight);
        cell.classList.toggle("wrong", at > 0 && unknown[place] && !isRight);
      });
      texts.push(`${right} of ${unknown.reduce((sum, one) => sum + one, 0)}`);
    });
    box.querySelector("output").textContent = at ? `${depths[at]}: ${texts.join(", ")} unknown tokens right` : "0: the puzzle";
  };
  slider.addEventListener("input", draw);
  draw();
});
