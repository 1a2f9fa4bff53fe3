// The server: what it is asked, what time it has, and what it tells as it happens.

const ANSWER_MS = 10_000;

// A moment by both clocks of this browser: one may be set back, the other may stand still while the machine sleeps.
const moment = () => ({ wall: Date.now(), steady: performance.now() });
const elapsed = (since) => Math.max(Date.now() - since.wall, performance.now() - since.steady, 0);

// The clock of the server, never behind what it must be by now: the time of an answer counts from its question on.
class ServerClock {
  constructor() {
    this.answers = [];
  }

  get isSet() {
    return this.answers.length > 0;
  }

  set(utcMs, asked) {
    this.answers = [...this.answers.slice(-7), { utcMs, asked, heard: moment() }];
  }

  now() {
    if (!this.isSet) return Date.now();
    const last = this.answers[this.answers.length - 1];
    const latest = this.answers.map((one) => one.utcMs + elapsed(one.asked));
    return Math.max(last.utcMs + elapsed(last.heard), Math.min(...latest));
  }
}

// Says with `message` what the server refused, so that it can be shown as it is.
class Refused extends Error {}

class Server {
  // heard() is called on every sign of life.
  constructor(heard) {
    this.heard = heard;
  }

  async get(address) {
    return this.ask(address, { cache: 'no-store' });
  }

  async post(address, body) {
    const headers = { 'Content-Type': 'application/json' };
    return this.ask(address, { method: 'POST', headers, body: JSON.stringify(body) });
  }

  async ask(address, options) {
    const answer = await fetch(address, { ...options, signal: AbortSignal.timeout(ANSWER_MS) });
    if (answer.status === 401) window.location.assign('login');
    const data = await answer.json().catch(() => null);
    if (!answer.ok || data === null) throw new Refused(data?.error || `the server answers ${answer.status}`);
    this.heard();
    return data;
  }

  // One connection for everything that happens. hear: { alert, state, score } get the data; missed() is called when
  // something may have been missed, as a browser that was away for long has.
  listen(hear, missed) {
    const source = new EventSource('api/stream');
    let wasLost = false;
    source.addEventListener('open', () => {
      this.heard();
      if (wasLost) missed();
      wasLost = false;
    });
    for (const [name, act] of Object.entries(hear)) {
      source.addEventListener(name, (event) => {
        this.heard();
        act(JSON.parse(event.data));
      });
    }
    source.addEventListener('error', () => {
      wasLost = true;
      if (source.readyState !== EventSource.CLOSED) return; // it connects again by itself, with the last id
      setTimeout(() => {
        missed();
        this.listen(hear, missed);
      }, 5000);
    });
  }
}

// A name as a part of an address; of a video it may hold folders.
const inAddress = (name) => name.split('/').map(encodeURIComponent).join('/');

const timeOfDay = (utcMs) => new Date(utcMs).toISOString().slice(11, 19);
const dayOf = (utcMs) => new Date(utcMs).toISOString().slice(0, 10);

// A moment as briefly as can be: with its day where that is not today's.
const moments = (utcMs, nowMs) => (dayOf(utcMs) === dayOf(nowMs) ? timeOfDay(utcMs) : `${dayOf(utcMs)} ${timeOfDay(utcMs)}`);
