// The chat's page, on the client of the subprotocol sockwave.1. A room is a topic, "room/" and its name, which keeps its
// last lines and knows who is here. A line is {by, name, text, at}, a member {tab, name}; both come from whoever is at
// the other end: what people write is set with textContent and is never parsed as HTML.

import { connect } from "/sockwave.js";

const FIRST_ROOM = "lobby";
const NAME_LENGTH = 24; // characters, as are the next two
const ROOM_LENGTH = 32;
const TEXT_LENGTH = 2000;
const LOG_LENGTH = 500; // entries kept on the page
const ROOMS_COUNT = 12; // rooms in the list, the latest first
const MINE_COUNT = 500; // ids kept of our own lines, which stay ours when the page is loaded again
const END_PX = 80; // this close to its end, the log follows what is new
const PAUSE_MS = 5 * 60_000; // after it, the same speaker's name and the time are shown again
const BACK_MS = 3000; // who comes back within it, after a lost connection, has not left
const PATIENCE_MS = 1000; // a connection that comes back within it is not made much of

const find = (id) => document.getElementById(id);
const [light, log, lines, waiting, names] = ["light", "log", "lines", "waiting", "names"].map(find);
const [text, send, entrance] = ["text", "send", "entrance"].map(find);

const tab = crypto.getRandomValues(new Uint32Array(4)).join("."); // who we are, as members and in lines
const mine = new Set(read(sessionStorage, "mine"));
const unsettled = new Map(); // id -> {room, line, entry, isPublished}: our lines that have not come back yet
const going = new Map(); // tab -> timer, of those who may yet come back
let people = null; // tab -> name, once we know
let name = sessionStorage.getItem("name") ?? ""; // of this tab; the last one of the browser is only a suggestion
let roomName = "";
let room = null; // the subscription
let heardAt = ""; // the position of its last line, or the one from where it goes on
let isLive = false; // what comes is new, and not what was said before we came
let lastSaid = null; // {by, name, at} of the line at the end of the log, null behind a notice
let unread = 0;
let following = true; // whether the log is at its end
let countdownTimer;

function read(storage, key) {
  try {
    const found = JSON.parse(storage.getItem(key));
    return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

function clean(words, length) {
  const seen = typeof words === "string" ? words.replace(/[\p{Zs}]/gu, " ").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "") : "";
  return [...seen.trim()].slice(0, length).join("").trim();
}

// The connection

const client = connect("/", {
  state(state, { waitMs, reason }) {
    clearInterval(countdownTimer);
    if (state === "open") {
      find("retry").hidden = true;
      show("connected", "Connected");
    } else if (state === "closed") {
      find("retry").hidden = false;
      find("again").hidden = true;
      find("countdown").textContent = `The server wants no more${reason && `: ${reason}`}. Load the page again.`;
      show("lost", "Not connected");
    } else if (state === "waiting") {
      waitFor(waitMs);
      show("lost", "Reconnecting…");
    } else {
      find("countdown").textContent = "Connecting…";
      if (!light.dataset.state) show("connecting", "Connecting…");
    }
  },
});

function waitFor(waitMs) {
  const lostAt = Date.now();
  const count = () => {
    const leftMs = lostAt + waitMs - Date.now();
    find("countdown").textContent = `Next try in ${Math.max(1, Math.ceil(leftMs / 1000))}\u00a0s`;
  };
  count();
  countdownTimer = setInterval(count, 1000);
  setTimeout(() => (find("retry").hidden = light.dataset.state === "connected"), PATIENCE_MS);
}

function show(state, words) {
  if (light.dataset.state !== state) light.textContent = words; // said aloud once, not at each attempt
  light.dataset.state = state;
  for (const id of ["who", "names"]) find(id).classList.toggle("stale", state !== "connected");
}

// Rooms

function enterRoom() {
  let wanted = location.hash.slice(1);
  try {
    wanted = decodeURIComponent(wanted);
  } catch {
    // It has a lone percent sign, and means what it says.
  }
  wanted = clean(wanted.replace(/[\s/*#]+/gu, "-"), ROOM_LENGTH).toLowerCase().replace(/^-+|-+$/g, "") || FIRST_ROOM;
  if (location.hash !== `#${encodeURIComponent(wanted)}`) history.replaceState(null, "", `#${encodeURIComponent(wanted)}`);
  if (wanted === roomName) return;
  roomName = wanted;
  room?.unsubscribe();
  room = null;
  const known = [roomName, ...read(localStorage, "rooms").filter((one) => one !== roomName)].slice(0, ROOMS_COUNT);
  localStorage.setItem("rooms", JSON.stringify(known));
  showRooms(known);

  [people, heardAt, isLive, lastSaid, following] = [null, "", false, null, true];
  going.forEach(clearTimeout);
  going.clear();
  lines.replaceChildren();
  waiting.replaceChildren(
    ...[...unsettled.values()].filter((one) => one.room === roomName).map(({ entry }) => entry),
  );
  find("newest").hidden = true;
  showPeople();
  showTitle();
  listen();
}

function listen() {
  if (!name || room) return;
  const here = roomName;
  room = client.subscribe(`room/${here}`, {
    since: "0-0",
    data: { tab, name },
    message(words, { position, id }) {
      advance(position);
      hear(words, id);
    },
    members: meet,
    state(state, { recovered, position, reason }) {
      if (state === "refused") return notice(`This room cannot be entered: ${reason}`);
      const isTold = position === heardAt; // by the line behind the hole
      const isTooOld = state === "subscribed" && position.split("-")[0] === heardAt.split("-")[0];
      const isLost = heardAt && (state === "gap" || !recovered);
      heardAt = position;
      isLive = true;
      if (!isLost) return;
      if (!isTold) tellMissing();
      placePublished();
      if (isTold || !isTooOld) return;
      heardAt = ""; // the server still has the latest lines, for those who come new
      room.unsubscribe();
      room = null;
      listen();
    },
  });
}

// Positions are "EPOCH-OFFSET"; the next line has the next offset.
function advance(position) {
  const [[epoch, offset], [lastEpoch, lastOffset]] = [position, heardAt].map((at) => at.split("-"));
  if (heardAt && (epoch !== lastEpoch || Number(offset) !== Number(lastOffset) + 1)) tellMissing();
  heardAt = position;
}

function tellMissing() {
  notice("Lines may be missing here");
}

function showRooms(known) {
  const others = known.filter((one) => one !== FIRST_ROOM).sort((a, b) => a.localeCompare(b));
  find("rooms").replaceChildren(
    ...[FIRST_ROOM, ...others].map((one) => {
      const link = element("a", "", one);
      link.href = `#${encodeURIComponent(one)}`;
      if (one === roomName) link.ariaCurrent = "page";
      const item = element("li", "");
      item.append(link);
      return item;
    }),
  );
  find("where").textContent = roomName;
}

find("go").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = find("room").value.trim();
  if (!wanted) return;
  location.hash = `#${encodeURIComponent(wanted)}`;
  find("room").value = "";
  openPeople(false);
  text.focus();
});
find("rooms").addEventListener("click", () => openPeople(false));
addEventListener("hashchange", enterRoom);

// Lines: ours wait at the end of the log until they come back, as everybody's do, in the order that all see.

function hear(words, id) {
  const line = parse(words);
  if (!line) return;
  const own = unsettled.get(id);
  own?.entry.remove();
  unsettled.delete(id);
  say(line, mine.has(id));
}

function parse(words) {
  try {
    const said = JSON.parse(words);
    const written = [...String(said.text)].slice(0, TEXT_LENGTH).join("").trim();
    const at = new Date(Math.min(Number(said.at) || 0, Date.now()));
    return written && { by: String(said.by), name: clean(said.name, NAME_LENGTH) || "Guest", text: written, at };
  } catch {
    return null; // of a client that is not this page
  }
}

function publish(words) {
  const line = { by: tab, name, text: words, at: Date.now() };
  const published = client.publish(`room/${roomName}`, JSON.stringify(line));
  const shown = { ...line, at: new Date(line.at) };
  const before = [...unsettled.values()].findLast((one) => one.room === roomName)?.line ?? lastSaid;
  const own = { room: roomName, line: shown, entry: drawLine(shown, true, before), isPublished: false };
  own.entry.classList.add("pending");
  own.entry.append(element("div", "fate", "Sending…"));
  unsettled.set(published.id, own);
  mine.add(published.id);
  sessionStorage.setItem("mine", JSON.stringify([...mine].slice(-MINE_COUNT)));
  waiting.append(own.entry);
  toEnd();
  published.then(
    () => {
      own.isPublished = true;
      own.entry.classList.remove("pending");
      if (own.room !== roomName) unsettled.delete(published.id); // the room's history has it
    },
    (error) => {
      own.entry.classList.replace("pending", "failed");
      own.entry.lastElementChild.textContent = `Not sent: ${error.message}`;
      if (own.room === roomName) place(own.entry);
      unsettled.delete(published.id);
    },
  );
}

// Of our lines that are published, those do not come back that are among the missing ones.
function placePublished() {
  for (const [id, own] of unsettled) {
    if (!own.isPublished || own.room !== roomName) continue;
    own.entry.remove();
    unsettled.delete(id);
    say(own.line, true);
  }
}

addEventListener("beforeunload", (event) => {
  if ([...unsettled.values()].some((one) => !one.isPublished)) event.preventDefault();
});

// What is shown

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

function place(entry, isOurs = false) {
  lines.append(entry);
  while (lines.childElementCount > LOG_LENGTH) lines.firstElementChild.remove();
  if (following || isOurs) toEnd();
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
  place(entry);
}

function drawLine(line, isOurs, before) {
  const isMore = before?.by === line.by && before.name === line.name && line.at - before.at < PAUSE_MS;
  const entry = element("article", `said${isOurs ? " mine" : ""}${isMore ? " more" : ""}`);
  const by = element("div", "by");
  const isToday = line.at.toDateString() === new Date().toDateString();
  const day = isToday ? {} : { day: "numeric", month: "short" };
  const time = element("time", "", line.at.toLocaleString([], { hour: "2-digit", minute: "2-digit", ...day }));
  time.dateTime = line.at.toISOString();
  by.style.setProperty("--hue", hue(line.name));
  by.append(element("b", "", line.name), time);
  entry.append(face(line.name), by, element("div", "words", line.text));
  return entry;
}

function say(line, isOurs) {
  place(drawLine(line, isOurs, lastSaid), isOurs);
  lastSaid = line;
  if (!document.hidden || !isLive) return;
  unread += 1;
  showTitle();
}

function showTitle() {
  document.title = `${unread ? `(${unread}) ` : ""}${roomName} · sockwave chat`;
}

// People

function meet(members) {
  const before = people;
  people = new Map([...members.values()].map((one) => [String(one?.tab), clean(one?.name, NAME_LENGTH) || "Guest"]));
  if (before) tellDifference(before);
  showPeople();
}

function tellDifference(before) {
  for (const [who, called] of people) {
    if (who === tab) continue;
    if (before.has(who) && before.get(who) !== called) notice(before.get(who), " is now ", called);
    if (before.has(who) || going.has(who)) continue;
    notice(called, " joined");
  }
  for (const who of people.keys()) {
    clearTimeout(going.get(who));
    going.delete(who);
  }
  for (const [who, called] of before) {
    if (people.has(who) || who === tab) continue;
    const leave = () => going.delete(who) && notice(called, " left");
    going.set(who, setTimeout(leave, BACK_MS));
  }
}

function showPeople() {
  const list = [...(people ?? [])].sort(([, a], [, b]) => a.localeCompare(b));
  names.replaceChildren(
    ...list.map(([who, person]) => {
      const item = element("li", "");
      item.append(face(person), element("span", "name", person));
      item.lastElementChild.title = person;
      if (who === tab) item.append(element("small", "", "you"));
      return item;
    }),
  );
  find("count").textContent = list.length;
  find("rename").hidden = !name;
  send.disabled = !name;
}

// Names

function remember(given) {
  name = given;
  sessionStorage.setItem("name", name);
  localStorage.setItem("name", name);
}

function askName() {
  find("entrance-title").textContent = name ? "Change your name" : "Join the chat";
  find("enter").textContent = name ? "Save" : "Join";
  find("cancel").hidden = !name;
  if (entrance.open) return;
  find("name").value = name || localStorage.getItem("name") || "";
  entrance.showModal();
  find("name").select();
}

find("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = clean(find("name").value, NAME_LENGTH);
  if (!wanted) return;
  remember(wanted);
  if (room) room.update({ tab, name });
  else listen();
  showPeople();
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
  const words = text.value.trim();
  if (words && !send.disabled) {
    publish(words);
    text.value = "";
  }
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
find("again").addEventListener("click", client.retry);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
  client.retry();
});

enterRoom();
if (!name) askName();
