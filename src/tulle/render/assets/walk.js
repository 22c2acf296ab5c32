/* The player: moves the packet along the beats, keeps the list in step, and knows the keys. */
"use strict";
(() => {
const $ = id => document.getElementById(id);
const root = document.documentElement, map = $("map"), packet = $("packet"), now = $("now");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const walks = [[], []];
BEATS.forEach((beat, index) => walks[beat[0]].push(index));
const rest = map.querySelector(".reply:not(.off)") ? 1 : 0;
let way = rest, at = -1, playing = false, timer = 0, frame = 0;
const speed = () => Number($("speed").value);
const row = index => $("beat" + index);
const english = () => root.dataset.lang === "en";

function place(x, y) {
  packet.setAttribute("transform", `translate(${x} ${y})`);
  const room = map.parentNode;
  if (room.scrollWidth > room.clientWidth)
    room.scrollLeft = x * map.getBoundingClientRect().width / map.viewBox.baseVal.width - room.clientWidth / 2;
}

function glide(path, ms, done) {
  cancelAnimationFrame(frame);
  const parts = path.slice(1).map((to, i) => [path[i], to, Math.abs(to[0] - path[i][0]) + Math.abs(to[1] - path[i][1])]);
  const whole = parts.reduce((sum, part) => sum + part[2], 0);
  const end = path[path.length - 1];
  if (!whole || ms <= 0) { place(...end); done(); return; }
  const begin = performance.now();
  const tick = time => {
    let gone = Math.min(1, Math.max(0, (time - begin) / ms)) * whole;
    if (gone >= whole) { place(...end); done(); return; }
    for (const [from, to, length] of parts) {
      if (gone <= length) {
        const share = length ? gone / length : 1;
        place(from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share);
        break;
      }
      gone -= length;
    }
    frame = requestAnimationFrame(tick);
  };
  frame = requestAnimationFrame(tick);
}

function show(next, moving) {
  at = next;
  const index = walks[way][at];
  const ended = index === undefined;
  map.classList.toggle("ended", ended);
  map.querySelectorAll(".request, .reply").forEach(group =>
    group.classList.toggle("off", group.classList.contains("reply") !== (way === 1)));
  document.querySelectorAll("li[aria-current]").forEach(li => li.removeAttribute("aria-current"));
  $("count").textContent = ended ? "" : `${at + 1}/${walks[way].length}`;
  $("way").setAttribute("aria-pressed", String(way === 1));
  if (ended) { verdict(); return; }
  const [, wrapped, inside, path] = BEATS[index];
  look(path[path.length - 1]);
  packet.classList.toggle("back", way === 1);
  packet.classList.toggle("w", Boolean(moving ? wrapped : inside));
  glide(path, moving && !still.matches ? 640 / speed() : 0, () => packet.classList.toggle("w", Boolean(inside)));
  row(index).setAttribute("aria-current", "step");
  tell(row(index).querySelector(".what b"), row(index).querySelector(".what p"));
}

function look([x]) {
  const box = map.parentNode, scale = map.clientWidth / map.viewBox.baseVal.width;
  if (box.scrollWidth > box.clientWidth)
    box.scrollTo({left: x * scale - box.clientWidth / 2, behavior: still.matches ? "instant" : "smooth"});
}

function verdict() {
  way = rest;
  const last = walks[way][walks[way].length - 1];
  if (last !== undefined) {
    const [, , inside, path] = BEATS[last];
    cancelAnimationFrame(frame);
    place(...path[path.length - 1]);
    look(path[path.length - 1]);
    packet.classList.toggle("w", Boolean(inside));
    packet.classList.toggle("back", way === 1);
  }
  map.querySelectorAll(".request, .reply").forEach(group =>
    group.classList.toggle("off", group.classList.contains("reply") !== (way === 1)));
  $("way").setAttribute("aria-pressed", String(way === 1));
  tell($("h-verdict"), document.querySelector(".verdict .end"));
}

function tell(where, text) {
  now.setAttribute("aria-live", playing ? "off" : "polite");
  $("now-where").replaceChildren(...copies(where));
  $("now-text").replaceChildren(...copies(text));
}
function copies(node) { return node ? [...node.childNodes].filter(n => !(n.classList && n.classList.contains("coin"))).map(n => n.cloneNode(true)) : []; }

function play(on) {
  playing = on;
  clearTimeout(timer);
  $("play").setAttribute("aria-pressed", String(on));
  if (on) {
    if (at < 0 || at >= walks[way].length) { way = 0; at = -1; }
    onward();
  }
}
function onward() {
  if (!playing) return;
  if (at + 1 < walks[way].length) show(at + 1, true);
  else if (way === 0 && walks[1].length) { way = 1; show(0, true); }
  else { play(false); show(walks[way].length, false); return; }
  timer = setTimeout(onward, 1600 / speed() / (way ? 2 : 1));
}
function step(by) {
  play(false);
  const from = at < 0 ? (by > 0 ? -1 : walks[way].length) : at;
  show(Math.max(0, Math.min(walks[way].length, from + by)), by > 0);
}
function jump(index) {
  play(false);
  way = BEATS[index][0];
  show(walks[way].indexOf(index), false);
}
function turn() {
  if (!walks[1].length || !walks[0].length) return;
  play(false);
  way = 1 - way;
  show(0, false);
}
function language(lang) { root.dataset.lang = lang; root.lang = lang === "zh" ? "zh-CN" : "en"; }
function theme(name) { root.dataset.theme = name; }

async function copy(button) {
  const text = button.parentNode.querySelector("code").textContent;
  try { await navigator.clipboard.writeText(text); }
  catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1500);
}

const fill = (places, words) => document.querySelectorAll(places).forEach(
  place => place.append($(words).content.cloneNode(true)));
fill(".cmd", "copy-button");
fill(".go", "go-words");

$("first").onclick = () => { play(false); way = walks[0].length ? 0 : 1; show(0, false); };
$("last").onclick = () => { play(false); show(walks[way].length, false); };
$("prev").onclick = () => step(-1);
$("next").onclick = () => step(1);
$("play").onclick = () => play(!playing);
$("way").onclick = turn;
$("lang").onclick = () => language(english() ? "zh" : "en");
$("theme").onclick = () => theme(root.dataset.theme === "dark" ? "light" : "dark");
document.addEventListener("click", event => {
  const go = event.target.closest(".go"), button = event.target.closest(".copy");
  if (go) { jump(Number(go.parentNode.id.slice(4))); map.parentNode.scrollIntoView({block: "nearest"}); }
  if (button) copy(button);
});
map.addEventListener("click", event => {
  const spot = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
  let best = -1, nearest = 40;
  for (const index of walks[way]) {
    const path = BEATS[index][3], end = path[path.length - 1];
    const far = Math.hypot(end[0] - spot.x, end[1] - spot.y);
    if (far < nearest) { nearest = far; best = index; }
  }
  if (best >= 0) jump(best);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, textarea")) return;
  const onButton = event.target.closest("button, summary");
  const keys = {
    ArrowRight: () => step(1), ArrowLeft: () => step(-1),
    Home: () => $("first").click(), End: () => $("last").click(),
    r: turn, l: () => $("lang").click(), t: () => $("theme").click(), k: () => $("play").click(),
  };
  if (event.key === " " && !onButton) { event.preventDefault(); $("play").click(); return; }
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act) { event.preventDefault(); act(); }
});

if ((navigator.language || "").toLowerCase().startsWith("zh")) language("zh");
if (matchMedia("(prefers-color-scheme: dark)").matches) theme("dark");
map.classList.add("ended");
verdict();
})();
