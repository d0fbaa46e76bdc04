"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const SIDE = 192; // pixels at which masks are drawn, whatever the size they are kept in
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

function make(name, parent, props = {}, ...children) {
  const element = Object.assign(document.createElement(name), props);
  element.append(...children);
  parent?.append(element);
  return element;
}

// Tabs: without this script all parts stand below each other.
function tabs() {
  const bar = document.querySelector("nav");
  const parts = [...document.querySelectorAll("section")];
  const buttons = parts.map((part) => {
    const button = make("button", bar, { type: "button", id: `tab-${part.id}` }, part.dataset.title);
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", part.id);
    part.setAttribute("role", "tabpanel");
    part.setAttribute("aria-labelledby", button.id);
    button.onclick = () => {
      show(part.id);
      history.replaceState(null, "", `#show=${part.id}`); // no element's name: nothing scrolls
    };
    return button;
  });
  const frames = Math.max(0, ...data.runs.map((run) => run.frames.length));
  function show(id) {
    const at = Math.max(0, parts.findIndex((part) => part.id === id));
    parts.forEach((part, k) => { part.hidden = k !== at; });
    buttons.forEach((button, k) => {
      button.setAttribute("aria-selected", k === at);
      button.tabIndex = k === at ? 0 : -1;
    });
    document.querySelector(".time").hidden = !("time" in parts[at].dataset) || frames < 2;
  }
  bar.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    buttons[next].focus();
    buttons[next].click();
    event.preventDefault();
  };
  show(location.hash.replace("#show=", ""));
}

// Pictures. A sheet holds tiles row by row; each is drawn at SIDE pixels and kept as bytes.
const loaded = new Map();
function sheet(url) {
  if (!loaded.has(url)) {
    const image = new Image();
    image.src = url;
    loaded.set(url, image.decode().then(() => image));
  }
  return loaded.get(url);
}

const scratch = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE })
  .getContext("2d", { willReadFrequently: true });
function tile(image, side, x, y) {
  scratch.drawImage(image, x * side, y * side, side, side, 0, 0, SIDE, SIDE);
  return scratch.getImageData(0, 0, SIDE, SIDE).data;
}

function colour(k) {
  const text = getComputedStyle(document.documentElement).getPropertyValue(`--c${k % 8}`).trim();
  return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
}

// Draw masks, bytes as `tile` returns them, over an image: [mask, colour] each.
function draw(canvas, image, masks, mode) {
  const out = new ImageData(SIDE, SIDE);
  const to = out.data;
  for (let p = 0; p < to.length; p += 4) {
    let [r, g, b] = [image[p], image[p + 1], image[p + 2]];
    for (const [mask, paint] of masks) {
      const m = mask[p] / 255;
      let a = 0;
      let [cr, cg, cb] = paint;
      if (mode === "overlay") a = 0.7 * m;
      else if (mode === "mask") { a = 1; cr = cg = cb = mask[p]; }
      else if (mode === "view") { a = m; cr = cg = cb = 128; }
      else if (edge(mask, p)) a = 1;
      r += (cr - r) * a; g += (cg - g) * a; b += (cb - b) * a;
    }
    to[p] = r; to[p + 1] = g; to[p + 2] = b; to[p + 3] = 255;
  }
  canvas.getContext("2d").putImageData(out, 0, 0);
}

function edge(mask, p) {
  if (mask[p] < 128) return false;
  const row = 4 * SIDE;
  for (const q of [p - 8, p + 8, p - 2 * row, p + 2 * row]) if (!(mask[q] >= 128)) return true;
  return false;
}

const canvas = () => make("canvas", null, { width: SIDE, height: SIDE });

// Masks: of one run a column a mask, of several a column a run, all its masks in their colours.
function maskCells() {
  const box = $("cells");
  if (!box || !data.runs.length) return async () => {};
  const [first] = data.runs;
  const several = !$("embedding"); // a page of several runs, if only one of them has masks
  const columns = several
    ? data.runs.map((run, r) => ({ run, r, title: run.name, masks: [...Array(run.masks).keys()] }))
    : [...Array(first.masks).keys()].map((k) => ({ run: first, r: 0, title: `mask ${k + 1}`, masks: [k] }));
  box.style.setProperty("--columns", columns.length + 1);
  make("b", box, {}, "image");
  for (const column of columns) {
    const head = make("b", box);
    if (!several) make("i", head, { className: "dot" }).style.background = `var(--c${column.masks[0] % 8})`;
    head.append(column.title);
  }
  const cells = [];
  for (let i = 0; i < first.n; i += 1) {
    const original = make("figure", box, { className: "cell" }, canvas());
    cells.push({ i, canvas: original.firstChild, run: first, r: 0, masks: [] });
    for (const column of columns) {
      const figure = make("figure", box, { className: "cell" }, canvas());
      cells.push({ ...column, i, canvas: figure.firstChild, text: make("figcaption", figure) });
    }
  }
  return async (at) => {
    const mode = document.querySelector("#modes input:checked").value;
    const images = await Promise.all(data.runs.map((run) => sheet(run.images)));
    const frames = data.runs.map((run) => run.frames[frameAt(run, at)]);
    const sheets = await Promise.all(frames.map((frame) => sheet(frame.sheet)));
    for (const cell of cells) {
      const { run, r, i } = cell;
      const image = tile(images[r], run.side, i, 0);
      const masks = cell.masks.map((k) => [tile(sheets[r], run.side, k, i), colour(k)]);
      draw(cell.canvas, image, masks, mode);
      if (!cell.text) continue;
      const share = cell.masks.map((k) => percent(frames[r].removed[i][k])).join(" · ");
      const hurts = frames[r].hurts && cell.masks.length === 1
        ? `, moves ${frames[r].hurts[i][cell.masks[0]].toFixed(2)}` : "";
      cell.text.textContent = share + hurts;
    }
  };
}

// Health of one run: of each mask what it removes, image by image, and its mean over images.
function distributions() {
  const box = $("distributions");
  const [run] = data.runs;
  if (!box || !run.frames.some((frame) => frame.histograms)) return async () => {};
  const cards = make("div", box, { className: "cards" });
  const parts = [...Array(run.masks).keys()].map((k) => {
    const card = make("div", cards, { className: "card" });
    const head = make("h4", card);
    make("i", head, { className: "dot" }).style.background = `var(--c${k % 8})`;
    head.append(`mask ${k + 1}`);
    const mean = make("canvas", card, { width: SIDE, height: SIDE, title: "mean over images" });
    const bars = make("div", card, { className: "bars" });
    bars.style.setProperty("--colour", `var(--c${k % 8})`);
    make("div", card, { className: "axis" }, make("span", null, {}, "0 %"), make("span", null, {}, "removed of an image"), make("span", null, {}, "100 %"));
    return { mean, bars, text: make("p", card) };
  });
  make("p", box, { className: "hint" }, "Left: the mean of each mask over more images. What can be made out in it does not come from the image; one tone all over is healthy. Right: how many images lose how much.");
  make("h3", box, {}, "Overlap");
  const table = make("table", make("div", box, { className: "scroll" }));
  make("p", box, { className: "hint" }, "Share of what the mask of the row removes that the mask of the column removes, too.");
  return async (at) => {
    const frame = run.frames[frameAt(run, at)];
    if (!frame.histograms) return;
    const masks = await sheet(frame.sheet);
    parts.forEach(({ mean, bars, text }, k) => {
      const grey = tile(masks, run.side, k, run.n);
      draw(mean, grey, [], "mask");
      const most = Math.max(...frame.histograms[k]);
      bars.replaceChildren(...frame.histograms[k].map((n, b) => {
        const bar = make("i", null, { title: `${5 * b}–${5 * b + 5} %: ${n} of ${frame.seen} images` });
        bar.style.height = `${100 * n / most}%`;
        return bar;
      }));
      text.textContent = `removes ${percent(frame.means[k])} on average; ${percent(frame.empty[k])} of images left whole`;
    });
    const names = frame.overlap.map((_, k) => `mask ${k + 1}`);
    const head = make("tr", null, {}, make("th"), ...names.map((name) => make("th", null, {}, name)));
    table.replaceChildren(make("thead", null, {}, head), make("tbody", null, {}, ...frame.overlap.map((row, i) => {
      const line = make("tr", null, {}, make("th", null, {}, names[i]));
      row.forEach((share, j) => {
        const cell = make("td", line, { className: "heat" }, i === j ? "" : percent(share));
        cell.style.setProperty("--heat", i === j ? 0 : share);
      });
      return line;
    })));
  };
}

// Time: one slider for all that has epochs; of several runs, the share of each that is done.
function frameAt(run, at) {
  const longest = Math.max(...data.runs.map((other) => other.frames.length));
  return longest < 2 ? 0 : Math.round(at / (longest - 1) * (run.frames.length - 1));
}

function time(...parts) {
  const longest = Math.max(0, ...data.runs.map((run) => run.frames.length));
  if (!longest) {
    for (const part of parts) part(0);
    return;
  }
  const slider = $("time");
  slider.max = longest - 1;
  slider.value = longest - 1;
  async function show() {
    const at = Number(slider.value);
    const epochs = [...new Set(data.runs.map((run) => run.frames[frameAt(run, at)]?.epoch))];
    $("when").textContent = epochs.length > 3 ? `${percent(at / Math.max(1, longest - 1))} done` : `epoch ${epochs.join(", ")}`;
    for (const part of parts) await part(at);
  }
  slider.oninput = show;
  document.querySelectorAll("#modes input").forEach((input) => { input.onchange = show; });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  let playing = null;
  $("play").onclick = () => {
    const stop = () => { clearInterval(playing); playing = null; $("play").textContent = "▶"; };
    if (playing) return stop();
    if (slider.value === slider.max) slider.value = 0;
    $("play").textContent = "⏸";
    show();
    playing = setInterval(() => {
      if (slider.value === slider.max) return stop();
      slider.stepUp();
      show();
    }, Math.max(150, 4000 / longest));
  };
  show();
}

// Curves: panels that share the cursor and the line of the slider.
function curves() {
  const box = $("plots");
  if (!box) return async () => {};
  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let now = null; // the step of the slider
  const height = 200;
  const drawn = [];

  const short = (digits) => (value) => (value == null ? "" : Number(value.toPrecision(digits)).toString());
  const decades = [0, ...[...Array(12).keys()].map((k) => 10 ** (k - 2))];

  function panel(plot, figure) {
    const axis = { stroke: () => ink("--soft"), grid: { stroke: () => ink("--line"), width: 1 },
      ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const number = (u, value) => short(4)(value);
    const drawing = new uPlot({
      width: figure.clientWidth,
      height,
      cursor: { sync: { key: "step" }, y: false },
      scales: { x: { time: false, range: (u, low, high) => [low === plot.x[0] ? 0 : low, high] },
        y: plot.asinh ? { distr: 4, asinh: 0.01 } : {} },
      axes: [{ ...axis, size: 28 }, {
        ...axis,
        size: 52,
        values: (u, ticks) => ticks.map(short(3)),
        ...(plot.asinh && { splits: (u, a, low, high) => decades.filter((at) => low <= at && at <= high) }),
      }],
      series: [{ label: $("embedding") ? "step" : "epoch", value: number }, ...plot.curves.map((curve) => ({
        label: curve.label,
        stroke: () => ink(curve.dashed ? "--ink" : `--c${curve.colour % 8}`),
        width: curve.dashed ? 1 : 1.6,
        dash: curve.dashed ? [5, 4] : undefined,
        spanGaps: true,
        points: { show: curve.y.filter((y) => y != null).length < 20 && !curve.dashed, size: 4 },
        value: number,
      }))],
      hooks: { draw: [(u) => {
        if (now === null) return;
        const x = u.valToPos(now, "x", true);
        if (x < u.bbox.left - 1 || x > u.bbox.left + u.bbox.width + 1) return;
        u.ctx.fillStyle = ink("--soft");
        u.ctx.fillRect(x - 1, u.bbox.top, devicePixelRatio, u.bbox.height);
      }] },
    }, [plot.x, ...plot.curves.map((curve) => curve.y)], figure);
    for (const name of figure.querySelectorAll(".u-series:not(:first-child) th")) {
      name.tabIndex = 0;
      name.setAttribute("role", "button");
      name.onkeydown = (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        name.click();
        event.preventDefault();
      };
    }
    return drawing;
  }

  for (const plot of data.plots) {
    const figure = make("figure", box, { className: "panel" }, make("figcaption", null, {}, plot.title));
    let made = null;
    new ResizeObserver(() => { // it has a width once its tab is shown
      const width = figure.clientWidth;
      if (!width || made?.width === width) return;
      if (made) made.setSize({ width, height });
      else drawn.push(made = panel(plot, figure));
    }).observe(figure);
  }
  return async (at) => {
    const epochs = [...new Set(data.runs.map((run) => run.frames[frameAt(run, at)]?.epoch))];
    now = epochs.length === 1 ? epochs[0] * data.stepsPerEpoch : null;
    drawn.forEach((u) => u.redraw(false));
  };
}

// Embeddings: rows of neighbours, and a map whose pictures are tiles of one sheet.
function embedding() {
  const all = data.embedding;
  if (!all) return;
  function thumb(parent, k, name = "thumb") {
    const element = make("span", parent, { className: name });
    element.style.backgroundImage = "var(--thumbs)";
    element.style.aspectRatio = "1";
    element.style.backgroundSize = `${100 * all.columns}% ${100 * all.rows}%`;
    const [x, y] = [k % all.columns, Math.floor(k / all.columns)];
    element.style.backgroundPosition =
      `${all.columns > 1 ? 100 * x / (all.columns - 1) : 0}% ${all.rows > 1 ? 100 * y / (all.rows - 1) : 0}%`;
    return element;
  }
  const name = (k) => (all.labels ? all.classes[all.labels[k]] ?? `class ${all.labels[k]}` : "");
  function row(parent, query) {
    [query, ...all.nearest[query]].forEach((k, at) => {
      const other = all.labels && all.labels[k] !== all.labels[query];
      const figure = make("figure", parent, { className: other ? "other" : "" });
      thumb(figure, k, at ? "thumb" : "thumb query");
      const cosine = at ? all.cosine[query][at - 1].toFixed(2) : "";
      make("figcaption", figure, {}, [name(k), cosine].filter(Boolean).join(" "));
    });
  }
  document.documentElement.style.setProperty("--thumbs", `url("${all.sheet}")`);
  $("neighbours").style.setProperty("--columns", (all.nearest[0]?.length ?? 0) + 1);
  all.queries.forEach((k) => row($("neighbours"), k));

  const map = $("map");
  const thumbs = all.places.map((_, k) => {
    const element = thumb(map, k);
    element.title = name(k);
    element.onclick = () => pick(k);
    return element;
  });
  let picked = all.queries[0];
  function pick(k) {
    picked = k;
    const near = new Set(all.nearest[k]);
    thumbs.forEach((element, j) => {
      element.classList.toggle("query", j === k);
      element.classList.toggle("near", near.has(j));
    });
    $("picked").replaceChildren();
    row($("picked"), k);
  }
  map.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    pick((picked + step + thumbs.length) % thumbs.length);
    event.preventDefault();
  };
  const components = $("components");
  for (let k = 0; k + 1 < all.explained.length; k += 2) {
    make("option", components, { value: k }, `${k + 1} and ${k + 2} (${percent(all.explained[k] + all.explained[k + 1])} of the variance)`);
  }
  function place() {
    const k = Number(components.value || 0);
    const size = Number($("size").value);
    thumbs.forEach((element, j) => {
      element.style.width = `${size}px`;
      element.style.left = `${3 + 94 * all.places[j][k]}%`;
      element.style.top = `${97 - 94 * all.places[j][k + 1]}%`;
    });
  }
  components.onchange = place;
  $("size").oninput = place;
  if (innerWidth < 600) $("size").value = 18;
  place();
  pick(picked);
}

function copies() {
  for (const button of document.querySelectorAll(".copy")) {
    button.onclick = async () => {
      const text = button.previousElementSibling;
      getSelection().selectAllChildren(text); // for where a page may not write to the clipboard
      try {
        await navigator.clipboard.writeText(text.textContent);
        button.textContent = "copied";
      } catch {
        button.textContent = "selected";
      }
    };
  }
}

tabs();
time(maskCells(), distributions(), curves());
embedding();
copies();
