"use strict";
// The console. Text from the service is only ever set as text, never as markup; the key stays in this tab's memory.

const $ = (id) => document.getElementById(id);
const layouts = new Map();
const session = { key: "", tenant: "", generation: 0 };

function node(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function notice(text) {
  $("notice").hidden = !text;
  $("notice").textContent = text || "";
}

async function call(path, options = {}) {
  const headers = { Accept: "application/json", ...(session.key ? { Authorization: `Bearer ${session.key}` } : {}), ...options.headers };
  const response = await fetch(path, { ...options, headers });
  const text = await response.text();
  const document_ = text ? JSON.parse(text) : null;
  if (response.ok) return document_;
  const rows = (document_?.errors || []).slice(0, 8).map((row) => `\n${row.loc}: ${row.message}`);
  throw Object.assign(new Error((document_?.detail || response.statusText) + rows.join("")), { code: document_?.code });
}

const inTenant = (...parts) => ["/tenants", session.tenant, ...parts].map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");
const when = (iso) => (iso ? new Date(iso).toLocaleString() : "");
const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "");

async function showStatus() {
  try {
    await call("/readyz");
    $("status").textContent = "ready";
    $("status").className = "pill good";
  } catch {
    $("status").textContent = "not ready";
    $("status").className = "pill bad";
  }
}

async function showLayouts() {
  const page = await call("/layouts");
  for (const layout of page.items) {
    layouts.set(layout.name, layout);
    const chip = node("button", `${layout.name} · ${layout.joints.length}`, "chip");
    chip.type = "button";
    chip.addEventListener("click", () => showLayout(layout.name, chip));
    $("layouts").append(chip);
  }
}

async function showLayout(name, chip) {
  for (const other of document.querySelectorAll(".chip")) other.setAttribute("aria-pressed", String(other === chip));
  const layout = await call(`/layouts/${encodeURIComponent(name)}`);
  const image = node("img");
  image.alt = `${name}: ${layout.joints.join(", ")}`;
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(layout.svg)}`;
  $("layout").replaceChildren(image);
}

function fill(table, rows, emptyText) {
  $(table).tBodies[0].replaceChildren(...rows);
  const empty = document.querySelector(`[data-for="${table}"]`);
  empty.hidden = rows.length > 0;
  empty.textContent = emptyText;
}

function row(...cells) {
  const made = node("tr");
  for (const cell of cells) {
    const td = node("td");
    td.append(cell instanceof Node ? cell : document.createTextNode(cell ?? ""));
    made.append(td);
  }
  return made;
}

async function showJobs() {
  const page = await call(`${inTenant("jobs")}?limit=20`);
  fill("jobs", page.items.map((job) => row(
    job.job.slice(0, 12), node("span", job.state, job.state), percent(job.progress), job.step, job.version, when(job.created),
  )), "No jobs yet: POST clips to /tenants/{id}/tune.");
  return page.items.some((job) => ["queued", "running", "publishing"].includes(job.state));
}

async function showPrompts() {
  const page = await call(`${inTenant("prompts")}?limit=20`);
  fill("prompts", page.items.map((prompt) => {
    const labels = node("span", prompt.labels.join(", "));
    const action = prompt.active ? node("span", "active", "active") : node("button", "Activate", "quiet");
    if (!prompt.active) action.addEventListener("click", () => activate(prompt.version));
    const accuracy = prompt.metrics?.accuracy;
    const made = row(prompt.version, labels, percent(accuracy?.value ?? accuracy), `${Math.round(prompt.bytes / 1000)} kB`, when(prompt.created), action);
    made.children[1].className = "wide";
    return made;
  }), "Nothing taught yet.");
}

async function activate(version) {
  await attempt(async () => {
    await call(inTenant("prompts", version, "activate"), { method: "POST" });
    await showPrompts();
  });
}

async function showTenants() {
  try {
    const page = await call("/tenants?limit=200");
    $("tenants").replaceChildren(...page.items.map((tenant) => Object.assign(node("option"), { value: tenant.id })));
    if (!$("tenant").value && page.items.length === 1) $("tenant").value = page.items[0].id;
  } catch (error) {
    if (error.code !== "forbidden") throw error; // a tenant's key cannot list tenants
  }
}

async function attempt(work) {
  try {
    notice("");
    await work();
  } catch (error) {
    notice(error.message);
  }
}

async function open(event) {
  event.preventDefault();
  session.key = $("key").value.trim();
  const generation = ++session.generation;
  await attempt(async () => {
    await showTenants();
    session.tenant = $("tenant").value.trim();
    if (!session.tenant) throw new Error("Enter the tenant's id beside the key: a tenant key opens one tenant.");
    await follow(generation);
  });
}

async function follow(generation) {
  if (generation !== session.generation) return;
  const busy = await showJobs();
  await showPrompts();
  setTimeout(() => follow(generation).catch((error) => notice(error.message)), busy ? 1500 : 10000);
}

// ---- a clip: drawn, sent, answered ------------------------------------------------------------------------------

let animation = 0;

// Nested lists of a clip whose keypoints are base64 float32 ("encoding": "f32"); a joint with NaN becomes null.
function decodeFloats(clip) {
  const bytes = Uint8Array.from(atob(clip.keypoints), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  let place = 0;
  const build = (shape) => {
    if (shape.length > 1) return Array.from({ length: shape[0] }, () => build(shape.slice(1)));
    const joint = Array.from({ length: shape[0] }, () => view.getFloat32(4 * place++, true));
    return joint.every(Number.isFinite) ? joint : null;
  };
  return build(clip.shape);
}

// Bones as index pairs. A custom layout takes the bones of all built-in layouts between joints of the same names.
function bones(layout) {
  if (typeof layout === "string") return layouts.get(layout)?.edges || [];
  const plain = (name) => String(name).toLowerCase().replace(/[^a-z0-9]/g, "");
  const index = new Map((layout?.joints || []).map((name, i) => [plain(name), i]));
  const found = new Map();
  for (const known of layouts.values()) {
    for (const pair of known.edges) {
      const [a, b] = pair.map((i) => index.get(plain(known.joints[i])));
      if (a !== undefined && b !== undefined && a !== b) found.set(`${Math.min(a, b)}-${Math.max(a, b)}`, [a, b]);
    }
  }
  return [...found.values()];
}

function people(clip) {
  const frames = clip.encoding === "f32" ? decodeFloats(clip) : clip.keypoints;
  if (!Array.isArray(frames)) return [];
  const first = frames.find((frame) => Array.isArray(frame) && frame.length);
  const several = Array.isArray(first?.find(Array.isArray)?.find?.(Array.isArray));
  return frames.map((frame) => (frame === null ? [] : several ? frame.filter(Boolean) : [frame]));
}

function play(clip) {
  cancelAnimationFrame(animation);
  const frames = people(clip);
  const edges = bones(clip.layout);
  const flip = (clip.coords || "").startsWith("xyz") ? clip.y_axis !== "down" : clip.y_axis === "up";
  const confident = clip.coords ? clip.coords.endsWith("c") : true;
  const seen = (joint) => Array.isArray(joint) && joint.every(Number.isFinite) && (joint[0] || joint[1]) && !(confident && joint.length > 2 && joint.at(-1) === 0);
  const points = frames.flat(2).filter(seen);
  if (!points.length) return;
  const xs = points.map((p) => p[0]).sort((a, b) => a - b), ys = points.map((p) => p[1]).sort((a, b) => a - b);
  const low = (v) => v[Math.floor(0.01 * v.length)], high = (v) => v[Math.min(v.length - 1, Math.floor(0.99 * v.length))];
  const canvas = $("stage"), pen = canvas.getContext("2d"), { width, height } = canvas;
  const scale = 0.8 * Math.min(width / (high(xs) - low(xs) || 1), height / (high(ys) - low(ys) || 1));
  const place = ([x, y]) => [
    width / 2 + scale * (x - (low(xs) + high(xs)) / 2),
    height / 2 + (flip ? -1 : 1) * scale * (y - (low(ys) + high(ys)) / 2),
  ];
  let began; // the time of the first frame drawn: performance.now() here may lie after it
  const colour = getComputedStyle(document.body).getPropertyValue("--accent");
  const draw = (now) => {
    began ??= now;
    const frame = frames[Math.floor(((now - began) / 1000) * (clip.fps || 30)) % frames.length];
    pen.clearRect(0, 0, width, height);
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 4;
    pen.lineCap = "round";
    for (const person of frame) {
      for (const [a, b] of edges) {
        if (!seen(person[a]) || !seen(person[b])) continue;
        pen.beginPath();
        pen.moveTo(...place(person[a]));
        pen.lineTo(...place(person[b]));
        pen.stroke();
      }
      for (const joint of person.filter(seen)) {
        pen.beginPath();
        pen.arc(...place(joint), 4, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    animation = requestAnimationFrame(draw);
  };
  animation = requestAnimationFrame(draw);
}

function showAnswer(answer) {
  const parts = [node("h3", answer.known ? answer.label : "not known")];
  if (answer.reason) parts.push(node("p", answer.reason.replaceAll("_", " "), "reason"));
  for (const ranked of answer.predictions) {
    const bar = node("div", undefined, "bar"), progress = node("progress");
    progress.value = ranked.probability;
    bar.append(node("span", ranked.label), progress, node("span", percent(ranked.probability)));
    parts.push(bar);
  }
  parts.push(node("p", `${answer.tenant}, version ${answer.version}`, "soft"));
  for (const found of [...(answer.quality.notes || []), ...(answer.quality.warnings || [])]) {
    parts.push(node("p", found.message ?? found, "soft"));
  }
  $("answer").replaceChildren(...parts);
}

async function predict(file) {
  $("answer").replaceChildren();
  await attempt(async () => {
    const read = JSON.parse(await file.text());
    const clip = Array.isArray(read.clips) ? read.clips[0] : read;
    $("hint").textContent = file.name;
    play(clip);
    const tenant = $("tenant").value.trim();
    const body = (extra) => JSON.stringify({ ...clip, ...extra });
    const send = (extra) => call("/predict", { method: "POST", headers: { "Content-Type": "application/json" }, body: body(extra) });
    session.key = $("key").value.trim();
    showAnswer(await send(tenant ? { tenant } : {}));
  });
}

function choose(files) {
  if (files.length) predict(files[0]);
}

$("key-form").addEventListener("submit", open);
$("drop").addEventListener("click", () => $("file").click());
$("drop").addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && $("file").click());
$("file").addEventListener("change", (event) => choose(event.target.files));
$("drop").addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", (event) => { event.preventDefault(); $("drop").classList.remove("over"); choose(event.dataTransfer.files); });

showStatus();
setInterval(showStatus, 10000);
attempt(showLayouts);
