// One alert: its picture or clip, the sentence, the numbers, and what people say of it.

const MARKS = [
  { mark: 'seen', text: 'Seen', key: 's', title: 'I have seen it' },
  { mark: 'normal', text: 'Normal here', key: 'n', title: 'It and what resembles it should raise no alert' },
  { mark: 'true', text: 'True', key: 't', title: 'It was worth an alert' },
];

class AlertDetail {
  // mark(alert, mark, why) is called by the buttons.
  constructor(box, { time, mark }) {
    Object.assign(this, { box, time, mark, alert: null, media: null, player: null });
  }

  // Where the same alert is shown again, what is being watched or written stays.
  show(alert) {
    const isSame = this.alert?.id === alert?.id;
    this.alert = alert;
    if (!alert) {
      this.media = this.player = null;
      this.box.replaceChildren(paragraph('empty', 'No alert is selected.'));
      return;
    }
    if (!isSame) this.media = this.newMedia();
    else if (!this.player) this.turnTo('Picture');
    const form = this.box.querySelector('#why-form');
    if (isSame && form && !form.hidden) return;
    const focused = document.activeElement.closest('#alert .labelling') ? document.activeElement.textContent : null;
    this.box.replaceChildren(this.media, this.words());
    if (focused) [...this.box.querySelectorAll('button')].find((one) => one.textContent === focused)?.focus();
  }

  newMedia() {
    this.player = null;
    this.stage = element('div', { className: 'stage' });
    this.views = [['Picture', () => this.picture()]];
    this.views.push(['Clip', () => this.clip()]);
    this.buttons = this.views.map(([name]) => {
      const key = name === 'Clip' ? element('kbd', {}, 'c') : null;
      const button = element('button', { type: 'button', className: 'choice' }, name, key);
      button.addEventListener('click', () => {
        this.turnTo(name);
        if (name === 'Clip') this.play();
      });
      return button;
    });
    this.turnTo('Picture');
    const choices = element('div', { className: 'choices', role: 'group', ariaLabel: 'Show' }, ...this.buttons);
    return element('div', { className: 'media' }, this.stage, choices);
  }

  turnTo(name) {
    this.views.forEach(([known, make], i) => {
      this.buttons[i].setAttribute('aria-pressed', known === name);
      if (known === name) this.stage.replaceChildren(make());
    });
    this.buttons[1].disabled = !this.alert.clip;
  }

  picture() {
    this.player = null;
    const address = pictureOf(this.alert);
    if (!address) return paragraph('empty', 'No picture.');
    const image = element('img', { alt: `The peak of ${shown(this.alert.id)}`, src: address });
    const say = () => image.replaceWith(paragraph('empty', 'The picture is not there.'));
    image.addEventListener('error', say, { once: true });
    return image;
  }

  clip() {
    const player = element('video', { controls: true, muted: true, preload: 'metadata', src: fileOf(this.alert.clip) });
    player.setAttribute('aria-label', 'Clip of the alert');
    player.addEventListener('error', () => {
      player.replaceWith(paragraph('empty', 'The clip is not there any more, or this browser cannot play it.'));
      this.player = null;
    }, { once: true });
    this.player = player;
    return player;
  }

  play() {
    this.player?.play().catch(() => {});
  }

  togglePlay() {
    if (!this.alert?.clip) return;
    if (!this.player) this.turnTo('Clip');
    if (this.player.paused) this.play();
    else this.player.pause();
  }

  words() {
    const { alert } = this;
    const facts = [];
    const add = (name, value) => value !== null && value !== undefined && value !== '' && facts.push([name, value]);
    if (alert.p_value !== undefined) add('p-value', alert.p_value === null ? null : probability(alert.p_value));
    const level = typeof alert.level === 'number' ? ` (level ${short(alert.level)})` : '';
    if (typeof alert.score === 'number') add('Score', short(alert.score) + level);
    if (alert.object) add('Object', shown(alert.object));
    if (alert.stream) add('Stream', shown(alert.stream));
    if (alert.kind && alert.kind !== 'unusual') add('Kind', alert.kind);
    if (alert.health?.length) add('Picture', alert.health.map(shown).join(', '));
    if (alert.covered_by) add('Part of', shown(alert.covered_by));
    if (alert.exemption) add('Suppressed by', shown(alert.exemption));
    const cut = alert.cut_short ? 'Cut short: the process ended while it was going on.' : '';
    const notes = [isOpen(alert) ? '▲ Still going on.' : '', cut, this.marked()].filter(Boolean);
    return element(
      'div', { className: 'words' },
      element('h2', {}, isolated(alert.camera), element('span', {}, ` ${placeOf(alert, this.time.now())}`)),
      paragraph('reason', sentenceOf(alert)),
      this.marking(),
      factList(facts),
      ...notes.map((note) => paragraph('hint', note)),
    );
  }

  marked() {
    const { mark, marked_by: who, marked_utc_ms: when, why } = this.alert;
    if (!mark) return '';
    const by = [who ? ` by ${shown(who)}` : '', when ? `, ${moments(when, this.time.now())}` : '', why ? `: ${shown(why)}` : ''];
    return `Marked as ${mark}${by.join('')}.`;
  }

  marking() {
    const { alert } = this;
    const marks = [...MARKS, { mark: '', text: 'Clear', key: 'u', disabled: !alert.mark }];
    const who = element('input', {
      type: 'text', id: 'who-here', ariaLabel: 'Your name (may stay empty)', placeholder: 'your name', maxLength: 100,
      autocomplete: 'name', value: byId('who').value,
    });
    who.addEventListener('change', () => {
      byId('who').value = who.value;
      byId('who').dispatchEvent(new Event('change'));
    });
    const say = (mark) => (mark === 'normal' ? askWhy() : this.mark(alert, mark, ''));
    return element(
      'div', { className: 'labelling' },
      element('div', { className: 'buttons' }, ...markButtons(marks, alert.mark, say)),
      whyForm('Normal here', (why) => this.mark(alert, 'normal', why), who),
    );
  }
}
