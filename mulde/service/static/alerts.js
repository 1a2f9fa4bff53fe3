// The alerts that are listed, newest first, loaded page by page as the list is scrolled.

const PAGE = 100;
const TAGS = { seen: '✓ seen', normal: '✓ normal here', true: '✓ true' };

const isOpen = (alert) => alert.start !== undefined && alert.state !== 'closed';

// When it was at its peak: UTC of a camera, seconds of a video.
function placeOf(alert, nowMs) {
  if (alert.start === undefined) return `${clock(alert.start_s)} to ${clock(alert.end_s)}`;
  const length = (Date.parse(alert.end) - Date.parse(alert.start)) / 1000;
  return `${moments(Date.parse(alert.peak), nowMs)}${isOpen(alert) ? '' : ` · ${short(Math.max(length, 0))} s`}`;
}

const KINDS = { camera: 'Something is wrong with the camera', drift: 'The scores have drifted', flood: 'Too many alerts' };

const sentenceOf = (alert) => alert.reason || KINDS[alert.kind] || 'No reason kept';

const fileOf = (address) => (address ? address.replace(/^\/+/, '') : '');

// A picture is drawn anew where the peak has risen.
const pictureOf = (alert) => (alert.picture ? `${fileOf(alert.picture)}?revision=${alert.revision ?? 0}` : '');

class Alerts {
  // changed(): other alerts are listed, or the same ones have changed; failed(text).
  constructor(server, { changed, failed }) {
    Object.assign(this, { server, changed, failed, listed: [], next: null, mark: 'none', camera: '' });
    [this.asked, this.isLoading] = [0, false];
  }

  get hasMore() {
    return this.next !== null;
  }

  indexOf(id) {
    return this.listed.findIndex((alert) => alert.id === id);
  }

  async open({ mark = this.mark, camera = this.camera } = {}) {
    Object.assign(this, { mark, camera });
    await this.load(null);
  }

  async more() {
    if (this.hasMore && !this.isLoading) await this.load(this.next);
  }

  async load(before) {
    const asked = ++this.asked;
    this.isLoading = true;
    const query = new URLSearchParams({ limit: PAGE });
    const { mark, camera } = this;
    for (const [name, value] of Object.entries({ mark, camera, before })) if (value) query.set(name, value);
    try {
      const { alerts, next } = await this.server.get(`api/alerts?${query}`);
      if (asked !== this.asked) return; // another list was asked for since
      const known = new Set(before === null ? [] : this.listed.map((alert) => alert.id));
      this.listed = [...(before === null ? [] : this.listed), ...alerts.filter((alert) => !known.has(alert.id))];
      this.next = next;
      this.changed();
    } catch (error) {
      if (asked === this.asked) this.failed(`The alerts cannot be loaded: ${error.message}.`);
    } finally {
      if (asked === this.asked) this.isLoading = false;
    }
  }

  // An alert as it is now. One that is new comes first; one that got a mark stays where it is until the list is opened
  // again, so that nothing moves under a hand.
  update(alert) {
    const at = this.indexOf(alert.id);
    if (at >= 0) {
      if ((this.listed[at].revision ?? 0) > (alert.revision ?? 0)) return false;
      this.listed[at] = alert;
    } else {
      if (this.camera && alert.camera !== this.camera) return false;
      if (this.mark === 'none' && (alert.mark || alert.covered_by || alert.exemption)) return false;
      if (alert.start === undefined) return false;
      const newer = this.listed.findIndex((one) => one.start <= alert.start);
      if (newer < 0 && this.hasMore) return false; // older than what was loaded
      this.listed.splice(newer < 0 ? this.listed.length : newer, 0, alert);
    }
    this.changed();
    return at < 0;
  }

  fill(row, index, nowMs) {
    const alert = this.listed[index];
    const { image, reason, place, numbers, tag } = row.parts;
    const address = pictureOf(alert);
    if (image.dataset.address !== address) {
      image.dataset.address = address;
      image.hidden = !address;
      if (address) image.src = address;
      else image.removeAttribute('src');
    }
    reason.textContent = sentenceOf(alert);
    place.replaceChildren(isolated(alert.camera), ` · ${placeOf(alert, nowMs)}`);
    const hasNumbers = typeof alert.p_value === 'number';
    numbers.textContent = hasNumbers ? `p ${probability(alert.p_value)} · score ${short(alert.score)}` : alert.kind;
    const tags = [TAGS[alert.mark] || '', alert.exemption ? 'suppressed' : '', isOpen(alert) ? '▲ going on' : ''];
    tag.textContent = tags.filter(Boolean).join(' · ');
    row.className = `row event${alert.mark ? ' labelled' : ''}${alert.exemption ? ' suppressed' : ''}`;
    if (index >= this.listed.length - 20) this.more();
  }
}
