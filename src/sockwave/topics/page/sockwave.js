// The client of the subprotocol sockwave.1: docs/client-script.md tells how to use it, docs/sockwave.1.md what it says.

const [RETRY_FIRST_MS, RETRY_MAX_MS] = [500, 30_000]; // a try comes within it, at random; doubled at each failure
const STEADY_MS = 5000; // a connection that lasted so long was no failure
const SILENCE_MS = 20_000; // after it the client asks for an answer; without one it takes the connection for dead
const RESEND_MS = 290_000; // the server knows ids for five minutes; an older publish might come twice
const PENDING_COUNT = 1000; // publishes that wait for their acknowledgements
const FINAL = /^(100[23789]|1010|44\d\d)$/; // close codes of servers that want no more of this client
const toBase64 = (/** @type {Uint8Array} */ bytes) => btoa(Array.from(bytes, (it) => String.fromCharCode(it)).join(""));

/**
 * @typedef {object} Listener  of one topic
 * @property {(message: string | Uint8Array, about: {position?: string, id?: string}) => void} [message]
 * @property {(delta: string, text: string) => void} [delta]  the next piece of a stream, and all of it so far
 * @property {(how: "finished" | "aborted", text: string) => void} [end]  the stream is over
 * @property {(members: Map<string, any>) => void} [members]  who is here, at each change
 * @property {(state: string, about: {recovered?: boolean, position?: string, reason?: string}) => void} [state]  "gap",
 *   or "subscribed" with `recovered` false: something before `position` is missing for good; "refused" for a reason
 * @property {any} [data]  what the other members are told of this one
 * @property {string} [since]  the last position that is known, or "0-0" for all that the server has kept
 */
/**
 * Connect to a URL, relative to the page's, and again when the connection is lost, until `close` or such a close code.
 * @param {{state?: (state: "connecting" | "open" | "waiting" | "closed", why: {waitMs?: number, code?: number,
 *   reason?: string}) => void, message?: (message: string) => void}} handlers
 */
export function connect(address = "/", handlers = {}) {
  const url = new URL(address, globalThis.location?.href);
  url.protocol = url.protocol.replace("http", "ws");
  const [rooms, pending] = [new Map(), new Map()]; // by topic; publishes by id, in the order of the calls
  const leaving = /** @type {string[]} */ ([]); // topics whose `unsubscribed` is owed: what comes before it is old
  let socket = /** @type {WebSocket?} */ (null);
  let [timer, publishCount, failureCount, openedAt, isOver] = [setTimeout(open), 0, 0, Infinity, false];

  function open() {
    const opened = (socket = new WebSocket(url, "sockwave.1"));
    opened.onopen = () => {
      openedAt = Date.now();
      rooms.forEach(enter);
      pending.forEach(transmit);
      handlers.state?.("open", {});
    };
    opened.onmessage = ({ data }) => opened === socket && (watch(), receive(JSON.parse(data)));
    opened.onclose = ({ code, reason }) => opened === socket && lose(code, reason);
    watch(true);
    handlers.state?.("connecting", {});
  }

  function lose(code = 1006, reason = "", isFinal = FINAL.test(String(code))) {
    if (Date.now() - openedAt > STEADY_MS) failureCount = 0;
    socket?.close();
    [socket, openedAt, isOver, leaving.length] = [null, Infinity, isFinal, 0];
    clearTimeout(timer);
    if (isFinal) {
      globalThis.removeEventListener?.("online", retry);
      pending.forEach((publish) => publish.settle(`closed: ${code} ${reason}`));
      return handlers.state?.("closed", { code, reason });
    }
    const told = (code === 1001 || code === 1013) && /\bretry=(\d+(?:\.\d+)?)/.exec(reason);
    const limitMs = told ? 1000 * Number(told[1]) : Math.min(RETRY_FIRST_MS * 2 ** failureCount++, RETRY_MAX_MS);
    const waitMs = Math.random() * Math.min(limitMs, 2 ** 31 - 1); // which is as long as a timer can be
    timer = setTimeout(open, waitMs);
    handlers.state?.("waiting", { waitMs, code, reason });
  }

  function watch(isAnswerOwed = false) {
    clearTimeout(timer);
    timer = setTimeout(isAnswerOwed ? lose : retry, SILENCE_MS);
  }
  function retry() {
    if (!socket && !isOver) open();
    else if (leave("sockwave.js")) watch(true); // nobody is there: this only asks for an answer
  }
  globalThis.addEventListener?.("online", retry);

  function say(/** @type {object} */ command) {
    if (socket?.readyState !== 1) return false; // what counts is said again when a connection opens
    socket.send(JSON.stringify(command));
    return true;
  }
  const enter = (/** @type {any} */ { topic, since, data }) => say({ subscribe: topic, since, data });
  const leave = (/** @type {string} */ topic) => say({ unsubscribe: topic }) && leaving.push(topic);
  function transmit(/** @type {any} */ publish) {
    if (Date.now() - publish.sentAt > RESEND_MS) publish.settle("the connection was lost: this is published, or not");
    else if (say(publish.command)) publish.sentAt = Math.min(publish.sentAt, Date.now());
  }

  /** @param {object} fields  @returns {Promise<string?> & {id: string}} */
  function command(fields) {
    // Others see an id, and must not guess the next one: they could use it up.
    const id = `${crypto.getRandomValues(new Uint32Array(4)).join(".")}:${++publishCount}`;
    const done = new Promise((resolve, reject) => {
      if (isOver) throw new Error("the client is closed");
      if (pending.size === PENDING_COUNT) throw new Error(`${PENDING_COUNT} publishes wait already`);
      const settle = (why = "", at = null) => pending.delete(id) && (why ? reject(new Error(why)) : resolve(at));
      pending.set(id, { command: { ...fields, id }, sentAt: Infinity, settle });
      transmit(pending.get(id));
    });
    return Object.assign(done, { id });
  }

  function receive(/** @type {any} */ frame) {
    const { position, topic = frame.subscribed ?? frame.gap, reason } = frame;
    const [room, state] = [rooms.get(topic), ["subscribed", "gap", "refused"].find((name) => name in frame)];
    if ("error" in frame) throw new Error(`sockwave: ${frame.error}`);
    if ("unsubscribed" in frame) return leaving.shift();
    if ("acknowledged" in frame) return pending.get(frame.acknowledged)?.settle("", position);
    if (state === "refused" && frame.id) return pending.get(frame.id)?.settle(reason);
    if (topic === undefined) return handlers.message?.(frame.message);
    if (!room || leaving.includes(topic)) return;
    const { listener, members, isNew } = room;
    if (frame.members ?? frame.join ?? frame.leave) {
      for (const key of frame.members ? members.keys() : Object.keys(frame.leave ?? {})) members.delete(key);
      for (const [key, data] of Object.entries(frame.members ?? frame.join ?? {})) members.set(key, data);
      return listener.members?.(members);
    }
    const [[epoch, offset], [lastEpoch, lastOffset]] = [position, room.since].map((it) => it?.split("-") ?? []);
    if (!state && epoch === lastEpoch && Number(offset) <= Number(lastOffset)) return; // heard before
    const text = (epoch === lastEpoch ? room.text : "") + (frame.delta ?? "");
    [room.since, room.text, room.isNew] = [position ?? undefined, "end" in frame ? "" : text, isNew && !state];
    if (state === "refused") rooms.delete(topic);
    if (state) listener.state?.(state, { position, reason, recovered: frame.recovered || isNew });
    else if ("delta" in frame) listener.delta?.(frame.delta, text);
    else if ("end" in frame) listener.end?.(frame.end, text);
    else listener.message?.(frame.message ?? Uint8Array.from(atob(frame.base64), (it) => it.charCodeAt(0)), frame);
  }

  return {
    subscribe(/** @type {string} */ topic, /** @type {Listener} */ listener) {
      if (isOver || rooms.has(topic)) throw new Error(isOver ? "the client is closed" : `subscribed already: ${topic}`);
      const { since, data } = listener;
      const room = { topic, listener, since, data, members: new Map(), text: "", isNew: since === undefined };
      rooms.set(topic, room);
      enter(room);
      return {
        members: /** @type {Map<string, any>} */ (room.members),
        update: (/** @type {any} */ data) => enter(Object.assign(room, { data })),
        unsubscribe: () => rooms.get(topic) === room && rooms.delete(topic) && leave(topic),
      };
    },
    publish: (/** @type {string} */ topic, /** @type {string | Uint8Array} */ message) =>
      command({ publish: topic, ...(typeof message === "string" ? { message } : { base64: toBase64(message) }) }),
    append: (/** @type {string} */ topic, /** @type {string} */ delta) => command({ append: topic, delta }),
    finish: (/** @type {string} */ topic) => command({ finish: topic }),
    send: (/** @type {string} */ message) => say({ send: message }),
    close: (code = 1000, reason = "") => isOver || (socket?.close(code, reason), lose(code, reason, true)),
    retry,
  };
}
