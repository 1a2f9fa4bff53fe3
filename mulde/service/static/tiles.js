// A tile per camera, or per video: its picture, its state, its scores, and what is wrong.

const STATES = {
  connecting: '◌ connecting', live: '● live', stalled: '◐ stalled', lost: '✕ lost', refused: '⊘ refused',
  paused: '❚❚ paused', recorded: '▤ recorded',
};
const STRIP_POINTS = 120;
const REPAINT_MS = 5000;

const addressOf = (camera) => `#camera/${encodeURIComponent(camera)}`;

class Tile {
  constructor(camera, { time, isLive }) {
    Object.assign(this, { time, isLive, scores: null, isAsked: false, painted: null, inSight: false, numAlerts: null });
    this.picture = isLive ? new LivePicture(camera.name, time) : null;
    this.name = element('a', { href: addressOf(camera.name), className: 'name' }, isolated(camera.name));
    this.state = element('span', { className: 'state' });
    this.flag = element('span', { className: 'flag' });
    this.strip = element('canvas', { className: 'strip', role: 'img' });
    this.what = element('p', { className: 'what' });
    this.box = element(
      'article', { className: 'tile' }, this.picture?.box,
      element('div', { className: 'tile-head' }, element('h2', {}, this.name), this.flag, this.state), this.strip, this.what,
    );
    this.box.tile = this;
    this.show(camera);
  }

  show(camera) {
    this.camera = camera;
    if (!this.isLive) this.state.hidden = true;
    this.state.textContent = STATES[camera.state] || camera.state;
    const flags = [
      camera.alert ? '▲ unusual' : '',
      camera.needs_a_hand ? '⚑ needs a hand' : '',
      camera.drift?.is_drifting ? '↝ drift' : '',
    ];
    this.flag.textContent = flags.filter(Boolean).join(' · ');
    this.box.className = `tile is-${camera.state}${camera.alert ? ' is-unusual' : ''}`;
    this.picture?.ageAll(camera);
    this.say(this.silence);
  }

  // silence: that the server says nothing; then all that it once said is old.
  say(silence = '') {
    this.silence = silence;
    const { camera } = this;
    const level = camera.level === null ? '' : `, level ${short(camera.level)}`;
    const score = camera.score === null ? '' : `score ${short(camera.score)}${level}`;
    const words = silence || camera.text || camera.health.map((one) => one.text).join(' · ') || score;
    if (this.what.textContent !== words) this.what.textContent = words;
    this.what.classList.toggle('wrong', Boolean(silence || camera.text || camera.health.length));
    this.describe();
  }

  describe() {
    const over = this.isLive ? 'the last hour' : 'the whole video';
    const newest = this.scores?.newest ?? null;
    const level = this.scores?.level ?? null;
    const numbers = [level === null ? '' : `, level ${short(level)}`, newest === null ? '' : `, last ${short(newest)}`];
    const label = `Score of ${shown(this.camera.name)} over ${over}${numbers.join('')}`;
    if (this.strip.getAttribute('aria-label') !== label) this.strip.setAttribute('aria-label', label);
  }

  async load(server) {
    this.isAsked = true;
    try {
      const query = new URLSearchParams({ camera: this.camera.name, points: STRIP_POINTS });
      this.scores = new Scores(await server.get(`api/scores?${query}`), this.camera.fps_wanted);
      this.paint();
    } catch {
      this.isAsked = false; // asked again with the next turn
    }
  }

  add({ utc_ms: utcMs, score, level }) {
    Object.assign(this.camera, { score, level });
    this.scores?.add(utcMs, score, level);
    this.say(this.silence);
  }

  turn() {
    if (!this.scores || !this.inSight || (this.painted && elapsed(this.painted) < REPAINT_MS)) return;
    if (this.isLive) this.scores.advance(this.time.now());
    this.paint();
  }

  paint() {
    this.painted = moment();
    paintScores(this.strip, this.scores);
    this.describe();
  }
}

class Tiles {
  constructor(box, { server, time, pump, isLive }) {
    Object.assign(this, { box, server, time, pump, isLive, byName: new Map() });
    this.sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) target.tile.inSight = isIntersecting;
      this.turn();
    });
    const repaint = () => {
      for (const tile of this.byName.values()) tile.painted = null;
    };
    new ResizeObserver(repaint).observe(box);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', repaint);
  }

  // All cameras, in the order of the server.
  show(cameras) {
    const names = new Set(cameras.map((camera) => camera.name));
    for (const [name, tile] of this.byName) {
      if (names.has(name)) continue;
      if (tile.picture) this.pump.remove(tile.picture);
      this.sight.unobserve(tile.box);
      tile.box.remove();
      this.byName.delete(name);
    }
    for (const camera of cameras) this.update(camera);
    this.box.querySelector('.empty')?.remove();
    if (!cameras.length) this.box.append(paragraph('empty', this.isLive ? 'No camera is watched.' : 'No video was scored.'));
  }

  update(camera) {
    const known = this.byName.get(camera.name);
    if (known) return known.show(camera);
    const tile = new Tile(camera, this);
    this.byName.set(camera.name, tile);
    this.box.append(tile.box);
    if (tile.picture) this.pump.add(tile.picture);
    this.sight.observe(tile.box);
    return tile;
  }

  // Something may have been missed: scores are asked for again.
  reload() {
    for (const tile of this.byName.values()) tile.isAsked = false;
  }

  turn(silence = '') {
    for (const tile of this.byName.values()) {
      if (tile.silence !== silence) tile.say(silence);
      if (tile.inSight && !tile.isAsked) tile.load(this.server);
      tile.turn();
    }
  }
}
