// One camera: its picture, its day as a strip with the alerts on it, what is wrong, and the pause.

const DAY_MS = 86_400_000;
const DAY_POINTS = 720;
const MAX_PAGES = 10;
const MINUTES = [15, 60, 240, 480, 1440];

class CameraView {
  // say(text) reports; choose(alert) is called when an alert on the strip is clicked.
  constructor(box, { server, time, pump, isLive, say, choose }) {
    Object.assign(this, { box, server, time, pump, isLive, say, choose, camera: null, picture: null });
    Object.assign(this, { scores: null, alerts: [], selected: null, asked: 0 });
    const redraw = () => this.paint();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
    this.sized = new ResizeObserver(redraw);
  }

  get isOpen() {
    return this.camera !== null;
  }

  open(camera) {
    this.close();
    this.camera = camera;
    this.dayMs = Math.floor(this.time.now() / DAY_MS) * DAY_MS;
    this.scores = null;
    this.alerts = [];
    this.build();
    this.show(camera);
    this.load();
  }

  close() {
    if (this.picture) this.pump.remove(this.picture);
    this.sized.disconnect();
    [this.camera, this.picture, this.loaded] = [null, null, null];
    this.box.replaceChildren();
  }

  build() {
    const { name } = this.camera;
    const all = this.isLive ? '← All cameras' : '← All videos';
    const back = element('a', { href: '#', className: 'back' }, all, element('kbd', {}, 'Esc'));
    this.state = element('span', { className: 'state' });
    this.what = element('p', { className: 'reason' });
    this.strip = element('canvas', { className: 'day', role: 'img', ariaLabel: 'Scores, not loaded yet' });
    this.strip.addEventListener('click', (event) => this.clicked(event));
    this.stripNote = element('p', { className: 'hint' });
    this.facts = element('div', { className: 'words' });
    this.pausing = this.isLive ? this.pauseForm() : null;
    if (this.isLive) {
      this.picture = new LivePicture(name, this.time);
      this.pump.add(this.picture);
    }
    const report = paragraph('hint', 'Every frame, with streams and reasons: ');
    report.append(element('code', {}, 'mulde report RUN'));
    const axis = this.isLive ? this.dayChooser() : element('h3', {}, 'The whole video');
    this.box.replaceChildren(
      back,
      element('div', { className: 'camera-head' }, element('h2', { id: 'camera-name' }, isolated(name)), this.state, this.pausing),
      this.what,
      element('div', { className: 'card' }, axis, this.strip, this.legend(), this.stripNote),
      element('div', { className: 'camera-parts' }, this.picture?.box, element('div', { className: 'card' }, this.facts, report)),
    );
    this.sized.observe(this.strip);
  }

  legend() {
    const key = (name) => element('span', { className: `key ${name}` });
    const words = [key('level-key'), 'level ', key('alarm-key'), 'alert ', key('unseen-key'), 'nothing seen'];
    return element('p', { className: 'hint legend' }, ...words);
  }

  dayChooser() {
    this.day = element('input', { type: 'date', ariaLabel: 'Day (UTC)' });
    this.day.addEventListener('change', () => this.day.value && this.goTo(Date.parse(`${this.day.value}T00:00:00Z`)));
    const step = (text, words, days) => {
      const button = element('button', { type: 'button', ariaLabel: words }, text);
      button.addEventListener('click', () => this.goTo(this.dayMs + days * DAY_MS));
      return button;
    };
    this.tomorrow = step('→', 'The day after', 1);
    const yesterday = step('←', 'The day before', -1);
    return element('div', { className: 'buttons', role: 'group', ariaLabel: 'Day' }, yesterday, this.day, this.tomorrow);
  }

  goTo(dayMs) {
    this.dayMs = Math.min(Math.max(dayMs, 0), Math.floor(this.time.now() / DAY_MS) * DAY_MS);
    this.load();
  }

  pauseForm() {
    const choices = MINUTES.map((one) => element('option', { value: String(one) }, duration(one * 60)));
    const minutes = element('select', { ariaLabel: 'For how long' }, ...choices);
    minutes.value = '60';
    this.pauseButton = element('button', { type: 'button' }, 'Pause');
    this.resumeButton = element('button', { type: 'button', className: 'main' }, 'Resume');
    this.pauseButton.addEventListener('click', () => this.pause(Number(minutes.value)));
    this.resumeButton.addEventListener('click', () => this.pause(0));
    this.pauseLength = minutes;
    return element('div', { className: 'buttons', role: 'group', ariaLabel: 'Pause' }, minutes, this.pauseButton, this.resumeButton);
  }

  async pause(minutes) {
    const { camera } = this;
    try {
      const now = await this.server.post(`api/cameras/${inAddress(camera.name)}/pause`, { minutes });
      this.say(minutes ? `${camera.name} raises no alerts for ${duration(minutes * 60)}.` : `${camera.name} is watched again.`);
      this.changed?.(now);
    } catch (error) {
      this.say(`${camera.name} cannot be paused: ${error.message}.`);
    }
  }

  // The camera as it is now; silence as in a tile.
  show(camera, silence = '') {
    this.camera = camera;
    this.silence = silence;
    this.state.textContent = this.isLive ? STATES[camera.state] || camera.state : '';
    this.box.className = `is-${camera.state}`;
    const words = silence || camera.text;
    if (this.what.textContent !== words) this.what.textContent = words;
    this.what.hidden = !words;
    if (this.pausing) {
      const isPaused = camera.paused_until_utc_ms !== null;
      this.resumeButton.hidden = !isPaused;
      this.pauseButton.textContent = isPaused ? 'Pause longer' : 'Pause';
    }
    this.picture?.ageAll(camera);
    this.tell(camera);
  }

  tell(camera) {
    const nowMs = this.time.now();
    const facts = [];
    const add = (name, value) => value && facts.push([name, value]);
    if (camera.since_utc_ms) add('Since', moments(camera.since_utc_ms, nowMs));
    if (typeof camera.fps_scored === 'number') add('Scored', `${short(camera.fps_scored)} of ${short(camera.fps_wanted)} fps`);
    if (typeof camera.latency_p95_s === 'number') add('Latency, 95 %', `${short(camera.latency_p95_s)} s`);
    if (typeof camera.score === 'number') add('Score', short(camera.score));
    if (typeof camera.level === 'number') add('Level', short(camera.level));
    const skipped = Object.entries(camera.skipped).filter(([, number]) => number);
    add('Skipped', skipped.map(([why, number]) => `${whole(number)} ${why}`).join(', '));
    const { evidence = {}, threshold, text, refusal } = camera.drift || {};
    for (const [stream, value] of Object.entries(evidence)) add(`Drift: ${shown(stream)}`, `${short(value)} of ${short(threshold)}`);
    add('Drift', shown(text || refusal || ''));
    const since = ({ text, since_utc_ms: ms }) => (ms && !text.includes(' since ') ? `, since ${moments(ms, nowMs)}` : '');
    const health = camera.health.map((one) => element('li', {}, shown(one.text || one.kind), since(one)));
    const parts = [factList(facts)];
    if (this.isLive) {
      parts.push(element('h3', {}, 'Health'));
      if (health.length) parts.push(element('ul', { className: 'health' }, ...health));
      else parts.push(paragraph('hint', 'Nothing is known to be wrong with its picture.'));
    }
    const state = JSON.stringify([facts, camera.health]);
    if (state === this.told) return;
    this.told = state;
    this.facts.replaceChildren(...parts);
  }

  async load() {
    const asked = ++this.asked;
    const { name } = this.camera;
    const query = new URLSearchParams({ camera: name, points: DAY_POINTS });
    if (this.isLive) {
      query.set('from', this.dayMs);
      query.set('to', this.dayMs + DAY_MS);
      this.day.value = dayOf(this.dayMs);
      this.day.max = dayOf(this.time.now());
      this.tomorrow.disabled = this.dayMs + DAY_MS > this.time.now();
    }
    this.loaded = moment();
    try {
      const [scores, alerts] = await Promise.all([this.server.get(`api/scores?${query}`), this.alertsOf(name)]);
      if (asked !== this.asked || !this.isOpen) return;
      this.scores = new Scores(scores, this.camera.fps_wanted);
      this.alerts = alerts;
      this.paint();
    } catch (error) {
      if (asked === this.asked && this.isOpen) this.stripNote.textContent = `The scores cannot be loaded: ${error.message}.`;
    }
  }

  // Its alerts from this day on, the newest of which may be of later days.
  async alertsOf(name) {
    const found = [];
    const query = new URLSearchParams({ camera: name, limit: 200 });
    if (this.isLive) query.set('since', this.dayMs);
    for (let page = 0; page < MAX_PAGES; page++) {
      const { alerts, next } = await this.server.get(`api/alerts?${query}`);
      found.push(...alerts);
      if (next === null) return found;
      query.set('before', next);
    }
    return found;
  }

  update(alert) {
    if (!this.isOpen || alert.camera !== this.camera.name) return;
    const at = this.alerts.findIndex((one) => one.id === alert.id);
    if (at >= 0) this.alerts[at] = alert;
    else this.alerts.unshift(alert);
    this.paint();
  }

  add({ utc_ms: utcMs, score, level }) {
    if (this.scores && utcMs < this.scores.toMs) this.scores.add(utcMs, score, level);
  }

  turn(silence) {
    if (!this.isOpen) return;
    if (silence !== this.silence) this.show(this.camera, silence);
    if (this.isLive && elapsed(this.loaded) > 60_000 && !silence && this.dayMs + DAY_MS > this.time.now()) this.load();
  }

  // Alerts as stretches of milliseconds, on the axis of the scores.
  stretches() {
    return this.alerts.map((alert) => {
      const isOfCamera = alert.start !== undefined;
      const start = isOfCamera ? Date.parse(alert.start) : 1000 * alert.start_s;
      const end = isOfCamera ? Date.parse(alert.end) : 1000 * alert.end_s;
      return { start, end, suppressed: Boolean(alert.exemption), selected: alert.id === this.selected, alert };
    });
  }

  paint() {
    if (!this.isOpen || !this.scores) return;
    const { fromMs, toMs } = this.scores;
    const inside = this.stretches().filter((one) => one.end >= fromMs && one.start < toMs).sort((a, b) => a.start - b.start);
    const words = (at, step) => (this.isLive ? timeOfDay(at * 1000).slice(0, 5) : clock(at, step < 1 ? 1 : 0));
    paintScores(this.strip, this.scores, { words, alarms: inside, untilMs: this.isLive ? this.time.now() : Infinity });
    const highest = Math.max(...this.scores.bins.filter(Boolean).map((bin) => bin[2]));
    const numbers = [counted(inside.length, 'alert')];
    numbers.push(Number.isFinite(highest) ? `highest score ${short(highest)}` : 'nothing was seen');
    if (this.scores.level !== null) numbers.push(`level ${short(this.scores.level)}`);
    this.stripNote.textContent = numbers.join(' · ');
    const when = this.isLive ? ` on ${dayOf(fromMs)}` : '';
    const label = `Scores of ${shown(this.camera.name)}${when}: ${this.stripNote.textContent}.`;
    this.strip.setAttribute('aria-label', `${label} Its alerts are in the list beside it.`);
  }

  clicked(event) {
    if (!this.scores) return;
    const { fromMs, toMs } = this.scores;
    const perPx = (toMs - fromMs) / this.strip.clientWidth;
    const at = fromMs + event.offsetX * perPx;
    const distance = (one) => Math.max(one.start - at, at - one.end, 0);
    const nearest = this.stretches().sort((a, b) => distance(a) - distance(b))[0];
    if (nearest && distance(nearest) <= 8 * perPx) this.choose(nearest.alert);
  }
}
