// The page's script, without a framework and a build. It inserts what the server sends as text, never
// as HTML.
"use strict";

const NAMES = { alice: "Alice", bob: "Bob" };
const MOST_LINES = 200;
const byId = (id) => document.getElementById(id);

/** Makes an element with a class and children; strings become text. */
function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// The buttons

const buttons = [...document.querySelectorAll("button[data-scenario]")];

/** Only the answer to the last button that was pressed is shown. */
let latest = 0;

async function play(button) {
  const mine = ++latest;
  for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
  const title = button.querySelector("b").textContent;
  let announced;
  try {
    const response = await fetch(`/play/${button.dataset.scenario}`, { method: "POST" });
    if (!response.ok) throw new Error(await response.text());
    const both = await response.json();
    if (mine !== latest) return;
    const byHand = show(byId("by-hand"), both.by_hand);
    const withLayer = show(byId("with-layer"), both.with_layer);
    announced = `${title}. By hand: ${byHand} With the layer: ${withLayer}`;
  } catch (error) {
    if (mine !== latest) return;
    announced = `${title} failed: ${error.message}`;
    for (const id of ["by-hand", "with-layer"]) clear(byId(id), announced);
  }
  byId("announced").textContent = announced;
  byId("result").dataset.shown = button.dataset.scenario;
}

function clear(service, verdict) {
  service.classList.remove("leaked", "held");
  service.querySelector(".verdict").textContent = verdict;
  service.querySelector(".steps").replaceChildren();
}

/** Shows what came of a scenario in one service, and returns the verdict. */
function show(service, played) {
  const leak = played.steps.find((step) => step.leaked);
  let verdict = "Alice and Bob read only their own notes.";
  if (leak) verdict = `Leaked: ${NAMES[leak.who]} read what is ${NAMES[other(leak.who)]}'s.`;
  else if (played.refused) verdict = "Refused. Nobody read the other's notes.";
  clear(service, verdict);
  service.classList.add(leak ? "leaked" : "held");
  service.querySelector(".steps").append(...played.steps.map(card));
  return verdict;
}

function other(who) {
  return who === "alice" ? "bob" : "alice";
}

function card(step, index) {
  const isRefused = step.status >= 400;
  const name = element("span", `${step.who}-name`, NAMES[step.who]);
  const made = element("li", `step ${step.who}`, element("p", "", `${index + 1}. `, name, ` ${step.says}`));
  if (step.leaked) made.classList.add("leak");
  if (isRefused) made.classList.add("refused");
  if (step.request) made.append(element("pre", "", step.request));
  if (step.status) {
    let tag = String(step.status);
    if (step.leaked) tag += " LEAK";
    if (isRefused) tag += " REFUSED";
    // A refusal's body says nothing that the status doesn't; the reason is in the audit log.
    made.append(element("p", "answer", element("span", "tag", tag), isRefused ? "" : step.answer));
  } else if (step.request) {
    made.append(element("p", "quiet", "waits for the model"));
  }
  if (step.reason) made.append(element("p", "quiet reason", `Audit: ${step.reason}`));
  return made;
}

for (const button of buttons) button.addEventListener("click", () => play(button));

// The audit feed

const feed = byId("feed");
const events = new EventSource("/events");
events.onopen = () => { byId("feed-state").textContent = "Connected."; };
events.onerror = () => { byId("feed-state").textContent = "Not connected."; };
events.onmessage = (event) => {
  const line = JSON.parse(event.data);
  const isAtEnd = feed.scrollHeight - feed.scrollTop - feed.clientHeight < 40;
  feed.append(element("p", line.kind, element("b", "", line.kind), line.text));
  while (feed.childElementCount > MOST_LINES) feed.firstElementChild.remove();
  // Whoever has scrolled up goes on reading there.
  if (isAtEnd) feed.scrollTop = feed.scrollHeight;
};

// The box for `explain`

byId("explain").addEventListener("submit", async (event) => {
  event.preventDefault();
  const explanation = byId("explanation");
  try {
    const response = await fetch("/explain", { method: "POST", body: byId("request").value });
    explanation.textContent = await response.text();
  } catch (error) {
    explanation.textContent = `The demo does not answer: ${error.message}`;
  }
});

// Something to see from the start, when the feed listens.
events.addEventListener("open", () => { if (latest === 0) play(buttons[0]); }, { once: true });
