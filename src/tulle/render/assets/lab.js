/* The lab's page: follows the lab, sends what is asked, and shows the walk that comes back. */
"use strict";
(() => {
const $ = id => document.getElementById(id);
const root = document.documentElement;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const SAY = {
  live: ["live", "实时"], lost: ["no answer, trying again", "无应答，正在重试"], over: ["over", "已结束"],
  busy: ["the packet is on its way …", "数据包正在途中……"], working: ["working …", "正在处理……"],
};
const shown = new Map();
let last = null;
let places = [], chosen = {from: "", to: ""}, next = "from", stream = null, across = 0, over = false;

/* -- words: both languages lie in the page, the style shows one ------------------------ */

function words(en, zh) {
  return [["en", en], ["zh-CN", zh]].map(([lang, text]) => {
    const span = document.createElement("span");
    span.lang = lang;
    span.textContent = text;
    return span;
  });
}
function paragraph(looks, ...nodes) {
  const p = document.createElement("p");
  p.className = looks;
  p.append(...nodes);
  return p;
}
function tell(good, ...said) {
  const coin = document.createElement("span");
  coin.className = "coin " + (good ? "good" : "bad");
  coin.textContent = good ? "✔" : "✘";
  coin.setAttribute("aria-hidden", "true");
  const text = document.createElement("span");
  text.append(...said);
  $("outcome").replaceChildren(paragraph("end", coin, text));
}
function busy(word) { $("outcome").replaceChildren(paragraph("busy", ...words(...SAY[word]))); }
function live(word, looks) {
  $("live").className = "pill " + looks;
  $("live").replaceChildren(...words(...SAY[word]));
}
function language(lang) { root.dataset.lang = lang; root.lang = lang === "zh" ? "zh-CN" : "en"; label(); dress(); }
function theme(name) { root.dataset.theme = name; dress(); }

/* -- who sends to whom ------------------------------------------------------------------ */

function label() {
  document.querySelectorAll("#picture .pod").forEach(pod => {
    const place = places.find(place => place.name === pod.dataset.place);
    pod.setAttribute("aria-label", place ? place.label : pod.dataset.place);
  });
}
function choose(end, name) {
  chosen[end] = name;
  $(end).value = name;
  next = end === "from" ? "to" : "from";
  mark();
}
function mark() {
  document.querySelectorAll("#picture .pod").forEach(pod => {
    for (const end of ["from", "to"]) pod.classList.toggle(end, pod.dataset.place === chosen[end]);
    pod.setAttribute("aria-pressed", String(Object.values(chosen).includes(pod.dataset.place)));
  });
  $("trace").disabled = over || !chosen.from || !chosen.to || chosen.from === chosen.to;
}
function offer(list) {
  if (JSON.stringify(list) === JSON.stringify(places)) return;
  places = list;
  const known = name => list.some(place => place.name === name);
  for (const end of ["from", "to"]) {
    $(end).replaceChildren(...list.map(place => new Option(place.label, place.name)));
    if (!known(chosen[end])) chosen[end] = "";
  }
  const pods = list.filter(place => place.label.endsWith(")"));
  chosen.from ||= (pods[0] || list[0] || {name: ""}).name;
  chosen.to ||= (pods[pods.length - 1] || list[list.length - 1] || {name: ""}).name;
  for (const end of ["from", "to"]) $(end).value = chosen[end];
}

/* -- the lab as it is now ---------------------------------------------------------------- */

function replace(box, markup) {
  if (shown.get(box) === markup) return;
  const held = box.contains(document.activeElement) ? document.activeElement.dataset : null;
  box.innerHTML = markup;
  shown.set(box, markup);
  if (!held) return;
  const alike = [...box.querySelectorAll("[data-place],[data-act]")].find(e =>
    held.place ? e.dataset.place === held.place
               : e.dataset.node === held.node && (e.dataset.object || "agent") === (held.object || "agent"));
  const heading = held.node && document.getElementById("h-" + held.node);
  (alike || heading || box).focus();
}
function update(view) {
  offer(view.places);
  replace($("picture"), view.picture);
  replace($("tables"), view.tables);
  label();
  mark();
  trail();
}
function trail() {
  document.querySelectorAll("#picture .node").forEach(node => {
    node.classList.toggle("stopped", Boolean(last) && last.stopped === node.dataset.node);
    node.classList.toggle("ends", Boolean(last) && last.delivered && last.nodes.includes(node.dataset.node));
  });
}
function columns() { return innerWidth < 760 ? 1 : innerWidth < 1150 ? 2 : 3; }
function follow() {
  if (over) return;
  if (stream) stream.close();
  across = columns();
  stream = new EventSource("events?columns=" + across);
  stream.addEventListener("view", event => { live("live", "on"); update(JSON.parse(event.data)); });
  stream.addEventListener("over", event => end(JSON.parse(event.data)));
  stream.onerror = () => { if (!over) live("lost", "off"); };
}
function end(said) {
  over = true;
  stream.close();
  live("over", "off");
  document.querySelectorAll("button[data-act]").forEach(button => { button.disabled = true; });
  tell(false, ...words(said.en, said.zh));
  $("outcome").classList.add("gone-note");
  mark();
}

/* -- asking the server -------------------------------------------------------------------- */

async function ask(what, body) {
  let answer;
  try {
    answer = await fetch(what, {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
  } catch {
    throw new Error("the server does not answer");
  }
  const told = await answer.json();
  if (told.command) typed(told.command);
  if (!answer.ok) throw new Error(told.error);
  return told;
}
function typed(command) {
  const code = document.createElement("code");
  code.textContent = "$ " + command;
  $("typed").append(code);
  while ($("typed").children.length > 12) $("typed").firstChild.remove();
  $("did").hidden = false;
}
/* What is under way is not disabled: that would take the focus from whoever pressed it. */
let asking = false;
async function trace() {
  if (asking || $("trace").disabled) return;
  asking = true;
  busy("busy");
  try {
    last = await ask("trace", {from: chosen.from, to: chosen.to});
    tell(last.delivered, ...words(last.en, last.zh));
    walk(last.walk);
    trail();
    if ($("walked").getBoundingClientRect().top > innerHeight * 0.6)
      $("outcome").scrollIntoView({block: "start", behavior: still.matches ? "instant" : "smooth"});
  } catch (error) {
    tell(false, error.message);
  }
  asking = false;
}
async function act(button) {
  if (asking) return;
  asking = true;
  const {act, node, object} = button.dataset;
  busy("working");
  try {
    const told = await ask(act, object ? {node, object} : {node});
    tell(true, ...words(told.en, told.zh));
  } catch (error) {
    tell(false, error.message);
  }
  asking = false;
}

/* -- the walk, in its own page -------------------------------------------------------------- */

function walk(address) {
  $("walked").hidden = false;
  $("alone").href = address;
  $("walk").src = address;
}
function dress() {
  const inner = $("walk").contentDocument && $("walk").contentDocument.documentElement;
  if (!inner || !inner.dataset.lang) return;
  inner.dataset.framed = "";
  inner.dataset.lang = root.dataset.lang;
  inner.lang = root.lang;
  inner.dataset.theme = root.dataset.theme;
}
$("walk").onload = () => {
  const inside = $("walk").contentDocument;
  if (!inside || !inside.getElementById("play")) return;
  dress();
  new MutationObserver(() => {
    const {lang, theme: looks} = inside.documentElement.dataset;
    if (lang !== root.dataset.lang) language(lang);
    if (looks !== root.dataset.theme) theme(looks);
  }).observe(inside.documentElement, {attributes: true, attributeFilter: ["data-lang", "data-theme"]});
  const fit = () => { $("walk").style.height = Math.ceil(inside.body.getBoundingClientRect().height) + 2 + "px"; };
  new ResizeObserver(fit).observe(inside.body);
  fit();
  if (!still.matches) inside.getElementById("play").click();
  $("walk").dataset.shown = $("walk").src;
};

/* -- hands -------------------------------------------------------------------------------- */

$("ask").onsubmit = event => { event.preventDefault(); trace(); };
$("swap").onclick = () => { const {from, to} = chosen; choose("from", to); choose("to", from); };
for (const end of ["from", "to"]) $(end).onchange = () => choose(end, $(end).value);
$("lang").onclick = () => language(root.dataset.lang === "en" ? "zh" : "en");
$("theme").onclick = () => theme(root.dataset.theme === "dark" ? "light" : "dark");
document.addEventListener("click", event => {
  const pod = event.target.closest("#picture .pod"), button = event.target.closest("button[data-act]");
  if (pod) choose(next, pod.dataset.place);
  if (button) act(button);
});
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input")) return;
  const pod = event.target.closest("#picture .pod");
  if (pod && (event.key === "Enter" || event.key === " ")) { event.preventDefault(); choose(next, pod.dataset.place); }
  if (event.key.toLowerCase() === "l") $("lang").click();
  if (event.key.toLowerCase() === "t") $("theme").click();
});
/* A browser has few connections to one server: a page that nobody sees holds none. */
document.addEventListener("visibilitychange", () => { if (document.hidden) stream.close(); else follow(); });
addEventListener("resize", () => { if (columns() !== across) follow(); });

if ((navigator.language || "").toLowerCase().startsWith("zh")) language("zh");
if (matchMedia("(prefers-color-scheme: dark)").matches) theme("dark");
follow();
})();
