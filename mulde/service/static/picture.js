// Pictures of cameras. Each bears its time; one that is old is dark and dated, whatever else has failed.

const OLD_MS = 4000;
const ASK_MS = 1000;
const ASK_OLD_MS = 5000;
const MAX_ASKED = 3;

class LivePicture {
  constructor(name, time) {
    Object.assign(this, { name, time, takenMs: null, tag: null, asked: null, isAsked: false, isStale: true, inSight: true });
    this.canvas = element('canvas', { width: 16, height: 9, role: 'img' });
    this.veil = element('div', { className: 'veil' });
    this.date = element('p', { className: 'taken' });
    this.large = element('p', { className: 'large', hidden: true });
    this.box = element('div', { className: 'picture old' }, this.canvas, this.veil, this.date, this.large);
    this.ageAll(null);
  }

  // camera: what is known of it. Called several times a second, and at once when anything changes.
  ageAll(camera) {
    if (camera) this.camera = camera;
    const ageMs = this.takenMs === null ? Infinity : this.time.now() - this.takenMs;
    const isOld = this.isStale || ageMs > OLD_MS;
    this.box.classList.toggle('old', isOld);
    this.isOld = isOld;
    const words = this.takenMs === null ? 'no picture yet' : this.words(isOld, ageMs);
    if (this.date.textContent !== words) this.date.textContent = words;
    const label = `${isOld ? 'Old picture' : 'Newest picture'} of ${this.name}, ${words}`;
    if (this.canvas.getAttribute('aria-label') !== label) this.canvas.setAttribute('aria-label', label);
    const until = this.camera?.paused_until_utc_ms;
    const large = until && until > this.time.now() ? `paused until ${moments(until, this.time.now()).slice(0, -3)}` : '';
    if (this.large.textContent !== large) this.large.textContent = large;
    this.large.hidden = !large;
  }

  words(isOld, ageMs) {
    const taken = moments(this.takenMs, this.time.now());
    return isOld ? `old: ${taken}, ${duration(Math.max(Math.round(ageMs / 1000), 0))} ago` : taken;
  }

  get isDue() {
    if (this.isAsked || !this.inSight || !this.box.isConnected || this.box.closest('[hidden]')) return false;
    if (this.asked === null) return true;
    return elapsed(this.asked) >= (this.camera?.picture_is_old ? ASK_OLD_MS : ASK_MS);
  }

  async ask(heard) {
    this.isAsked = true;
    this.asked = moment();
    try {
      const headers = this.tag ? { 'If-None-Match': this.tag } : {};
      const options = { headers, cache: 'no-store', signal: AbortSignal.timeout(OLD_MS) };
      const answer = await fetch(`cameras/${inAddress(this.name)}/now.jpg`, options);
      if (answer.status < 500 || answer.headers.has('X-Taken')) heard();
      if (answer.status === 200) await this.show(answer);
      else if (answer.status !== 304) this.isStale = true;
    } catch {
      // Nothing has come, so the picture grows old by itself.
    }
    this.isAsked = false;
    this.ageAll(null);
  }

  async show(answer) {
    const takenMs = Date.parse(answer.headers.get('X-Taken') || '');
    const bitmap = await createImageBitmap(await answer.blob());
    if (!Number.isFinite(takenMs)) return; // a picture without its time is not shown
    Object.assign(this.canvas, { width: bitmap.width, height: bitmap.height });
    this.canvas.getContext('2d').drawImage(bitmap, 0, 0);
    bitmap.close();
    [this.takenMs, this.tag, this.isStale] = [takenMs, answer.headers.get('ETag'), document.hidden];
    this.endOfLife?.cancel();
    // Darkens by itself when its time is over, even if this script should hang.
    const delay = Math.max(OLD_MS - (this.time.now() - takenMs), 0);
    this.endOfLife = this.veil.animate([{ opacity: 0 }, { opacity: 1 }], { delay, duration: 1, fill: 'both' });
  }

  // Nobody looks, or nobody will tell: what is there now is old.
  forget() {
    this.isStale = true;
    this.tag = null;
    this.ageAll(null);
  }
}

// Asks for the pictures that are in sight, a few at a time, so that a camera that does not answer holds up no other one.
class PicturePump {
  constructor(heard) {
    this.heard = heard;
    this.pictures = new Set();
    this.numAsked = 0;
    this.sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) target.picture.inSight = isIntersecting;
    });
    document.addEventListener('visibilitychange', () => {
      for (const one of this.pictures) {
        if (document.hidden) one.forget();
        else one.asked = null;
      }
      if (!document.hidden) this.turn();
    });
  }

  add(picture) {
    picture.box.picture = picture;
    this.pictures.add(picture);
    this.sight.observe(picture.box);
  }

  remove(picture) {
    this.pictures.delete(picture);
    this.sight.unobserve(picture.box);
  }

  turn() {
    for (const one of this.pictures) one.ageAll(null);
    if (document.hidden) return;
    const due = [...this.pictures].filter((one) => one.isDue);
    due.sort((a, b) => (a.asked?.steady ?? -1) - (b.asked?.steady ?? -1));
    for (const one of due.slice(0, Math.max(MAX_ASKED - this.numAsked, 0))) {
      this.numAsked += 1;
      one.ask(this.heard).finally(() => {
        this.numAsked -= 1;
      });
    }
  }
}
