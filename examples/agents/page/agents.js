// The page's script, without a framework and a build. It inserts what the server sends as text, never
// as HTML, and stores nothing: the session is in a cookie that scripts can't read.
"use strict";

const MOST_LINES = 500;
const SESSION_ENDED = 4401;
const byId = (id) => document.getElementById(id);

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** Asks the API. A 401 ends what the page shows: the session is over. */
async function api(path, body, method = body === undefined ? "GET" : "POST") {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (response.status === 401) leave("Your session has ended.");
  if (!response.ok) throw new Error(`${response.status}`);
  return response.status === 204 ? null : response.json();
}

/** Lets a handler of events fail in the page's status line. */
function shown(action) {
  return async (event) => {
    event?.preventDefault();
    try {
      byId("status").textContent = "";
      await action(event);
    } catch (error) {
      byId("status").textContent = says(error.message);
    }
  };
}

function says(status) {
  if (status === "429") return "That is too much at a time.";
  if (status === "503") return "The service can't answer at the moment.";
  return `The service answered ${status}.`;
}

// Log-in and log-out

byId("log-in").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const account = { name: byId("name").value, password: byId("password").value };
  const response = await fetch(event.submitter.value, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(account),
  });
  byId("password").value = "";
  if (!response.ok) {
    byId("status").textContent = await response.text();
    return;
  }
  enter();
});

byId("log-out").addEventListener("click", shown(async () => {
  await fetch("/log-out", { method: "POST" });
  leave("You have logged out.");
}));

async function enter() {
  const response = await fetch("/api/me");
  if (!response.ok) {
    byId("log-in").hidden = false;
    return;
  }
  const me = await response.json();
  byId("who").textContent = me.user;
  byId("log-in").hidden = true;
  byId("log-in").querySelector("form").reset();
  byId("session").hidden = byId("work").hidden = false;
  byId("status").textContent = "";
  const kinds = await api("/api/kinds");
  byId("agent").replaceChildren(...kinds.map((kind) => {
    const option = element("option", "", `${kind.name}: ${kind.says}`);
    option.value = kind.name;
    return option;
  }));
  listen();
  await Promise.all([showThreads(), showKeys()]);
}

/** Forgets everything that the page knows of its user. */
function leave(why) {
  if (byId("work").hidden) return;
  listening?.close();
  listening = null;
  open = null;
  for (const id of ["who", "threads", "threads-count", "runs", "thread-title", "events", "keys", "key", "wrong-answer"]) {
    byId(id).replaceChildren();
  }
  for (const form of document.forms) form.reset();
  byId("session").hidden = byId("work").hidden = byId("thread").hidden = byId("key").hidden = true;
  byId("log-in").hidden = false;
  byId("status").textContent = why;
}

// Threads and runs

/** The id of the thread that is shown. */
let open = null;

async function showThreads() {
  const threads = await api("/api/threads");
  byId("threads-count").textContent = threads.length === 1 ? "1 thread" : `${threads.length} threads`;
  byId("threads").replaceChildren(...threads.map((thread) => {
    const button = element("button", "", thread.title);
    button.type = "button";
    button.setAttribute("aria-pressed", String(thread.id === open));
    button.addEventListener("click", shown(() => showThread(thread.id)));
    return element("li", "", button);
  }));
}

async function showThread(id) {
  open = id;
  const thread = await api(`/api/threads/${id}`);
  // Another one was opened meanwhile, or the user has left.
  if (open !== id) return;
  byId("thread-title").textContent = thread.title;
  byId("runs").replaceChildren(...thread.runs.map(runItem));
  byId("thread").hidden = false;
  await showThreads();
}

function runItem(run) {
  const state = element("span", "state", run.state);
  const output = element("pre", "", run.output);
  const item = element("li", "run", element("b", "", run.agent), ` ${run.input} `, state, output);
  item.dataset.run = run.id;
  return item;
}

byId("new-thread").addEventListener("submit", shown(async () => {
  const thread = await api("/api/threads", { title: byId("title").value });
  byId("title").value = "";
  await showThread(thread.id);
}));

byId("new-run").addEventListener("submit", shown(async () => {
  const thread = open;
  const wanted = { agent: byId("agent").value, input: byId("input").value };
  const run = await api(`/api/threads/${thread}/runs`, wanted);
  byId("input").value = "";
  // Its first events may have been faster.
  if (open === thread) await showThread(thread);
  return run;
}));

// Events

/** The stream that is open: a socket or an event source. */
let listening = null;

function listen() {
  listening?.close();
  byId("events-state").textContent = "Connecting.";
  listening = byId("transport").value === "socket" ? overSocket() : overEvents();
}

function overSocket() {
  const socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/api/socket`);
  socket.addEventListener("message", (message) => heard(JSON.parse(message.data)));
  socket.addEventListener("close", (closed) => {
    if (listening !== socket) return;
    if (closed.code === SESSION_ENDED) return leave("Your session has ended.");
    lost();
  });
  return socket;
}

function overEvents() {
  const source = new EventSource("/api/events");
  source.addEventListener("open", () => heard({ kind: "open" }));
  source.addEventListener("message", (message) => heard(JSON.parse(message.data)));
  source.addEventListener("scope-ended", () => leave("Your session has ended."));
  source.addEventListener("error", () => {
    if (listening !== source) return;
    source.close();
    lost();
  });
  return source;
}

/** Connects again after a while, unless the session is over. */
function lost() {
  listening = null;
  byId("events-state").textContent = "Connection lost.";
  setTimeout(async () => {
    if (listening || byId("work").hidden) return;
    try {
      await api("/api/me");
      listen();
    } catch {
      if (!byId("work").hidden) lost();
    }
  }, 1000);
}

function heard(event) {
  if (event.kind === "open") {
    byId("events-state").textContent = "Connected.";
    // What happened before is in the database.
    if (open) showThread(open).catch(() => {});
    return;
  }
  const log = byId("events");
  log.append(element("p", "", `${event.kind} ${event.text ?? ""}`));
  while (log.children.length > MOST_LINES) log.firstChild.remove();
  log.scrollTop = log.scrollHeight;
  const item = document.querySelector(`[data-run="${CSS.escape(event.run)}"]`);
  if (event.kind === "words" && item) {
    item.querySelector(".state").textContent = "running";
    item.querySelector("pre").append(event.text);
  } else if (open && (event.thread === open || event.kind === "missed")) {
    showThread(open).catch(() => {});
  }
}

byId("transport").addEventListener("change", listen);

// Keys

async function showKeys() {
  const keys = await api("/api/keys");
  byId("keys").replaceChildren(...keys.map((key) => {
    const button = element("button", "", "Delete");
    button.type = "button";
    button.addEventListener("click", shown(async () => {
      await api(`/api/keys/${key}`, undefined, "DELETE");
      await showKeys();
    }));
    return element("li", "", element("code", "", key), " ", button);
  }));
}

byId("new-key").addEventListener("click", shown(async () => {
  const made = await api("/api/keys", {});
  const shownOnce = byId("key");
  shownOnce.textContent = `curl -H 'authorization: Bearer ${made.key}' ${location.origin}/api/threads`;
  shownOnce.hidden = false;
  await showKeys();
}));

// The wrong query

byId("wrong-query").addEventListener("click", shown(async () => {
  const answer = byId("wrong-answer");
  answer.textContent = "";
  const response = await fetch("/api/wrong-query");
  if (response.status === 501) {
    answer.textContent = "Not with SQLite, where nothing but the query holds users apart. Start with --postgres.";
    return;
  }
  if (!response.ok) throw new Error(`${response.status}`);
  const rows = await response.json();
  const owners = [...new Set(rows.map((row) => row.owner))];
  answer.textContent = `${rows.length} rows, of ${owners.join(", ") || "nobody"}: ${rows.map((row) => row.title).join(", ")}`;
}));

enter();
