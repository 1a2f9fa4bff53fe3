// Scores over time as strips: lowest and highest of each part, the alarm level, and hatching where nothing was seen.

// The bins of one camera: [utc_ms, lowest, highest] or null, each `binMs` long, the first at `fromMs`.
class Scores {
  // fps: of the frames that have scores; between two of them in a row nothing is missing, however fine the bins are.
  constructor({ from_utc_ms: fromMs, to_utc_ms: toMs, level, bins }, fps = null) {
    Object.assign(this, { fromMs, level, bins, binMs: (toMs - fromMs) / Math.max(bins.length, 1) });
    if (fps > 0) this.bridge(1500 / fps);
  }

  bridge(gapMs) {
    let last = -1;
    for (let i = 0; i < this.bins.length; i++) {
      if (this.bins[i] === null) continue;
      if (last >= 0 && (i - last - 1) * this.binMs <= gapMs) this.bins.fill(this.bins[last], last + 1, i);
      last = i;
    }
  }

  get toMs() {
    return this.fromMs + this.binMs * this.bins.length;
  }

  // The end of the strip is now: what is to the left of it leaves, what comes is not seen yet.
  advance(nowMs) {
    const by = Math.floor((nowMs - this.toMs) / this.binMs) + 1;
    if (!(by > 0)) return;
    const stays = this.bins.slice(by);
    this.fromMs += by * this.binMs;
    this.bins = [...stays, ...Array(this.bins.length - stays.length).fill(null)];
  }

  add(utcMs, score, level) {
    if (level !== null) this.level = level;
    if (!Number.isFinite(score)) return;
    this.advance(utcMs);
    const i = Math.floor((utcMs - this.fromMs) / this.binMs);
    if (i < 0 || i >= this.bins.length) return;
    const bin = this.bins[i];
    this.bins[i] = bin ? [bin[0], Math.min(bin[1], score), Math.max(bin[2], score)] : [utcMs, score, score];
  }

  get newest() {
    return this.bins.findLast((bin) => bin !== null)?.[2] ?? null;
  }

  // Stretches [first, end) of bins that are all seen, or all not.
  stretches() {
    const found = [];
    for (let i = 0; i < this.bins.length; i++) {
      const isSeen = this.bins[i] !== null;
      const last = found[found.length - 1];
      if (last && last.isSeen === isSeen) last.end = i + 1;
      else found.push({ first: i, end: i + 1, isSeen });
    }
    return found;
  }
}

// Paints scores onto a canvas. words: of the times below it, null for none; alarms: as `alarmBars` takes them, in ms;
// untilMs: what lies behind it is yet to come, so it is not called unseen.
function paintScores(canvas, scores, { words = null, alarms = null, untilMs = Infinity } = {}) {
  if (!canvas.clientWidth) return;
  const colour = colours(canvas);
  const context = sized(canvas);
  const { clientWidth: width, clientHeight: height } = canvas;
  context.clearRect(0, 0, width, height);
  context.font = SMALL;
  const bars = alarms ? 14 : 0;
  const panel = { top: 2, bottom: height - (words ? 20 : 0) - bars };
  const x = (ms) => ((ms - scores.fromMs) / (scores.toMs - scores.fromMs)) * width;
  if (words) {
    const edges = { left: 0, right: width, top: panel.top, bottom: panel.bottom + bars };
    const bounds = { from: scores.fromMs / 1000, to: scores.toMs / 1000, ...edges };
    timeGrid(context, colour, bounds, (at) => x(at * 1000), words);
  }
  const highs = scores.bins.filter(Boolean).map((bin) => bin[2]);
  const lows = scores.bins.filter(Boolean).map((bin) => bin[1]);
  const top = Math.max(...highs, scores.level ?? -Infinity);
  const low = Math.min(...lows, 0, scores.level ?? 0);
  const span = (Number.isFinite(top) ? top - low : 1) * 1.08 || 1;
  const y = (score) => panel.bottom - ((score - low) / span) * (panel.bottom - panel.top);
  const at = (i) => x(scores.fromMs + i * scores.binMs);
  const curves = (area) => {
    for (const { first, end, isSeen } of scores.stretches()) {
      if (!isSeen) continue;
      const points = [];
      for (let i = first; i < end; i++) points.push([at(i), y(scores.bins[i][2])], [at(i + 1), y(scores.bins[i][2])]);
      areaUnder(context, points, panel.bottom, colour(area), colour('ink'));
      context.fillStyle = colour(area === 'area' ? 'faint' : 'alarm');
      for (let i = first; i < end; i++) {
        const tall = y(scores.bins[i][1]) - y(scores.bins[i][2]);
        if (tall > 1) context.fillRect(at(i), y(scores.bins[i][2]), Math.max(at(i + 1) - at(i), 1), tall);
      }
    }
  };
  for (const { first, end, isSeen } of scores.stretches()) {
    const right = Math.min(at(end), x(untilMs));
    if (isSeen || right <= at(first)) continue;
    const box = { x: at(first), width: right - at(first), top: panel.top, height: panel.bottom - panel.top };
    hatched(context, box, colour('area'), colour('edge'), 0, width);
  }
  curves('area');
  if (scores.level !== null) {
    context.save();
    context.beginPath();
    context.rect(0, 0, width, y(scores.level));
    context.clip();
    curves('alarm-area');
    context.restore();
    levelLine(context, colour, 0, width, y(scores.level));
  }
  if (alarms) alarmBars(context, colour, alarms, x, { left: 0, right: width, top: panel.bottom, height: bars });
}
