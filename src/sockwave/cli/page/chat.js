// The chat's page. One WebSocket carries small JSON objects both ways:
//   to the server:  {type: "join", name}   {type: "say", text}
//   to the page:    {type: "welcome", id, people: [{id, name}]}   {type: "join", id, name}
//                   {type: "say", id, text}   {type: "leave", id}
// Whatever people write is set with textContent and is never parsed as HTML.

const RETRY_FIRST_MS = 500; // then doubled at each failure, with jitter, so that a server that returns is not mobbed
const RETRY_MAX_MS = 15_000;
const ECHO_MS = 10_000; // a message that has not come back by then tells of a dead connection
const LOG_LENGTH = 500; // entries kept on the page
const END_PX = 80; // this close to its end, the log follows what is new
const PAUSE_MS = 5 * 60_000; // after it, the same speaker's name and the time are shown again

const find = (id) => document.getElementById(id);
const [light, log, names, text, send, entrance] = ["light", "log", "names", "text", "send", "entrance"].map(find);
const address = new URL("/", location.href);
address.protocol = address.protocol === "https:" ? "wss:" : "ws:";

const people = new Map(); // connection id -> name
let socket = null;
let me = null; // the id of our connection
let name = sessionStorage.getItem("name") ?? ""; // of this tab; the last one of the browser is only a suggestion
let pending = []; // texts sent that have not come back yet
let echoTimer, retryTimer, countdownTimer;
let retryMs = RETRY_FIRST_MS;
let lastSaid = null; // {id, at} of the message at the end of the log, null behind a notice
let unread = 0;
let following = true; // whether the log is at its end

// The connection

function connect() {
  clearTimeout(retryTimer);
  clearInterval(countdownTimer);
  find("countdown").textContent = "Connecting…";
  if (!light.dataset.state) show("connecting", "Connecting…");
  const opened = (socket = new WebSocket(address));
  opened.onmessage = (event) => opened === socket && receive(JSON.parse(event.data));
  opened.onclose = () => opened === socket && lose();
}

function lose() {
  const old = socket;
  socket = null;
  old.close();
  clearTimeout(echoTimer);
  if (me !== null) notice("Connection lost");
  me = null;
  text.value = [...pending, text.value].filter(Boolean).join("\n");
  pending = [];
  fit();
  showPeople();
  show("lost", "Reconnecting…");

  const waitMs = retryMs * (0.75 + Math.random() / 2);
  const at = Date.now() + waitMs;
  const count = () => {
    find("countdown").textContent = `Next try in ${Math.max(1, Math.ceil((at - Date.now()) / 1000))}\u00a0s`;
  };
  count();
  find("retry").hidden = false;
  countdownTimer = setInterval(count, 1000);
  retryTimer = setTimeout(connect, waitMs);
  retryMs = Math.min(2 * retryMs, RETRY_MAX_MS);
}

function hurry() {
  if (socket) return;
  retryMs = RETRY_FIRST_MS;
  connect();
}

function tell(message) {
  socket.send(JSON.stringify(message));
}

const receivers = {
  welcome(message) {
    me = message.id;
    retryMs = RETRY_FIRST_MS;
    people.clear();
    for (const person of message.people) people.set(person.id, person.name);
    find("retry").hidden = true;
    show("connected", "Connected");
    showPeople();
    if (name) tell({ type: "join", name });
    else askName();
  },

  join(message) {
    const before = people.get(message.id);
    people.set(message.id, message.name);
    if (message.id === me) remember(message.name);
    if (before === undefined) notice(message.name, " joined");
    else if (before !== message.name) notice(before, " is now ", message.name);
    showPeople();
  },

  say(message) {
    if (message.id === me) {
      pending.shift();
      watch();
    }
    if (people.has(message.id)) say(message.id, people.get(message.id), message.text);
  },

  leave(message) {
    if (!people.has(message.id)) return;
    notice(people.get(message.id), " left");
    people.delete(message.id);
    showPeople();
  },
};

function receive(message) {
  receivers[message.type]?.(message);
}

function watch() {
  clearTimeout(echoTimer);
  if (pending.length) echoTimer = setTimeout(lose, ECHO_MS);
}

// What is shown

function show(state, words) {
  if (light.dataset.state !== state) light.textContent = words; // said aloud once, not at each attempt
  light.dataset.state = state;
  send.disabled = me === null || !people.has(me);
}

function element(tag, className, words = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = words;
  if (words) made.dir = "auto";
  return made;
}

function hue(person) {
  let sum = 0;
  for (const letter of person) sum = (sum * 31 + letter.codePointAt(0)) % 65_536;
  return (sum * 137) % 360; // near the golden angle, so that names which differ little look different
}

function face(person) {
  const made = element("span", "face", [...person][0].toUpperCase());
  made.style.setProperty("--hue", hue(person));
  made.ariaHidden = "true";
  return made;
}

function toEnd() {
  log.scrollTop = log.scrollHeight;
}

function add(entry, mine = false) {
  log.append(entry);
  while (log.childElementCount > LOG_LENGTH) log.firstElementChild.remove();
  if (following || mine) toEnd();
  else find("newest").hidden = false;
}

// Names and words alternate: notice("Ada", " is now ", "Eve").
function notice(...parts) {
  const entry = element("p", "notice");
  parts.forEach((part, i) => {
    const isName = parts.length > 1 && i % 2 === 0;
    entry.append(isName ? element("b", "", part) : part);
  });
  lastSaid = null;
  add(entry);
}

function say(id, person, words) {
  find("empty")?.remove();
  const now = new Date();
  const more = lastSaid?.id === id && lastSaid.name === person && now - lastSaid.at < PAUSE_MS;
  lastSaid = { id, name: person, at: now };

  const entry = element("article", `said${id === me ? " mine" : ""}${more ? " more" : ""}`);
  const by = element("div", "by");
  const time = element("time", "", now.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = now.toISOString();
  by.style.setProperty("--hue", hue(person));
  by.append(element("b", "", person), time);
  entry.append(face(person), by, element("div", "words", words));
  add(entry, id === me);

  if (document.hidden) {
    unread += 1;
    document.title = `(${unread}) sockwave chat`;
  }
}

function showPeople() {
  const list = [...people].sort(([, a], [, b]) => a.localeCompare(b));
  names.replaceChildren(
    ...list.map(([id, person]) => {
      const item = element("li", "");
      item.append(face(person), element("span", "name", person));
      if (id === me) item.append(element("small", "", "you"));
      return item;
    }),
  );
  find("count").textContent = people.size;
  for (const id of ["who", "names"]) find(id).classList.toggle("stale", me === null);
  find("rename").hidden = !people.has(me);
  send.disabled = !people.has(me);
}

// Names

function remember(given) {
  name = given;
  sessionStorage.setItem("name", name);
  localStorage.setItem("name", name);
}

function askName() {
  const joined = people.has(me);
  find("entrance-title").textContent = joined ? "Change your name" : "Join the chat";
  find("enter").textContent = joined ? "Save" : "Join";
  find("cancel").hidden = !joined;
  if (entrance.open) return;
  find("name").value = name || localStorage.getItem("name") || "";
  entrance.showModal();
  find("name").select();
}

find("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = find("name").value.trim();
  if (!wanted) return;
  remember(wanted);
  if (me !== null) tell({ type: "join", name });
  entrance.close();
  openPeople(false);
  text.focus();
});
entrance.addEventListener("cancel", (event) => name || event.preventDefault());
entrance.addEventListener("close", () => name || askName());
find("cancel").addEventListener("click", () => entrance.close());
find("rename").addEventListener("click", askName);

// Writing

function fit() {
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (send.disabled) return;
  // Texts that came back from a lost connection may be longer together than one message.
  for (const part of text.value.match(/.{1,2000}/gsu) ?? []) {
    const words = part.trim();
    if (!words) continue;
    tell({ type: "say", text: words });
    pending.push(words);
  }
  watch();
  text.value = "";
  fit();
  text.focus();
});
text.addEventListener("input", fit);
text.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  find("composer").requestSubmit();
});

// The rest of the window

function openPeople(open) {
  find("people").classList.toggle("open", open); // only a phone hides them
  find("who").ariaExpanded = String(open);
}

find("who").addEventListener("click", () => openPeople(find("who").ariaExpanded !== "true"));
find("talk").addEventListener("click", () => openPeople(false));
addEventListener("keydown", (event) => event.key === "Escape" && openPeople(false));
find("newest").addEventListener("click", toEnd);
log.addEventListener("scroll", () => {
  following = log.scrollHeight - log.scrollTop - log.clientHeight < END_PX;
  if (following) find("newest").hidden = true;
});
new ResizeObserver(() => following && toEnd()).observe(log);
find("again").addEventListener("click", hurry);
addEventListener("online", hurry);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  document.title = "sockwave chat";
  hurry();
});

connect();
