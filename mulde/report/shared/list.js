// A list of any length that draws only the rows in sight. Rows are options of a listbox; the box itself has the focus.

class VirtualList {
  // make() gives a row element; fill(row, index) puts content into it; choose(index) is called on a click.
  constructor(box, { rowHeight, make, fill, choose }) {
    Object.assign(this, { box, rowHeight, make, fill, choose, length: 0, selected: -1, rows: [] });
    this.space = element('div', { role: 'presentation', className: 'space' });
    box.append(this.space);
    this.pending = false;
    box.addEventListener('scroll', () => this.later(), { passive: true });
    new ResizeObserver(() => this.later()).observe(box);
    box.addEventListener('click', (event) => {
      const row = event.target.closest('[role=option]');
      if (row) this.choose(Number(row.dataset.index));
    });
  }

  show(length, selected) {
    this.length = length;
    this.selected = selected;
    this.space.style.height = `${length * this.rowHeight}px`;
    this.draw(true);
  }

  reveal(index) {
    const top = index * this.rowHeight;
    const { scrollTop, clientHeight } = this.box;
    if (top < scrollTop) this.box.scrollTop = top;
    else if (top + this.rowHeight > scrollTop + clientHeight) this.box.scrollTop = top + this.rowHeight - clientHeight;
    this.draw(false);
  }

  later() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.draw(false);
    });
  }

  draw(isRefresh) {
    const { scrollTop, clientHeight } = this.box;
    const first = Math.max(Math.floor(scrollTop / this.rowHeight) - 2, 0);
    const last = Math.min(Math.ceil((scrollTop + clientHeight) / this.rowHeight) + 2, this.length);
    const wanted = new Set();
    for (let i = first; i < last; i++) wanted.add(i);
    const free = [];
    for (const row of this.rows) {
      const index = Number(row.dataset.index);
      if (wanted.has(index)) {
        wanted.delete(index);
        if (isRefresh) this.put(row, index);
      } else free.push(row);
    }
    for (const index of wanted) {
      let row = free.pop();
      if (!row) {
        row = this.make();
        row.setAttribute('role', 'option');
        this.rows.push(row);
        this.space.append(row);
      }
      this.put(row, index);
    }
    for (const row of free) row.remove();
    this.rows = this.rows.filter((row) => row.isConnected);
    const active = this.rows.find((row) => Number(row.dataset.index) === this.selected);
    if (active) this.box.setAttribute('aria-activedescendant', active.id);
    else this.box.removeAttribute('aria-activedescendant');
  }

  put(row, index) {
    row.dataset.index = index;
    row.id = `${this.box.id}-${index}`;
    row.style.transform = `translateY(${index * this.rowHeight}px)`;
    row.setAttribute('aria-setsize', this.length);
    row.setAttribute('aria-posinset', index + 1);
    row.setAttribute('aria-selected', index === this.selected);
    this.fill(row, index);
  }
}

// The row of an event: picture, sentence, place, numbers, and what a person said of it.
function makeEventRow() {
  const parts = {
    image: element('img', { alt: '', className: 'thumb', decoding: 'async', hidden: true }),
    reason: element('div', { className: 'row-reason' }),
    place: element('div', { className: 'row-place' }),
    numbers: element('span', {}),
    tag: element('span', { className: 'tag' }),
  };
  const frame = element('div', { className: 'frame' }, parts.image);
  const numbers = element('div', { className: 'row-numbers' }, parts.numbers, parts.tag);
  const row = element('div', {}, frame, element('div', { className: 'row-text' }, parts.reason, parts.place, numbers));
  return Object.assign(row, { parts });
}
