// Drawings of scores over time, in the colours of the page.

const TIME_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200];
const SMALL = '11px system-ui, sans-serif';

// Colours of the page by name, for drawings.
function colours(canvas) {
  const style = getComputedStyle(canvas);
  const known = new Map();
  return (name) => {
    if (!known.has(name)) known.set(name, style.getPropertyValue(`--${name}`).trim());
    return known.get(name);
  };
}

// The drawing of a canvas as sharp as the screen, in CSS pixels.
function sized(canvas, wide = canvas.clientWidth, high = canvas.clientHeight) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(wide * ratio), Math.round(high * ratio)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

// Lines of time and what they say: x(time) is where a time stands, words(time, step) what is written below its line.
function timeGrid(context, colour, { from, to, left, right, top, bottom }, x, words) {
  const step = TIME_STEPS.find((one) => ((to - from) / one) * 74 < right - left) || 86400;
  context.textAlign = 'center';
  context.textBaseline = 'top';
  for (let at = Math.ceil(from / step) * step; at <= to + 1e-9; at += step) {
    const place = Math.round(x(at)) + 0.5;
    if (place < left || place > right) continue;
    context.fillStyle = colour('line');
    context.fillRect(place - 0.5, top, 1, bottom - top);
    context.fillStyle = colour('soft');
    context.fillText(words(at, step), Math.min(Math.max(place, left + 16), right - 16), bottom + 5);
  }
}

// A hatched stretch. left, right: where the drawing ends.
function hatched(context, { x, width, top, height }, fill, line, left, right) {
  context.fillStyle = fill;
  context.fillRect(x, top, width, height);
  context.save();
  context.beginPath();
  context.rect(x, top, width, height);
  context.clip();
  context.strokeStyle = line;
  context.lineWidth = 1;
  context.beginPath();
  const first = Math.max(x - height, left - height);
  for (let at = first - (first % 9); at < Math.min(x + width, right); at += 9) {
    context.moveTo(at, top + height);
    context.lineTo(at + height, top);
  }
  context.stroke();
  context.restore();
}

// A curve through points [x, y] that rise in x, and the area between it and `bottom`.
function areaUnder(context, points, bottom, area, line) {
  if (!points.length) return;
  const path = new Path2D();
  const below = new Path2D();
  path.moveTo(...points[0]);
  below.moveTo(points[0][0], bottom);
  for (const [x, y] of points) {
    path.lineTo(x, y);
    below.lineTo(x, y);
  }
  below.lineTo(points[points.length - 1][0], bottom);
  below.closePath();
  context.fillStyle = area;
  context.fill(below);
  context.strokeStyle = line;
  context.lineWidth = 1.4;
  context.lineJoin = 'round';
  context.stroke(path);
}

function levelLine(context, colour, left, right, y) {
  context.fillStyle = colour('alarm');
  for (let x = left; x < right; x += 10) context.fillRect(x, y - 0.75, 6, 1.5);
}

// Alarms [{ start, end, suppressed, selected }] as bars: full ones, hollow where suppressed, the selected one framed.
function alarmBars(context, colour, alarms, xOf, { left, right, top, height }) {
  let drawn = -1;
  for (const one of alarms) {
    const x = xOf(one.start);
    const width = Math.max(xOf(one.end) - x, 2);
    if (x > right || x + width < left) continue;
    if (x + width < drawn + 0.5 && !one.selected) continue; // in the pixels of the one before
    drawn = x + width;
    context.fillStyle = context.strokeStyle = colour('alarm');
    context.lineWidth = 1.5;
    if (one.suppressed) context.strokeRect(x + 0.75, top + 4.75, Math.max(width - 1.5, 1), height - 7.5);
    else context.fillRect(x, top + 4, width, height - 6);
    if (one.selected) {
      context.strokeStyle = colour('ink');
      context.lineWidth = 2;
      context.strokeRect(x - 2, top + 2, width + 4, height - 2);
    }
  }
}
