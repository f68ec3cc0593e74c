/* The curve, drawn from the page's own table, and a page that keeps up: progress from /projects/<id>/status, and as soon
   as something else has changed, the sections that differ from the page as the server renders it now. */
"use strict";

const LOOK_EVERY_MS = 2000;
const RENEW_EVERY_MS = 5000; // while people label something changes all the time, and a page is computed for each of us
const page = document.getElementById("page");
const drawn = new Map(); // figure -> its uPlot
let against = "examples";

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (text) => (text === "" || text === undefined ? null : Number(text));
const three = (value) => (value === null ? "–" : value.toFixed(3));

/* Points in the order of the axis; those without a place on it (no minutes known) are left out. */
function pointsOf(figure) {
  const rows = [...figure.querySelectorAll("table.points tbody tr")].map((row) => row.dataset);
  return rows
    .map((row) => ({
      version: row.version, refused: row.state === "refused", heldOut: row.on === "held_out", serves: row.serves === "yes",
      examples: number(row.examples), minutes: number(row.minutes),
      score: number(row.score), low: number(row.low), high: number(row.high),
    }))
    .filter((point) => point[against] !== null && point.score !== null)
    .reverse()
    .sort((one, other) => one[against] - other[against]);
}

function draw(figure) {
  const plot = figure.querySelector(".plot");
  if (!plot) return;
  drawn.get(figure)?.destroy();
  plot.replaceChildren();
  plot.hidden = false;
  const points = pointsOf(figure);
  const held = (point) => point.heldOut && !point.refused;
  const fold = (point) => !point.heldOut && !point.refused;
  const ahead = forecast(figure, points.filter(held));
  const pick = (wanted, value) => points.map((point) => (wanted(point) ? point[value] : null)).concat(ahead ? [null] : []);
  const more = (name) => [...points.map((point) => (point === ahead?.from ? point.score : null)), ...(ahead ? [ahead[name]] : [])];
  const data = [
    [...points.map((point) => point[against]), ...(ahead ? [ahead.x] : [])],
    pick(held, "low"), pick(held, "high"), pick(held, "score"), pick(fold, "score"), pick((point) => point.refused, "score"),
    more("low"), more("high"), more("score"),
  ];
  drawn.set(figure, new uPlot(options(plot, figure, points, ahead), data, plot));
}

/* Where the advice sees the score after the next labels, beyond the newest version that passed; nothing by minutes. */
function forecast(figure, held) {
  const { more, gain, low, high } = figure.dataset;
  if (more === undefined || against !== "examples" || held.length === 0) return null;
  const from = held.at(-1);
  const after = (by) => Math.min(1, Math.max(0, from.score + Number(by)));
  return { from, x: from.examples + Number(more), score: after(gain), low: after(low), high: after(high) };
}

function options(plot, figure, points, ahead) {
  const accent = color("--accent"), muted = color("--muted"), card = color("--card");
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: muted, font, labelFont: font, grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  const unseen = { stroke: "transparent", spanGaps: true, points: { show: false } };
  const dots = (stroke, fill, size) => ({ points: { show: true, size, stroke, fill, width: 2 } });
  const lowest = Math.min(...points.map((point) => point.low ?? point.score), ahead?.low ?? 1);
  const highest = Math.max(...points.map((point) => point.high ?? point.score), ahead?.high ?? 0);
  const most = Math.max(1, ...points.map((point) => point[against]), ahead?.x ?? 0);
  return {
    width: plot.clientWidth, height: plot.clientWidth < 480 ? 240 : 400, legend: { show: false }, padding: [12, 16, 0, 0],
    scales: {
      x: { time: false, range: [0, most * 1.04] },
      y: { range: [Math.max(0, Math.floor(lowest * 10 - 0.3) / 10), Math.min(1, Math.ceil(highest * 10 + 0.3) / 10)] },
    },
    axes: [
      { ...axis, label: against === "examples" ? "labelled tasks learned from" : "minutes of labelling", labelSize: 22, size: 34 },
      { ...axis, label: figure.querySelector("table.points").dataset.measure, labelSize: 22, size: 44,
        values: (_, splits) => splits.map((split) => split.toFixed(splits.length > 11 ? 2 : 1)) },
    ],
    series: [
      {},
      { ...unseen }, { ...unseen },
      { stroke: accent, width: 2.5, spanGaps: true, ...dots(accent, card, 8) },
      { stroke: muted, width: 2, dash: [6, 5], spanGaps: true, ...dots(muted, card, 8) },
      { stroke: color("--bad"), paths: () => null, ...dots(color("--bad"), card, 9) },
      { ...unseen }, { ...unseen },
      { stroke: color("--core"), width: 2, dash: [2, 4], spanGaps: true, points: { show: false } },
    ],
    bands: [
      { series: [2, 1], fill: color("--accent-soft") },
      { series: [7, 6], fill: color("--core-soft") },
    ],
    cursor: { drag: { x: false, y: false }, points: { show: false }, y: false, x: false },
    hooks: { draw: [(chart) => whiskers(chart, points)], setCursor: [tip(plot, points)] },
  };
}

/* Every interval as a line: a single version has no band, and a refused one is not part of it. The one that serves is filled. */
function whiskers(chart, points) {
  const ctx = chart.ctx, ratio = devicePixelRatio || 1;
  ctx.save();
  ctx.setLineDash([]);
  for (const point of points) {
    const x = chart.valToPos(point[against], "x", true);
    ctx.strokeStyle = point.refused ? color("--bad") : point.heldOut ? color("--accent") : color("--muted");
    if (point.low !== null) {
      ctx.globalAlpha = 0.55;
      ctx.lineWidth = 1.5 * ratio;
      ctx.beginPath();
      ctx.moveTo(x, chart.valToPos(point.low, "y", true));
      ctx.lineTo(x, chart.valToPos(point.high, "y", true));
      ctx.stroke();
      ctx.globalAlpha = 1;
    }
    if (point.serves) {
      ctx.fillStyle = ctx.strokeStyle;
      ctx.beginPath();
      ctx.arc(x, chart.valToPos(point.score, "y", true), 5 * ratio, 0, 2 * Math.PI);
      ctx.fill();
    }
  }
  ctx.restore();
}

function tip(plot, points) {
  const box = document.createElement("div");
  box.className = "tip";
  box.hidden = true;
  return (chart) => {
    if (!box.isConnected) chart.over.append(box);
    const { left, top } = chart.cursor;
    const far = (point) => Math.hypot(chart.valToPos(point[against], "x") - left, chart.valToPos(point.score, "y") - top);
    const near = left < 0 ? undefined : points.reduce((best, point) => (best && far(best) <= far(point) ? best : point), undefined);
    box.hidden = near === undefined || far(near) > 60;
    if (box.hidden) return;
    const title = document.createElement("strong");
    title.textContent = near.low === null ? three(near.score) : `${three(near.score)}, ${three(near.low)} to ${three(near.high)}`;
    const words = [`version ${near.version}${near.refused ? ", refused" : near.serves ? ", serves" : ""}`, `${near.examples} labels`];
    if (near.minutes !== null) words.push(`${Math.round(near.minutes)} minutes`);
    if (!near.heldOut) words.push("out of fold");
    box.replaceChildren(title, words.join(" · "));
    const x = chart.valToPos(near[against], "x"), right = x > chart.over.clientWidth / 2;
    box.style.left = right ? "auto" : `${x + 14}px`;
    box.style.right = right ? `${chart.over.clientWidth - x + 14}px` : "auto";
    box.style.top = `${Math.max(0, chart.valToPos(near.score, "y") - 20)}px`;
  };
}

function drawAll() {
  for (const figure of drawn.keys()) if (!figure.isConnected) { drawn.get(figure).destroy(); drawn.delete(figure); }
  for (const switcher of page.querySelectorAll("input[name=against]")) switcher.checked = switcher.value === against;
  for (const part of page.querySelectorAll(".needs-script")) part.hidden = false;
  for (const figure of page.querySelectorAll("figure.curve")) draw(figure);
}

/* Without a script the numbers stand open; with it the chart comes first. */
function foldNumbers() {
  for (const details of page.querySelectorAll("details.numbers")) details.open = false;
}

/* Keeping up */

/* What a change of means that the page says something old. Progress is not in it: that is shown in place. */
const gist = (status) => JSON.stringify([
  status.phase, status.tasks, status.labels_since_last_training, status.model_version?.id, status.release, status.trouble,
  status.versions.length, status.language_model?.spend, status.jobs.map((job) => [job.id, job.state, job.error]),
]);
let seen = null;
let renewed = -Infinity;

async function look() {
  if (document.hidden) return;
  const answer = await fetch(page.dataset.status, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const status = await answer.json();
  for (const job of status.jobs) {
    const line = page.querySelector(`[data-job="${CSS.escape(job.id)}"]`);
    if (!line) continue;
    line.querySelector("progress").value = job.progress ?? 0;
    line.querySelector(".percent").textContent = `${Math.round(100 * (job.progress ?? 0))} %`;
    line.querySelector(".message").textContent = job.message ?? "";
  }
  const now = gist(status);
  if (seen !== null && now !== seen) {
    if (performance.now() - renewed < RENEW_EVERY_MS) return; // the next look sees it too
    await renew();
    renewed = performance.now();
  }
  seen = now;
}

/* Sections that the server renders otherwise by now; one that somebody works in waits. */
async function renew() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  let changed = false;
  for (const section of page.querySelectorAll("section[id]")) {
    const now = fresh.getElementById(section.id);
    if (!now || now.outerHTML === rendered.get(section.id) || section.contains(document.activeElement)) continue;
    rendered.set(section.id, now.outerHTML);
    const open = [...section.querySelectorAll("details")].map((details) => details.open);
    now.querySelectorAll("details").forEach((details, place) => { details.open = open[place] ?? false; });
    section.replaceWith(now);
    changed = true;
  }
  if (changed) drawAll();
}

const rendered = new Map([...page.querySelectorAll("section[id]")].map((section) => [section.id, section.outerHTML]));
page.addEventListener("change", (event) => {
  if (event.target.name !== "against") return;
  against = event.target.value;
  drawAll();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== width) requestAnimationFrame(drawAll);
  width = innerWidth;
});
foldNumbers();
drawAll();
const keepUp = () => look().catch(() => {}).finally(() => setTimeout(keepUp, LOOK_EVERY_MS));
keepUp();
