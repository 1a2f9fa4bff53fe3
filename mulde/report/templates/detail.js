// All that is known of one event: picture or video, reason, what drove it, and the reference samples that resemble it.

class Detail {
  // label(kind, why) is called by the buttons; played(seconds) while a video of the whole scene plays.
  constructor(data, box, { label, played }) {
    Object.assign(this, { data, box, label, played, shown: null, player: null });
  }

  // shown: { event or null, video, start, end, peak, number }, positions in the video.
  show(shown, label) {
    this.shown = shown;
    this.player = null;
    this.box.replaceChildren();
    if (!shown) {
      this.box.append(element('p', { className: 'empty' }, 'No event is selected.'));
      return;
    }
    this.box.append(this.media(shown), this.words(shown, label));
    if (shown.event?.reason) this.box.append(this.evidence(shown.event), this.nearest(shown.event.reason));
  }

  media({ event, video }) {
    const stage = element('div', { className: 'stage' });
    const index = event ? this.data.events.indexOf(event) : -1;
    const clip = event && (this.data.pictures.clips[index] || event.clip);
    const views = [['Picture', () => this.picture(event, index)]];
    if (clip) views.push(['Clip', () => this.video(this.clipAddress(event, index), 'clip')]);
    if (video.overlay) views.push(['Whole video', () => this.video(video.overlay, 'overlay')]);
    const buttons = views.map(([name, make]) => {
      const button = element('button', { type: 'button', className: 'choice' }, name);
      button.addEventListener('click', () => {
        for (const one of buttons) one.setAttribute('aria-pressed', one === button);
        stage.replaceChildren(make());
      });
      return button;
    });
    this.turnTo = (name) => buttons[views.findIndex(([known]) => known === name)]?.click();
    this.turnTo('Picture');
    const hint = clip || video.overlay ? null : element(
      'p', { className: 'hint' }, 'No video is beside this page: ', element('code', {}, 'mulde overlay RUN --clips'),
      ' makes one of each event, ', element('code', {}, 'mulde overlay RUN'), ' the whole ones. Then make the page again.',
    );
    const choices = views.length > 1 ? element('div', { className: 'choices', role: 'group', ariaLabel: 'Show' }, ...buttons) : null;
    return element('div', { className: 'media' }, stage, choices, hint);
  }

  picture(event, index) {
    this.player = null;
    const inside = event && pictureAddress(this.data.pictures.events[index]);
    const address = inside || event?.picture;
    if (!address) return element('p', { className: 'empty' }, 'No picture.');
    const image = element('img', { alt: `The peak of ${event.id}`, src: address });
    if (inside && event.picture) {
      const sharper = new Image();
      sharper.addEventListener('load', () => (image.src = sharper.src));
      sharper.src = event.picture;
    }
    return image;
  }

  clipAddress(event, index) {
    const inside = this.data.pictures.clips[index];
    return inside ? URL.createObjectURL(new Blob([fromBase64(inside)], { type: 'video/mp4' })) : event.clip;
  }

  video(address, kind) {
    const player = element('video', { controls: true, muted: true, preload: 'metadata', src: address });
    player.setAttribute('aria-label', kind === 'clip' ? 'Clip of the event' : 'The whole video');
    player.dataset.kind = kind;
    player.addEventListener('error', () => {
      const text = `${kind === 'clip' ? 'The clip' : 'The video'} is not beside this page, or this browser cannot play it.`;
      player.replaceWith(element('p', { className: 'empty' }, text));
      this.player = null;
    });
    if (kind === 'overlay') {
      const follow = () => this.played(player.currentTime);
      player.addEventListener('timeupdate', follow);
      this.goTo(player, this.shown.video.time(this.shown.start));
    }
    this.player = player;
    return player;
  }

  goTo(player, seconds) {
    const go = () => (player.currentTime = seconds);
    if (player.readyState >= 1) go();
    else player.addEventListener('loadedmetadata', go, { once: true });
  }

  // The frame of a position in the video of the whole scene, where there is one.
  seek(position) {
    const { video } = this.shown || {};
    if (!video?.overlay) return false;
    if (this.player?.dataset.kind !== 'overlay') this.turnTo('Whole video');
    if (this.player) this.goTo(this.player, video.time(position) - video.start_s + 0.5 / video.rate);
    return true;
  }

  togglePlay() {
    if (!this.player) this.turnTo(this.shown?.event?.clip || this.shown?.video.overlay ? 'Clip' : 'Picture');
    if (!this.player) this.turnTo('Whole video');
    if (!this.player) return;
    if (this.player.paused) this.player.play().catch(() => {});
    else this.player.pause();
  }

  words(shown, label) {
    const { event, video, start, end, peak, number } = shown;
    const { data } = this;
    const reason = event?.reason;
    const facts = [
      ['Frames', `${whole(video.frame(start))} to ${whole(video.frame(end - 1))}`],
      ['Peak', `frame ${whole(video.frame(peak))}, ${clock(video.time(peak))}`],
      ['Score', short(event ? event.score : levelOf(data.grid, number), 4)],
      ['p-value', event ? probability(event.p) : '–'],
    ];
    if (reason?.what) facts.push(['Object', reason.what + (reason.track >= 0 ? `, track ${reason.track}` : '')]);
    const why = reason?.text || (event
      ? 'This run keeps no reason for its events.'
      : data.grid.alarm === null
        ? 'These scores came without an alarm level, so there are no reasons or pictures: mulde score makes them.'
        : 'A stretch below the alarm level of the run, so it has no reason or picture. mulde score gives it both with a higher --false-alarms-per-hour.');
    return element(
      'div', { className: 'words' },
      element('h2', {}, isolated(video.name), element('span', {}, ` ${clock(video.time(start))} to ${clock(video.time(end - 1))}`)),
      element('p', { className: reason?.text ? 'reason' : 'hint' }, why),
      this.labelling(event, label),
      this.suppressions(event),
      factList(facts),
    );
  }

  suppressions(event) {
    const all = this.data.suppressions.filter((one) => event && (one.covers.includes(event.id) || one.id === event.suppression));
    if (!all.length) return null;
    return element('ul', { className: 'suppressions' }, ...all.map((one) =>
      element('li', {}, `Suppression ${one.id}, ${one.state}: ${one.who}, ${one.when}${one.why ? `: ${one.why}` : ''}`)));
  }

  labelling(event, label) {
    const marks = [
      { mark: 'reviewed', text: 'Reviewed', key: 'r', title: 'I have seen it' },
      { mark: 'normal', text: 'This is normal', key: 'i', title: 'It and similar events should raise no alarm: mulde feedback', disabled: !event },
      { mark: null, text: 'Clear', key: 'u', disabled: !label },
    ];
    const why = label?.why ? element('p', { className: 'hint' }, `Why normal: ${label.why}`) : null;
    return element(
      'div', { className: 'labelling' },
      element('div', { className: 'buttons' }, ...markButtons(marks, label?.mark, (mark) => this.label(mark))),
      whyForm('Label as normal', (text) => this.label('normal', text)), why,
    );
  }

  evidence({ reason }) {
    const names = Object.entries(reason.streams).sort((a, b) => b[1] - a[1]);
    const surprises = names.map(([name, share]) => [name, share, `${short(share)} (p ${probability(Math.exp(-share * share / 2))})`]);
    const scales = reason.scales.map(([level, excess]) => [`σ ${short(level, 2)}`, excess, `${excess > 0 ? '+' : ''}${short(excess)} SD`]);
    const groups = reason.groups.map(([name, share]) => [name, share, `${Math.round(100 * share)} %`]);
    return element(
      'div', { className: 'evidence' },
      bars('Streams', 'How surprising each is among normal frames; together they are the score.', surprises, reason.stream),
      bars('What of the object', `Shares of the gradient in ${reason.stream}.`, groups),
      bars('Noise scales', 'Energy above that of normal rows, in their standard deviations.', scales),
    );
  }

  nearest(reason) {
    if (!reason.nearest.length) return '';
    const list = reason.nearest.map(([moment, video, frame, seconds, distance]) => {
      const address = pictureAddress(this.data.pictures.normal[moment]);
      const words = `, ${clock(seconds)} (frame ${whole(frame)}), distance ${short(distance, 2)}`;
      return element(
        'figure', {},
        address ? element('img', { src: address, alt: `Normal moment of ${shown(video)}`, loading: 'lazy' }) : element('div', { className: 'blank' }),
        element('figcaption', {}, isolated(video), words),
      );
    });
    return element('div', { className: 'nearest' }, element('h3', {}, 'The most similar moments of the training videos'), element('div', { className: 'samples' }, ...list));
  }
}

function pictureAddress(base64) {
  return base64 ? `data:image/webp;base64,${base64}` : null;
}

// Rows of [name, number, text] as a table whose bars are as long as the numbers; `bold` is the name to stress.
function bars(caption, note, rows, bold) {
  if (!rows.length) return '';
  const most = Math.max(...rows.map(([, number]) => number), 1e-12);
  return element(
    'table', { className: 'bars' }, element('caption', {}, caption, element('span', {}, note)),
    element('tbody', {}, ...rows.map(([name, number, text]) => {
      const bar = element('div', { className: 'bar' });
      bar.style.width = `${Math.max(number / most, 0) * 100}%`;
      const row = element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, bar), element('td', {}, text));
      if (name === bold) row.className = 'bold';
      return row;
    })),
  );
}
