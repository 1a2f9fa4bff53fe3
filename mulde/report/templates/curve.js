// The curve of a video on a canvas: its score with alarms and truth, below it the streams, below that all of it.

const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3], [4, 4], [12, 4]];
const LEFT = 44;
const RIGHT = 10;
const LEAST_FRAMES = 12;

class Curve {
  // hover(position or null), seek(position) tell what the pointer does.
  constructor(data, { canvas, overview, hover, seek }) {
    Object.assign(this, { data, canvas, overview, hover, seek });
    this.hidden = new Set();
    this.video = null;
    this.view = [0, 1];
    this.stretches = [];
    this.levelNumber = 0;
    this.mostOfStreams = Math.max(...data.streams.map((stream) => stream.most), 0) * 1.04 || 1;
    this.selected = null;
    [this.pointer, this.cursor, this.brush] = [null, null, null];
    this.pending = false;
    const redraw = () => this.later();
    new ResizeObserver(redraw).observe(canvas);
    new ResizeObserver(redraw).observe(overview);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
    this.listen();
  }

  open(video) {
    if (this.video === video) return;
    this.video = video;
    this.view = [0, video.num_frames];
    [this.pointer, this.cursor] = [null, null];
    this.later();
  }

  // Shows frames from `start` to `end`, kept inside the video and not narrower than a few frames.
  look(start, end) {
    const total = this.video.num_frames;
    const width = Math.min(Math.max(end - start, LEAST_FRAMES), total);
    const from = Math.min(Math.max(start, 0), total - width);
    this.view = [from, from + width];
    this.later();
  }

  zoom(factor, around) {
    const [start, end] = this.view;
    const at = around ?? this.cursor ?? (start + end) / 2;
    this.look(at - (at - start) * factor, at + (end - at) * factor);
  }

  // Moves the view only as far as needed for a stretch to lie in it; nearer, where it would be a sliver.
  reveal(start, end) {
    const [from, to] = this.view;
    const width = to - from;
    const wide = end - start;
    if (wide > 1 && wide < width / 200) return this.look(start - 15 * wide, end + 15 * wide);
    if (start >= from && end <= to) return this.later();
    if (end - start > width) return this.look(start - 0.2 * (end - start), end + 0.2 * (end - start));
    return this.look((start + end - width) / 2, (start + end + width) / 2);
  }

  later() {
    this.stale = true;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.drawIfStale();
    });
  }

  drawIfStale() {
    if (!this.video || !this.stale || !this.canvas.clientWidth) return; // hidden: drawn when it gets a size again
    this.draw();
    this.stale = false;
  }

  x(position) {
    const [start, end] = this.view;
    return LEFT + ((position - start) / (end - start)) * this.width;
  }

  positionAt(x) {
    const [start, end] = this.view;
    return start + ((x - LEFT) / this.width) * (end - start);
  }

  frameAt(x) {
    return Math.min(Math.max(Math.floor(this.positionAt(x)), 0), this.video.num_frames - 1);
  }

  listen() {
    const { canvas } = this;
    const local = (event) => event.clientX - canvas.getBoundingClientRect().left;
    canvas.addEventListener('wheel', (event) => {
      event.preventDefault();
      const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
      const scale = event.deltaMode === 1 ? 16 : 1;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.pan(sideways * scale);
      else this.zoom(Math.exp(Math.min(Math.max(event.deltaY * scale, -300), 300) * 0.002), this.positionAt(local(event)));
    }, { passive: false });
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button > 1) return;
      canvas.setPointerCapture(event.pointerId);
      this.brush = { from: local(event), to: local(event), pan: event.shiftKey || event.button === 1, view: this.view };
    });
    canvas.addEventListener('pointermove', (event) => {
      this.pointer = local(event);
      if (this.brush) {
        this.brush.to = this.pointer;
        const frames = ((this.brush.from - this.brush.to) / this.width) * (this.view[1] - this.view[0]);
        if (this.brush.pan) this.look(this.brush.view[0] + frames, this.brush.view[1] + frames);
      }
      this.hover(this.frameAt(this.pointer));
      this.later();
    });
    canvas.addEventListener('pointerup', (event) => this.released(local(event)));
    canvas.addEventListener('pointercancel', () => this.released(null));
    canvas.addEventListener('pointerleave', () => {
      this.pointer = null;
      this.hover(this.cursor);
      this.later();
    });
    canvas.addEventListener('dblclick', () => this.look(0, this.video.num_frames));
    canvas.addEventListener('keydown', (event) => this.pressed(event));
    const jump = (event) => {
      if (!event.buttons) return;
      const box = this.overview.getBoundingClientRect();
      const at = ((event.clientX - box.left - LEFT) / this.width) * this.video.num_frames;
      const half = (this.view[1] - this.view[0]) / 2;
      this.look(at - half, at + half);
    };
    this.overview.addEventListener('pointerdown', jump);
    this.overview.addEventListener('pointermove', jump);
  }

  released(x) {
    const { brush } = this;
    this.brush = null;
    if (!brush) return;
    if (x !== null && Math.abs(brush.to - brush.from) < 4) this.place(this.frameAt(x));
    else if (x !== null && !brush.pan) {
      this.look(...[this.positionAt(brush.from), this.positionAt(brush.to)].sort((a, b) => a - b));
    }
    this.later();
  }

  pan(pixels) {
    const frames = (pixels / this.width) * (this.view[1] - this.view[0]);
    this.look(this.view[0] + frames, this.view[1] + frames);
  }

  // Puts the cursor on a frame and asks for it in the video.
  place(position) {
    this.cursor = Math.min(Math.max(position, 0), this.video.num_frames - 1);
    this.reveal(this.cursor, this.cursor + 1);
    this.hover(this.cursor);
    this.seek(this.cursor);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? Math.max(Math.round((this.view[1] - this.view[0]) / 20), 1) : 1;
    const at = this.cursor ?? Math.floor((this.view[0] + this.view[1]) / 2);
    const actions = {
      ArrowLeft: () => this.place(at - step),
      ArrowRight: () => this.place(at + step),
      Home: () => this.place(0),
      End: () => this.place(this.video.num_frames - 1),
      '+': () => this.zoom(0.5),
      '=': () => this.zoom(0.5),
      '-': () => this.zoom(2),
      0: () => this.look(0, this.video.num_frames),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  }

  draw() {
    const colour = colours(this.canvas);
    const context = sized(this.canvas);
    const { clientWidth, clientHeight } = this.canvas;
    this.width = Math.max(clientWidth - LEFT - RIGHT, 1);
    const shown = this.data.streams.length > 0;
    const [top, strip, axis] = [6, 14, 20];
    const free = clientHeight - top - strip - axis;
    const score = { top, height: shown ? free * 0.58 : free };
    const bars = { top: top + score.height, height: strip };
    const streams = { top: bars.top + strip + 4, height: shown ? free * 0.42 - 4 : 0 };
    const panels = { top, bottom: clientHeight - axis, score, streams, shown };
    const level = score.top + score.height - this.share(this.levelNumber) * score.height;
    const { calm, alarmed } = this.layers(colour, panels);
    context.clearRect(0, 0, clientWidth, clientHeight);
    context.drawImage(calm, 0, 0, clientWidth, clientHeight);
    context.font = SMALL;
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, this.width, Math.min(level, bars.top));
    context.clip();
    context.drawImage(alarmed, 0, 0, clientWidth, clientHeight);
    context.restore();
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, this.width, panels.bottom + 1);
    context.clip();
    levelLine(context, colour, LEFT, LEFT + this.width, level);
    alarmBars(context, colour, this.stretches, (at) => this.x(at), { left: LEFT, right: LEFT + this.width, ...bars });
    this.pointers(context, colour, top, panels.bottom);
    context.restore();
    this.heights(context, colour, panels, level);
    this.whole(colour);
  }

  // How high a number stands in the panel of the score, 0 to 1.
  share(number) {
    return Math.min(number / (Math.max(this.data.grid.highest, 1) * 1.04), 1);
  }

  // All that does not change with the level or the pointer, drawn once: as it is, and with its area in the colour of
  // alarms, of which the part above the level is shown.
  layers(colour, panels) {
    const { clientWidth, clientHeight } = this.canvas;
    const key = [
      this.video.offset, ...this.view, clientWidth, clientHeight, window.devicePixelRatio, colour('ink'), ...this.hidden,
    ].join();
    if (this.kept?.key === key) return this.kept;
    const layer = (area) => {
      const canvas = document.createElement('canvas');
      const context = sized(canvas, clientWidth, clientHeight);
      context.font = SMALL;
      this.grid(context, colour, panels.bottom, panels.top);
      context.beginPath();
      context.rect(LEFT, 0, this.width, panels.bottom + 1);
      context.clip();
      this.truth(context, colour, panels.top, panels.bottom - panels.top);
      this.score(context, colour(area), colour('ink'), panels.score);
      if (panels.shown && area === 'area') this.streams(context, colour, panels.streams);
      return canvas;
    };
    this.kept = { key, calm: layer('area'), alarmed: layer('alarm-area') };
    return this.kept;
  }

  grid(context, colour, bottom, top) {
    const [start, end] = this.view;
    const last = this.video.num_frames - 1;
    const time = (position) => this.video.time(Math.min(Math.max(Math.floor(position), 0), last));
    const bounds = { from: time(start), to: time(end), left: LEFT, right: LEFT + this.width, top, bottom };
    timeGrid(context, colour, bounds, (at) => this.x(this.video.positionAt(at)), (at, step) => clock(at, step < 1 ? 1 : 0));
  }

  truth(context, colour, top, height) {
    for (const [startFrame, endFrame] of this.video.truth) {
      const x = this.x(this.video.positionOfFrame(startFrame));
      const width = Math.max(this.x(this.video.positionOfFrame(endFrame)) - x, 1);
      hatched(context, { x, width, top, height }, colour('truth'), colour('truth-line'), LEFT, LEFT + this.width);
    }
  }

  score(context, area, line, { top, height }) {
    const y = (number) => top + height - this.share(number) * height;
    const points = [];
    // The highest of the frames of a column: a short alarm must not vanish in a long video.
    columns(this.data, this.video, ...this.view, LEFT, this.width, (x, high) => points.push([x, y(high)]));
    areaUnder(context, points, top + height, area, line);
  }

  streams(context, colour, { top, height }) {
    const { data, video } = this;
    const [from, to] = this.view;
    const most = this.mostOfStreams;
    const least = Math.min(...data.streams.map((stream) => stream.low), 0);
    const y = (value) => top + height - ((value - least) / (most - least)) * height;
    data.streams.forEach((stream, s) => {
      if (this.hidden.has(stream.name)) return;
      const value = (i) => stream.low + stream.values[i] * stream.step;
      context.strokeStyle = colour(`stream-${s % 6}`);
      context.setLineDash(DASHES[s % DASHES.length]);
      context.lineWidth = 1.5;
      context.beginPath();
      const perPixel = (to - from) / this.width;
      const size = data.bucket;
      const num = size === 1 ? video.num_frames : Math.ceil(video.num_frames / size);
      const group = Math.max(Math.floor((1.5 * perPixel) / size), 1);
      const first = Math.max(Math.floor(from / size / group) * group - group, 0);
      for (let i = first; i < num && i * size < to + group * size; i += group) {
        let high = -Infinity;
        for (let j = i; j < Math.min(i + group, num); j++) {
          high = Math.max(high, value(size === 1 ? video.bucketOffset + j : video.bucketOffset + 2 * j + 1));
        }
        const x = this.x((i + group / 2) * size);
        if (i === first) context.moveTo(x, y(high));
        else context.lineTo(x, y(high));
      }
      context.stroke();
    });
    context.setLineDash([]);
  }

  pointers(context, colour, top, bottom) {
    const line = (x, width, name) => {
      context.fillStyle = colour(name);
      context.fillRect(Math.round(x) - width / 2, top, width, bottom - top);
    };
    if (this.cursor !== null) line(this.x(this.cursor + 0.5), 2, 'accent');
    if (this.brush && !this.brush.pan && Math.abs(this.brush.to - this.brush.from) >= 4) {
      context.fillStyle = colour('brush');
      context.fillRect(this.brush.from, top, this.brush.to - this.brush.from, bottom - top);
    } else if (this.pointer !== null) line(this.x(this.frameAt(this.pointer) + 0.5), 1, 'soft');
  }

  heights(context, colour, { score, streams, shown }, level) {
    context.fillStyle = colour('soft');
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const { grid } = this.data;
    context.fillText(short(levelOf(grid, grid.highest)), LEFT - 6, score.top + 6);
    context.fillText(short(grid.low), LEFT - 6, score.top + score.height - 5);
    const inside = Math.min(Math.max(level, score.top + 20), score.top + score.height - 19);
    context.fillStyle = colour('alarm');
    context.fillText(short(levelOf(grid, this.levelNumber)), LEFT - 6, inside);
    context.fillStyle = colour('edge');
    context.fillRect(LEFT - 1, score.top, 1, score.height);
    if (!shown) return;
    context.fillRect(LEFT - 1, streams.top, 1, streams.height);
    context.fillStyle = colour('soft');
    context.fillText(short(this.mostOfStreams, 2), LEFT - 6, streams.top + 6);
    context.fillText('0', LEFT - 6, streams.top + streams.height - 4);
  }

  // All of the video, small, and a frame around what is shown above.
  whole(colour) {
    const context = sized(this.overview);
    const { clientWidth, clientHeight } = this.overview;
    context.clearRect(0, 0, clientWidth, clientHeight);
    outline(context, this.data, this.video, this.levelNumber, LEFT, this.width, clientHeight - 4, colour);
    const [from, to] = this.view.map((at) => LEFT + (at / this.video.num_frames) * this.width);
    context.fillStyle = colour('veil');
    context.fillRect(LEFT, 0, from - LEFT, clientHeight);
    context.fillRect(to, 0, LEFT + this.width - to, clientHeight);
    context.strokeStyle = colour('accent');
    context.lineWidth = 2;
    context.strokeRect(from + 1, 1, Math.max(to - from - 2, 2), clientHeight - 2);
  }
}

// The highest number per column of pixels of frames from `from` to `to`: visit(x, high).
function columns(data, video, from, to, left, width, visit) {
  const { scores } = data;
  const { offset, num_frames: length } = video;
  const perColumn = (to - from) / width;
  if (perColumn <= 1) {
    for (let i = Math.floor(from); i < Math.min(Math.ceil(to) + 1, length); i++) {
      visit(left + ((i + 0.5 - from) / (to - from)) * width, scores[offset + i]);
    }
    return;
  }
  for (let column = 0; column < width; column++) {
    const first = Math.floor(from + column * perColumn);
    const last = Math.min(Math.max(Math.floor(from + (column + 1) * perColumn), first + 1), length);
    let high = 0;
    for (let i = offset + first; i < offset + last; i++) if (scores[i] > high) high = scores[i];
    if (last > first) visit(left + column + 0.5, high);
  }
}

// All of a video as a silhouette; what reaches the level has the colour of alarms.
function outline(context, data, video, levelNumber, left, width, height, colour) {
  const most = Math.max(data.grid.highest, 1);
  const bar = Math.max(width / video.num_frames, 1) + 0.5;
  columns(data, video, 0, video.num_frames, left, width, (x, high) => {
    const tall = Math.max((high / most) * (height - 2), 1);
    context.fillStyle = high >= levelNumber ? colour('alarm') : colour('faint');
    context.fillRect(x - bar / 2, height - tall, bar, tall);
  });
}
