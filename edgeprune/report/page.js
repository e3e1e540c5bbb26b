"use strict";
// Draws the figures with plotly, in the colours of the page; no text becomes markup here.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)");
  const config = { displaylogo: false, responsive: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "toImage"] };
  const selected = {};

  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const names = ["ink", "muted", "line", "track", "card", "clear", "blue", "vermillion", "green", "purple", "orange", "sky"];
  const palette = () => {
    const style = getComputedStyle(root);
    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  };

  // The figures name their colours; only values of these keys are looked up.
  const coloured = (part, colours) => {
    if (Array.isArray(part)) return part.map((each) => coloured(each, colours));
    if (part === null || typeof part !== "object") return part;
    const found = {};
    for (const [key, value] of Object.entries(part)) {
      const named = (key === "color" || key === "fillcolor") && Object.hasOwn(colours, value);
      found[key] = named ? colours[value] : coloured(value, colours);
    }
    return found;
  };

  const axis = (given, colours) => ({
    automargin: true, gridcolor: colours.line, linecolor: colours.line, zerolinecolor: colours.line,
    tickcolor: colours.line, ticklen: 4, fixedrange: touch.matches, ...given,
    title: { ...(given.title || {}), standoff: 14 },
  });

  const outlined = (trace, colours) => {
    const marker = trace.marker;
    const filled = marker && typeof marker.symbol === "string" && !marker.symbol.includes("open");
    if (filled && trace.mode === "markers") marker.line = { width: 1.5, color: colours.card };
    return trace;
  };

  const draw = (node) => {
    const { data, layout } = figures[node.dataset.figure].plot;
    const colours = palette();
    const width = node.clientWidth;
    const narrow = width < 560;
    const entries = data.filter((trace) => trace.showlegend !== false).length;
    const legend = layout.showlegend !== false && data.length > 1;
    const room = legend ? (narrow ? 22 * entries : 22 * Math.ceil(entries / 3)) : 0;
    const drawn = coloured(layout, colours);
    const traces = coloured(data, colours).map((trace) => outlined(trace, colours));
    const family = getComputedStyle(document.body).fontFamily;
    Plotly.react(node, traces, {
      ...drawn,
      width, height: (layout.height || 400) + room,
      autosize: false, showlegend: legend,
      paper_bgcolor: colours.clear, plot_bgcolor: colours.clear,
      font: { family, size: 13, color: colours.ink },
      margin: { l: 8, r: narrow ? 12 : 24, t: (layout.annotations || []).length ? 30 : 10, b: 8 },
      xaxis: axis(drawn.xaxis || {}, colours), yaxis: axis(drawn.yaxis || {}, colours),
      legend: { orientation: "h", x: 0, xanchor: "left", yref: "container", y: 0, yanchor: "bottom", font: { color: colours.ink } },
      hoverlabel: { bgcolor: colours.card, bordercolor: colours.muted, align: "left", font: { family, size: 12, color: colours.ink } },
      dragmode: touch.matches ? false : "zoom",
      transition: { duration: 0 },
    }, { ...config, displayModeBar: narrow ? false : "hover" });
    if (!node.dataset.listens && figures[node.dataset.figure].marks.length) listen(node);
  };

  const element = (tag, text, kind) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const copies = async (pre, button) => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
    } catch {
      const range = document.createRange();
      range.selectNodeContents(pre);
      const selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };

  const show = (key, number) => {
    const mark = figures[key].marks[number];
    const panel = document.querySelector(`[data-panel="${key}"]`);
    const list = document.createElement("dl");
    for (const [name, value] of mark.facts) {
      const row = document.createElement("div");
      row.append(element("dt", name), element("dd", value));
      list.append(row);
    }
    const parts = [element("h3", mark.title), list];
    if (mark.command) {
      const box = element("div", "", "command");
      const pre = element("pre", mark.command);
      const button = element("button", "Copy", "copy");
      button.type = "button";
      pre.tabIndex = 0;
      button.addEventListener("click", () => copies(pre, button));
      box.append(element("p", mark.about, "name"), pre, button);
      parts.push(box);
    } else if (mark.about) {
      parts.push(element("p", mark.about, "hint"));
    }
    panel.replaceChildren(...parts);
    selected[key] = number;
  };

  const places = (node) => {
    const found = [];
    node.data.forEach((trace, curve) => {
      if (trace.visible === "legendonly" || !trace.customdata) return;
      trace.customdata.forEach((number, point) => found.push({ number, curve, point }));
    });
    return found;
  };

  const listen = (node) => {
    const key = node.dataset.figure;
    node.dataset.listens = "yes";
    node.on("plotly_click", (event) => {
      const number = event.points.map((point) => point.customdata).find((each) => each !== undefined);
      if (number !== undefined) show(key, number);
    });
    node.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step || event.target !== node) return;
      event.preventDefault();
      const all = places(node);
      if (!all.length) return;
      const now = all.findIndex((place) => place.number === selected[key]);
      const next = all[now < 0 ? (step > 0 ? 0 : all.length - 1) : (now + step + all.length) % all.length];
      show(key, next.number);
      Plotly.Fx.hover(node, [{ curveNumber: next.curve, pointNumber: next.point }]);
    });
  };

  const nodes = [...document.querySelectorAll(".plot")];
  const drawAll = () => {
    nodes.forEach(draw);
    root.dataset.drawn = String(nodes.length);
  };

  const theme = document.getElementById("theme");
  const label = () => { theme.textContent = dark() ? "Light" : "Dark"; theme.setAttribute("aria-label", `Switch to ${theme.textContent.toLowerCase()} colours`); };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); drawAll(); });
  prefersDark.addEventListener("change", () => { label(); drawAll(); });
  for (const button of document.querySelectorAll(".copy")) {
    button.hidden = false;
    button.addEventListener("click", () => copies(button.parentElement.querySelector("pre"), button));
  }

  let pending;
  let before = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === before) return;
    before = document.body.clientWidth;
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(drawAll);
  }).observe(document.body);

  // On paper: light, all tables open, as wide as the sheet.
  let kept;
  addEventListener("beforeprint", () => {
    kept = { theme: root.dataset.theme, open: [...document.querySelectorAll("details[open]")] };
    root.dataset.theme = "light";
    for (const each of document.querySelectorAll("details")) each.open = true;
    drawAll();
  });
  addEventListener("afterprint", () => {
    if (!kept) return;
    if (kept.theme) root.dataset.theme = kept.theme; else delete root.dataset.theme;
    for (const each of document.querySelectorAll("details")) each.open = kept.open.includes(each);
    drawAll();
  });

  label();
  drawAll();
})();
