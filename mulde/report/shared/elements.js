// Elements, and numbers and times in words.

const byId = (id) => document.getElementById(id);

// An element with properties and children. Strings become text, never markup: names of videos come from outside.
function element(tag, properties = {}, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in one) one[name] = value;
    else one.setAttribute(name, value);
  }
  one.append(...children.filter((child) => child !== null && child !== undefined));
  return one;
}

// Names come from outside: characters that would steer the text are written out, and a name in another direction leaves
// the words around it alone.
const shown = (name) => name.replace(
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
  (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`,
);
const isolated = (name) => element('bdi', {}, shown(name));

// Facts [name, value] as a list of terms.
const factList = (facts) => element('dl', {}, ...facts.map(([name, value]) =>
  element('div', {}, element('dt', {}, name), element('dd', {}, value))));

const paragraph = (className, text) => element('p', { className }, text);

const whole = (number) => Math.round(number).toLocaleString('en');

function short(number, digits = 3) {
  if (number === null || number === undefined || !Number.isFinite(number)) return '–';
  if (number !== 0 && (Math.abs(number) < 1e-3 || Math.abs(number) >= 1e6)) return number.toExponential(digits - 2);
  return Number(number.toPrecision(digits)).toLocaleString('en', { maximumFractionDigits: 6 });
}

const probability = (p) => (p === null || p === undefined ? '–' : p < 1e-4 ? '< 0.0001' : short(p, 2));

function clock(seconds, decimals = 1) {
  const sign = seconds < 0 ? '-' : '';
  const units = Math.round(Math.abs(seconds) * 10 ** decimals);
  const rest = units / 10 ** decimals;
  const hours = Math.floor(rest / 3600);
  const minutes = Math.floor(rest / 60) % 60;
  const last = (rest % 60).toFixed(decimals).padStart(decimals ? 3 + decimals : 2, '0');
  return sign + (hours ? `${hours}:${String(minutes).padStart(2, '0')}` : `${minutes}`) + `:${last}`;
}

const counted = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;

function duration(seconds) {
  if (seconds < 90) return `${short(seconds, 2)} s`;
  if (seconds < 5400) return `${short(seconds / 60, 2)} min`;
  return `${short(seconds / 3600)} h`;
}
