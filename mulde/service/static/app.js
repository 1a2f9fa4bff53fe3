// The page as a whole: what the server tells goes to the tiles, the list and the numbers above them.

const TURN_MS = 250;
const OVERVIEW_MS = 3000;
const SILENT_MS = 5000;

class App {
  constructor() {
    this.isLive = document.documentElement.dataset.mode === 'live';
    this.time = new ServerClock();
    this.heardAt = null;
    this.isCountOld = false;
    this.isLoaded = false;
    this.silence = '';
    this.problems = [];
    this.server = new Server(() => (this.heardAt = moment()));
    this.pump = new PicturePump(() => (this.heardAt = moment()));
    this.cameras = new Map();
    this.selected = null;
    const shared = { server: this.server, time: this.time, pump: this.pump, isLive: this.isLive };
    this.tiles = new Tiles(byId('cameras'), shared);
    this.view = new CameraView(byId('camera'), {
      ...shared, say: (text) => this.report(text), choose: (alert) => this.choose(alert),
    });
    this.view.changed = (camera) => this.updateCamera(camera);
    this.alerts = new Alerts(this.server, { changed: () => this.showList(), failed: (text) => this.report(text) });
    this.detail = new AlertDetail(byId('alert'), {
      time: this.time, mark: (alert, mark, why) => this.mark(alert, mark, why),
    });
    this.list = new VirtualList(byId('list'), {
      rowHeight: 92,
      make: makeEventRow,
      fill: (row, index) => this.alerts.fill(row, index, this.time.now()),
      choose: (index) => this.select(index),
    });
    this.listen();
  }

  async start() {
    this.heardAt = moment();
    await Promise.all([this.loadOverview(), this.loadCameras(), this.alerts.open()]);
    this.route();
    if (this.selected === null && this.alerts.listed.length) this.select(0);
    if (this.selected === null) this.detail.show(null);
    this.server.listen({
      alert: (alert) => this.updateAlert(alert),
      state: (camera) => this.updateCamera(camera),
      score: (score) => this.addScore(score),
    }, () => this.reload());
    this.turn();
    setInterval(() => this.turn(), TURN_MS);
  }

  // Something may have been missed.
  reload() {
    this.loadOverview();
    this.loadCameras();
    this.tiles.reload();
    this.alerts.open();
    if (this.view.isOpen) this.view.load();
  }

  listen() {
    document.addEventListener('keydown', (event) => this.pressed(event));
    window.addEventListener('hashchange', () => this.route());
    byId('help').addEventListener('click', () => byId('help-dialog').showModal());
    byId('filter-camera').addEventListener('change', () => {
      this.openList({ camera: byId('filter-camera').value });
    });
    const choices = [...document.querySelectorAll('[data-mark]')];
    for (const button of choices) {
      button.addEventListener('click', () => {
        for (const one of choices) one.setAttribute('aria-pressed', one === button);
        this.openList({ mark: button.dataset.mark });
      });
    }
    try {
      byId('who').value = localStorage.getItem('mulde-who') || '';
    } catch {
      // This browser keeps nothing: the name is asked for again the next time.
    }
    byId('who').addEventListener('change', () => {
      try {
        localStorage.setItem('mulde-who', byId('who').value.trim());
      } catch {
        // As above.
      }
    });
  }

  async openList(choice) {
    await this.alerts.open(choice);
    byId('list').scrollTop = 0;
    if (this.alerts.indexOf(this.selected) < 0) this.select(0);
  }

  async loadOverview() {
    const asked = moment();
    this.overviewAt = asked;
    this.isCountOld = false;
    try {
      const overview = await this.server.get('api/overview');
      this.time.set(overview.utc_ms, asked);
      if (!this.isLoaded) this.loadCameras();
      this.showOverview(overview);
    } catch {
      // The page says by itself how long it has heard nothing.
    }
  }

  async loadCameras() {
    try {
      const { cameras } = await this.server.get('api/cameras');
      this.cameras = new Map(cameras.map((camera) => [camera.name, camera]));
      this.isLoaded = true;
      this.tiles.show(cameras);
      this.showProblems();
      const filter = byId('filter-camera');
      const { value } = filter;
      const options = cameras.map(({ name }) => element('option', { value: name, dir: 'auto' }, shown(name)));
      filter.replaceChildren(filter.options[0], ...options);
      filter.value = this.cameras.has(value) ? value : '';
      const open = this.cameras.get(this.view.camera?.name);
      if (open) this.view.show(open, this.silence);
    } catch (error) {
      if (error instanceof Refused) this.report(`The cameras cannot be loaded: ${error.message}.`);
    }
  }

  showOverview({ run, counts, outbox, storage, problems }) {
    const set = (id, text) => byId(id) && (byId(id).textContent = text);
    set('to-look-at', whole(counts.to_look_at));
    set('watching', whole(counts.watching));
    document.title = `${counts.to_look_at ? `(${whole(counts.to_look_at)}) ` : ''}${run}: mulde`;
    set('alerts-today', whole(counts.alerts_today));
    if (this.isLive) {
      set('watching-of', counts.watching === counts.cameras ? 'watching' : `of ${whole(counts.cameras)} watching`);
      set('need-a-hand', whole(counts.need_a_hand));
      set('need-a-hand-text', counts.need_a_hand === 1 ? 'needs a hand' : 'need a hand');
      byId('hand').classList.toggle('wrong', counts.need_a_hand > 0);
      const promised = counts.expected_today === null ? '' : `, ${short(counts.expected_today, 2)} promised`;
      set('alerts-today-text', `${counts.alerts_today === 1 ? 'alert' : 'alerts'} today${promised}`);
      const waiting = Object.values(outbox).reduce((sum, number) => sum + number, 0);
      set('outbox', whole(waiting));
      byId('outbox-item').hidden = !Object.keys(outbox).length;
      byId('outbox-item').title = Object.entries(outbox).map(([sink, number]) => `${sink}: ${whole(number)}`).join(', ');
      set('free', storage.free_bytes === null ? '?' : bytes(storage.free_bytes));
    } else {
      set('watching', whole(counts.cameras));
      set('watching-of', counts.cameras === 1 ? 'video' : 'videos');
      set('alerts-today-text', counts.alerts_today === 1 ? 'alert' : 'alerts');
    }
    this.problems = [...problems, storage.problem];
    this.showProblems();
  }

  // What is wrong with the run, but what a tile says already.
  showProblems() {
    const onTiles = new Set([...this.cameras.values()].map((camera) => `${camera.name}: ${camera.text}`));
    const all = [...new Set(this.problems)].filter((text) => text && !onTiles.has(text)).map(shown);
    const box = byId('problems');
    const items = all.map((text) => element('li', { className: 'note' }, text));
    if (all.join('\n') !== box.dataset.all) box.replaceChildren(...items);
    box.dataset.all = all.join('\n');
    box.hidden = !all.length;
  }

  updateCamera(camera) {
    this.cameras.set(camera.name, camera);
    this.tiles.update(camera);
    if (this.view.isOpen && this.view.camera.name === camera.name) this.view.show(camera, this.silence);
  }

  updateAlert(alert) {
    const top = byId('list').scrollTop;
    if (this.alerts.update(alert) && top > 0) byId('list').scrollTop = top + this.list.rowHeight;
    if (alert.id === this.selected) this.detail.show(alert);
    this.view.update(alert);
    this.isCountOld = true;
  }

  addScore(score) {
    this.tiles.byName.get(score.camera)?.add(score);
    if (this.view.isOpen && this.view.camera.name === score.camera) this.view.add(score);
  }

  // Several times a second: what is old is marked as old, whatever happens.
  turn() {
    const isSilent = elapsed(this.heardAt) > SILENT_MS;
    if (this.isLive) {
      const since = isSilent ? `no answer from the server since ${timeOfDay(this.time.now() - elapsed(this.heardAt))}` : '';
      if (isSilent !== !byId('offline').hidden) {
        this.silence = since;
        byId('offline').textContent = isSilent ? `This page shows the past: ${since} UTC.` : '';
        byId('offline').hidden = !isSilent;
        document.body.classList.toggle('silent', isSilent);
      }
      byId('clock').textContent = `${timeOfDay(this.time.now())} UTC`;
    }
    this.pump.turn();
    this.tiles.turn(this.silence);
    this.view.turn(this.silence);
    if (document.hidden) return;
    const dueMs = this.isCountOld ? 1000 : this.isLive ? OVERVIEW_MS : 10 * OVERVIEW_MS;
    if (elapsed(this.overviewAt) > dueMs) this.loadOverview();
  }

  showList() {
    const at = this.alerts.indexOf(this.selected);
    this.list.show(this.alerts.listed.length, at);
    byId('list-empty').hidden = this.alerts.listed.length > 0;
    byId('list-empty').textContent = this.alerts.mark === 'none' ? 'Nothing to look at.' : 'No alerts.';
  }

  select(row) {
    const { listed } = this.alerts;
    if (!listed.length) {
      this.selected = null;
      this.detail.show(null);
      return;
    }
    const at = Math.min(Math.max(row, 0), listed.length - 1);
    this.choose(listed[at]);
    this.list.reveal(at);
  }

  choose(alert) {
    this.selected = alert.id;
    this.detail.show(alert);
    const at = this.alerts.indexOf(alert.id);
    this.list.show(this.alerts.listed.length, at);
    if (at >= 0) this.list.reveal(at);
    this.view.selected = alert.id;
    this.view.paint();
  }

  move(by) {
    const at = this.alerts.indexOf(this.selected);
    this.select(at < 0 ? 0 : at + by);
  }

  async mark(alert, mark, why) {
    try {
      const said = { mark, who: byId('who').value.trim(), why };
      const marked = await this.server.post(`api/alerts/${encodeURIComponent(alert.id)}/mark`, said);
      this.report(`${alert.id} ${mark ? `is marked as ${mark}` : 'has no mark any more'}.`);
      this.updateAlert({ ...alert, ...marked });
    } catch (error) {
      this.report(`${alert.id} cannot be marked: ${error.message}.`);
    }
    if (this.selected === alert.id) byId('list').focus({ preventScroll: true });
  }

  // The camera that the address names, or all of them.
  route() {
    const found = /^#camera\/(.*)$/.exec(window.location.hash);
    let name = null;
    try {
      name = found ? decodeURIComponent(found[1]) : null;
    } catch {
      // No name that this page has made.
    }
    const camera = this.cameras.get(name) || null;
    if (camera?.name === this.view.camera?.name) return;
    byId('cameras').hidden = camera !== null;
    byId('camera').hidden = camera === null;
    if (camera) {
      this.view.selected = this.selected;
      this.view.open(camera);
      byId('camera').focus({ preventScroll: true });
    } else {
      const link = this.tiles.byName.get(this.view.camera.name)?.name;
      this.view.close();
      link?.focus();
    }
    byId('filter-camera').value = camera?.name || '';
    this.openList({ camera: camera?.name || '' });
  }

  report(text) {
    byId('status').textContent = text;
    clearTimeout(this.reporting);
    this.reporting = setTimeout(() => (byId('status').textContent = ''), 7000);
  }

  pressed(event) {
    if (!isCommand(event, byId('keys-on').checked) || byId('help-dialog').open) return;
    const isInList = event.target === document.body || event.target.closest('#list');
    if (['Home', 'End', 'ArrowDown', 'ArrowUp'].includes(event.key) && !isInList) return; // they scroll
    const current = this.detail.alert;
    const say = (mark) => current && this.mark(current, mark, '');
    const [next, previous] = [() => this.move(1), () => this.move(-1)];
    act(event, {
      j: next, ArrowDown: next, k: previous, ArrowUp: previous,
      s: () => say('seen'), t: () => say('true'), u: () => current?.mark && say(''), n: () => current && askWhy(),
      c: () => this.detail.togglePlay(), ' ': () => this.detail.togglePlay(),
      Home: () => this.select(0), End: () => this.select(this.alerts.listed.length - 1),
      Escape: () => this.view.isOpen && window.location.assign('#'), '?': () => byId('help-dialog').showModal(),
    });
  }
}

function bytes(number) {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  const power = number > 0 ? Math.min(Math.floor(Math.log10(number) / 3), units.length - 1) : 0;
  return `${short(number / 1000 ** power)} ${units[power]}`;
}

const app = new App();
window.mulde = { app }; // for the console of the browser and for tests
app.start().then(() => {
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
});
