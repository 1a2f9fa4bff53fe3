// What is shown and what the reviewer does: the list, the level, the curve and the detail held together.

class App {
  constructor(data) {
    this.data = data;
    this.labels = new EventLabels(data.id);
    this.k = data.grid.start;
    this.found = new Stretches();
    this.order = new Int32Array(0);
    this.row = -1;
    this.answerMs = 0;
    this.seconds = data.videos.reduce((sum, video) => sum + video.seconds, 0);
    placeEvents(data);
    for (const stream of data.streams) {
      stream.most = stream.low + stream.values.reduce((most, value) => Math.max(most, value), 0) * stream.step;
    }
    this.detail = new Detail(data, byId('detail'), {
      label: (kind, why) => this.label(kind, why),
      played: (seconds) => this.follow(seconds),
    });
    this.curve = new Curve(data, {
      canvas: byId('curve'),
      overview: byId('overview'),
      hover: (position) => this.say(position),
      seek: (position) => this.detail.seek(position),
    });
    this.list = new VirtualList(byId('events'), {
      rowHeight: 92, make: makeEventRow, fill: (row, index) => this.fillEvent(row, index), choose: (index) => this.select(index),
    });
    this.videoList = new VirtualList(byId('videos'), {
      rowHeight: 58, make: makeVideoRow, fill: (row, index) => this.fillVideo(row, index), choose: (index) => this.openVideo(index),
    });
    this.prepare();
    this.listen();
    this.recompute();
    this.openVideo(0);
    if (this.order.length) this.select(0);
  }

  prepare() {
    const { data } = this;
    const parts = [counted(data.videos.length, 'video'), duration(this.seconds), counted(data.events.length, 'event')];
    byId('summary').textContent = parts.join(' · ');
    for (const id of ['video', 'filter-video']) {
      byId(id).append(...data.videos.map((video, i) => element('option', { value: String(i), dir: 'auto' }, shown(video.name))));
    }
    const driving = new Set(data.events.map((event) => event.reason?.stream).filter(Boolean));
    byId('filter-stream').append(...[...driving].sort().map((name) => element('option', { value: name }, `Driven by ${name}`)));
    byId('filter-stream').hidden = !driving.size;
    byId('hide-suppressed-label').hidden = !data.events.some((event) => event.suppression);
    for (const one of document.querySelectorAll('[data-truth]')) one.hidden = !data.videos.some((video) => video.truth.length);
    byId('streams').append(...data.streams.map((stream, s) => this.streamBox(stream, s)));
    byId('level').max = String(LEVELS);
  }

  streamBox(stream, s) {
    const box = element('input', { type: 'checkbox', checked: true });
    box.addEventListener('change', () => {
      if (box.checked) this.curve.hidden.delete(stream.name);
      else this.curve.hidden.add(stream.name);
      this.curve.later();
    });
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    const stroke = document.createElementNS('http://www.w3.org/2000/svg', 'line');
    for (const [name, value] of Object.entries({ x2: 26, y1: 5, y2: 5, 'stroke-dasharray': DASHES[s % DASHES.length].join(' ') })) {
      stroke.setAttribute(name, value);
    }
    line.setAttribute('class', `swatch stream-${s % 6}`);
    line.setAttribute('aria-hidden', 'true');
    line.append(stroke);
    return element('label', {}, box, line, stream.name);
  }

  listen() {
    const on = (id, type, act) => byId(id).addEventListener(type, act);
    on('level', 'input', () => this.setLevel(Math.round((byId('level').valueAsNumber / LEVELS) * this.top)));
    on('level-number', 'change', () => {
      const { low, step } = this.data.grid;
      const wanted = byId('level-number').valueAsNumber;
      if (Number.isFinite(wanted)) this.setLevel(Math.round((wanted - low) / step));
    });
    on('level-reset', 'click', () => this.setLevel(this.data.grid.start));
    for (const id of ['filter-video', 'filter-stream', 'filter-label', 'sort', 'hide-suppressed']) on(id, 'change', () => this.arrange());
    on('video', 'change', () => this.openVideo(Number(byId('video').value)));
    on('zoom-in', 'click', () => this.curve.zoom(0.5));
    on('zoom-out', 'click', () => this.curve.zoom(2));
    on('zoom-all', 'click', () => this.curve.look(0, this.curve.video.num_frames));
    on('export', 'click', () => this.exportLabels());
    on('import', 'click', () => byId('import-file').click());
    on('import-file', 'change', () => this.importLabels());
    on('help', 'click', () => byId('help-dialog').showModal());
    for (const button of document.querySelectorAll('[data-part]')) button.addEventListener('click', () => this.turnTo(button));
    for (const button of document.querySelectorAll('[data-list]')) button.addEventListener('click', () => this.listOf(button));
    document.addEventListener('keydown', (event) => this.pressed(event));
  }

  // The highest level of the slider: just above every score.
  get top() {
    return this.data.grid.highest + 1;
  }

  setLevel(k) {
    this.k = Math.min(Math.max(k, 0), this.top);
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.recompute();
    });
  }

  recompute() {
    const begin = performance.now();
    const key = this.key;
    this.found = stretchesAt(this.data, this.k);
    this.arrange(key);
    this.count();
    this.videoList.show(this.data.videos.length, this.videoList.selected);
    this.curve.drawIfStale(); // in the same frame as the numbers
    this.answerMs = performance.now() - begin;
  }

  isSuppressed(i) {
    const own = this.found.own[i];
    return own >= 0 && this.data.events[own].suppression !== '';
  }

  eventOf(i) {
    const own = this.found.own[i];
    return own < 0 ? null : this.data.events[own];
  }

  // What a stretch is called: the event of the run that it is part of, else its own peak.
  idOf(i) {
    const event = this.eventOf(i);
    if (event) return event.id;
    const video = this.data.videos[this.found.video[i]];
    return `${video.name}@${video.frame(this.found.peak[i])}`;
  }

  get current() {
    return this.row >= 0 && this.row < this.order.length ? this.order[this.row] : -1;
  }

  get key() {
    return this.current < 0 ? null : this.idOf(this.current);
  }

  // Picks and sorts what the list shows; keeps the selected event when it is still there.
  arrange(key = this.key) {
    const { found, data } = this;
    const [video, stream, label] = ['filter-video', 'filter-stream', 'filter-label'].map((id) => byId(id).value);
    const hideSuppressed = byId('hide-suppressed').checked;
    const kept = [];
    for (let i = 0; i < found.length; i++) {
      if (video !== '' && found.video[i] !== Number(video)) continue;
      if (stream && this.eventOf(i)?.reason?.stream !== stream) continue;
      if (hideSuppressed && this.isSuppressed(i)) continue;
      if (label && (this.labels.get(this.idOf(i))?.mark || 'none') !== label) continue;
      kept.push(i);
    }
    this.order = sorted(kept, this.sortKeys(kept));
    this.row = key === null ? -1 : this.order.findIndex((i) => this.idOf(i) === key);
    byId('num-shown').textContent = kept.length === found.length
      ? counted(kept.length, 'event') : `${whole(kept.length)} of ${counted(found.length, 'event')}`;
    this.list.show(this.order.length, this.row);
    this.drawAlarms();
    this.progress();
    if (data.videos.length) byId('events').setAttribute('aria-label', `Events, ${kept.length}`);
  }

  sortKeys(kept) {
    const { found, data } = this;
    const how = byId('sort').value;
    if (how === 'time') return kept.map((i) => data.videos[found.video[i]].offset + found.start[i]);
    if (how === 'length') return kept.map((i) => -Math.round((1000 * (found.end[i] - found.start[i])) / data.videos[found.video[i]].rate));
    if (this.k === data.grid.alarm && data.events.length) return kept.map((i) => found.own[i]);
    return kept.map((i) => -found.number[i]);
  }

  count() {
    const { data, found } = this;
    const level = levelOf(data.grid, this.k);
    let suppressed = 0;
    for (let i = 0; i < found.length; i++) suppressed += this.isSuppressed(i);
    const alarms = found.length - suppressed;
    const set = (id, text) => (byId(id).textContent = text);
    set('num-alarms', whole(alarms));
    set('num-alarms-text', `${alarms === 1 ? 'alarm' : 'alarms'}${suppressed ? `, ${whole(suppressed)} suppressed` : ''}`);
    set('alarm-rate', short(alarms / (this.seconds / 3600)));
    set('alarm-rate-text', `per hour, in ${duration(this.seconds)}`);
    const expected = falseAlarms(data.normal, level);
    set('false-rate', expected ? short(expected.perHour) : '?');
    set('false-rate-text', expected
      ? `false alarms per hour expected: (${whole(expected.seen)} seen + 1) in ${duration(expected.hours * 3600)} of held-out normal video`
      : 'false alarms per hour: no held-out normal video is known');
    set('level-note', this.note());
    byId('level-number').value = String(Number(level.toPrecision(6)));
    byId('level').value = String((this.k / this.top) * LEVELS);
    byId('level').setAttribute('aria-valuetext', `${short(level)}, ${counted(alarms, 'alarm')}`);
    byId('level-reset').disabled = this.k === data.grid.start;
  }

  note() {
    const { alarm, start } = this.data.grid;
    if (alarm === null) {
      return this.k === start
        ? 'There is no alarm level for these scores: the page begins at their 99th percentile, which promises nothing.'
        : 'There is no alarm level for these scores.';
    }
    if (this.k === alarm) return 'The alarm level of the run, set on held-out normal video.';
    return `The alarm level of the run is ${short(levelOf(this.data.grid, alarm), 4)}. Nothing is changed by looking at another one.`;
  }

  // The stretches of the video that the curve shows.
  drawAlarms() {
    const video = this.data.videos.indexOf(this.curve.video);
    const { found, current } = this;
    const own = [];
    for (let i = 0; i < found.length; i++) {
      if (found.video[i] === video) {
        own.push({ start: found.start[i], end: found.end[i], suppressed: this.isSuppressed(i), selected: i === current });
      }
    }
    this.curve.stretches = own;
    this.curve.levelNumber = this.k;
    this.curve.later();
  }

  select(row) {
    if (!this.order.length) return;
    this.row = Math.min(Math.max(row, 0), this.order.length - 1);
    const i = this.current;
    const { found, data } = this;
    const video = data.videos[found.video[i]];
    this.showVideo(found.video[i]);
    this.curve.cursor = found.peak[i];
    this.curve.reveal(found.start[i], found.end[i]);
    this.list.show(this.order.length, this.row);
    this.list.reveal(this.row);
    this.detail.show(
      { event: this.eventOf(i), video, start: found.start[i], end: found.end[i], peak: found.peak[i], number: found.number[i] },
      this.labels.get(this.idOf(i)),
    );
    this.drawAlarms();
    this.say(found.peak[i]);
  }

  showVideo(index) {
    this.curve.open(this.data.videos[index]);
    byId('video').value = String(index);
    this.videoList.show(this.data.videos.length, index);
  }

  // A video without one of its events: the most unusual of those listed, if there is any.
  openVideo(index) {
    if (!this.data.videos[index]) return;
    this.showVideo(index);
    const row = this.order.findIndex((i) => this.found.video[i] === index);
    if (row >= 0) return this.select(row);
    this.row = -1;
    this.list.show(this.order.length, -1);
    this.detail.show(null);
    this.drawAlarms();
    this.say(null);
  }

  // The line above the curve: all numbers of one frame.
  say(position) {
    const { video } = this.curve;
    if (position === null || position === undefined || !video) {
      byId('hover').textContent = 'Point at the curve to read its numbers.';
      return;
    }
    const { data } = this;
    const number = data.scores[video.offset + position];
    const parts = [`frame ${whole(video.frame(position))}`, clock(video.time(position), 2), `score ${short(levelOf(data.grid, number), 4)}`];
    const p = pValueOf(data, number);
    if (p !== null) parts.push(`p ${probability(p)}`);
    for (const stream of data.streams) {
      const [low, high] = streamAt(data, stream, video, position);
      parts.push(`${stream.name} ${low === high ? short(low) : `${short(low)} to ${short(high)}`}`);
    }
    if (data.bucket > 1) parts.push(`(streams: within ${data.bucket} frames)`);
    byId('hover').textContent = parts.join('  ·  ');
  }

  follow(seconds) {
    const { video } = this.curve;
    this.curve.cursor = Math.min(video.positionAt(seconds + video.start_s), video.num_frames - 1);
    this.say(this.curve.cursor);
    this.curve.later();
  }

  label(kind, why = null) {
    const i = this.current;
    if (i < 0) return;
    const event = this.eventOf(i);
    if (kind === 'normal' && !event) return;
    if (kind === 'normal' && why === null) {
      askWhy();
      return;
    }
    const { found, data } = this;
    const video = data.videos[found.video[i]];
    const id = this.idOf(i);
    if (kind === null) this.labels.clear(id);
    else {
      this.labels.set(id, {
        video: video.name,
        start_frame: event ? event.start : video.frame(found.start[i]),
        end_frame: event ? event.end : video.frame(found.end[i] - 1) + 1,
        mark: kind,
        why: why || '',
        marked_at: new Date().toISOString(),
      });
    }
    const change = { reviewed: 'is labelled as reviewed', normal: 'is labelled as normal', null: 'has no label any more' }[kind];
    this.report(`${id} ${change}.${this.labels.kept ? '' : ' This browser keeps no labels: export them before you close the page.'}`);
    this.detail.show(this.detail.shown, this.labels.get(id));
    this.list.draw(true);
    this.progress();
    byId('events').focus({ preventScroll: true });
  }

  progress() {
    const labelled = this.labels.byEvent.size;
    byId('progress').textContent = labelled ? `${whole(labelled)} labelled` : '';
    byId('export').disabled = !labelled;
  }

  exportLabels() {
    if (!this.labels.byEvent.size) return;
    download('event_labels.csv', this.labels.toCsv());
    this.report(`${counted(this.labels.byEvent.size, 'label')} written to event_labels.csv.`);
  }

  async importLabels() {
    const [file] = byId('import-file').files;
    if (!file) return;
    try {
      const known = new Set(this.data.events.map((event) => event.id));
      const { taken, left } = this.labels.read(await file.text(), (id) => known.has(id));
      const rest = left ? `; ${counted(left, 'row')} of other events or with other labels left out` : '';
      this.report(`${counted(taken, 'label')} read${rest}.`);
    } catch (error) {
      this.report(`${file.name} cannot be read: ${error.message}.`);
    }
    byId('import-file').value = '';
    this.arrange();
    if (this.current >= 0) this.detail.show(this.detail.shown, this.labels.get(this.key));
  }

  report(text) {
    byId('status').textContent = text;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => (byId('status').textContent = ''), 6000);
  }

  turnTo(button) {
    for (const one of document.querySelectorAll('[data-part]')) {
      if (one === button) one.setAttribute('aria-current', 'page');
      else one.removeAttribute('aria-current');
      byId(one.dataset.part).hidden = one !== button;
    }
  }

  listOf(button) {
    for (const one of document.querySelectorAll('[data-list]')) {
      one.setAttribute('aria-pressed', one === button);
      byId(one.dataset.list).hidden = one !== button;
    }
    byId('event-filters').hidden = button.dataset.list !== 'events';
    byId('num-shown').hidden = button.dataset.list !== 'events';
    for (const list of [this.list, this.videoList]) list.draw(true);
  }

  pressed(event) {
    if (!isCommand(event, byId('keys-on').checked) || byId('help-dialog').open || byId('review').hidden) return;
    const inVideos = event.target.id === 'videos';
    const move = (by) => (inVideos ? this.openVideo(this.videoList.selected + by) : this.select(this.row < 0 ? 0 : this.row + by));
    const next = () => move(1);
    const previous = () => move(-1);
    const actions = {
      j: next, n: next, ArrowDown: next, k: previous, p: previous, ArrowUp: previous,
      r: () => this.label('reviewed'), i: () => this.label('normal'), u: () => this.label(null),
      a: () => this.setLevel(this.data.grid.start), e: () => this.exportLabels(),
      ' ': () => this.detail.togglePlay(), '?': () => byId('help-dialog').showModal(),
      Home: () => this.select(0), End: () => this.select(this.order.length - 1),
      '+': () => this.curve.zoom(0.5), '-': () => this.curve.zoom(2), 0: () => this.curve.look(0, this.curve.video.num_frames),
    };
    act(event, actions);
  }

  fillEvent(row, index) {
    const { found, data } = this;
    const i = this.order[index];
    const event = this.eventOf(i);
    const video = data.videos[found.video[i]];
    const { image, reason, place, numbers, tag } = row.parts;
    const own = found.own[i];
    const address = own < 0 ? null : pictureAddress(data.pictures.events[own]);
    if (image.dataset.own !== String(own)) {
      image.dataset.own = String(own);
      if (address) image.src = address;
      else image.removeAttribute('src');
      image.hidden = !address;
    }
    const seconds = (found.end[i] - found.start[i]) / video.rate;
    reason.textContent = event?.reason?.text || (event ? 'No reason kept' : 'Below the alarm level of the run');
    if (data.grid.alarm === null) reason.textContent = 'At or above the level';
    place.replaceChildren(isolated(video.name), ` · ${clock(video.time(found.start[i]))} · ${short(seconds)} s`);
    const p = event && found.own[i] >= 0 ? `p ${probability(event.p)} · ` : '';
    numbers.textContent = `${p}score ${short(event ? event.score : levelOf(data.grid, found.number[i]))}`;
    const label = this.labels.get(this.idOf(i))?.mark;
    const suppressed = this.isSuppressed(i);
    tag.textContent = [label === 'normal' ? '✓ normal' : label === 'reviewed' ? '✓ reviewed' : '', suppressed ? 'suppressed' : ''].filter(Boolean).join(' · ');
    row.className = `row event${label ? ' labelled' : ''}${suppressed ? ' suppressed' : ''}`;
  }

  fillVideo(row, index) {
    const video = this.data.videos[index];
    const { name, facts, canvas } = row.parts;
    let alarms = 0;
    for (const one of this.found.video) alarms += one === index;
    name.replaceChildren(isolated(video.name));
    facts.textContent = `${duration(video.seconds)} · ${counted(alarms, 'alarm')}`;
    requestAnimationFrame(() => {
      if (!row.isConnected || row.dataset.index !== String(index) || !canvas.clientWidth) return;
      const context = sized(canvas);
      context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
      outline(context, this.data, video, this.k, 0, canvas.clientWidth, canvas.clientHeight, colours(canvas));
    });
  }
}

const LEVELS = 2000;

// Items in the order of their keys, whole numbers; equal keys keep their order. Key and place are one number each, so
// that the browser sorts without asking.
function sorted(items, keys) {
  const most = 2 ** 21;
  const both = Float64Array.from(keys, (key, i) => key * most + i).sort();
  return Int32Array.from(both, (one) => items[((one % most) + most) % most]);
}

function makeVideoRow() {
  const parts = { name: element('div', { className: 'row-reason' }), facts: element('div', { className: 'row-place' }), canvas: element('canvas') };
  const row = element('div', { className: 'row video' }, element('div', { className: 'row-text' }, parts.name, parts.facts), parts.canvas);
  return Object.assign(row, { parts });
}

readData().then((data) => {
  window.mulde = { app: new App(data), findEvents, stretchesAt, levelOf }; // for the console of the browser and for tests
  requestAnimationFrame(() => {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  });
}).catch((error) => {
  byId('status').textContent = `This page cannot be shown: ${error.message}`;
  throw error;
});
