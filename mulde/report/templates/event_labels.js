// Labels that a person gives to events: kept in this browser per report, written to and read from CSV.

const LABEL_COLUMNS = ['event_id', 'video', 'start_frame', 'end_frame', 'mark', 'why', 'marked_at'];
const LABELS = { reviewed: 'reviewed', normal: 'normal' };

class EventLabels {
  constructor(id) {
    this.key = `mulde-report:${id}`;
    this.kept = true;
    this.byEvent = new Map();
    try {
      this.byEvent = new Map(Object.entries(JSON.parse(localStorage.getItem(this.key) || '{}')));
    } catch {
      this.kept = false;
    }
  }

  get(id) {
    return this.byEvent.get(id) || null;
  }

  set(id, fields) {
    this.byEvent.set(id, fields);
    this.save();
  }

  clear(id) {
    this.byEvent.delete(id);
    this.save();
  }

  save() {
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(this.byEvent)));
    } catch {
      this.kept = false;
    }
  }

  toCsv() {
    const rows = [...this.byEvent].map(([id, one]) => [
      id, one.video, one.start_frame, one.end_frame, one.mark, one.why, one.marked_at,
    ]);
    return [LABEL_COLUMNS, ...rows].map((row) => row.map(csvCell).join(',') + '\r\n').join('');
  }

  // Reads the labels of a CSV; how many rows were taken, and how many name an unknown event or an unknown label.
  read(text, known) {
    const [header, ...rows] = csvRows(text);
    const missing = LABEL_COLUMNS.filter((name) => !(header || []).includes(name));
    if (missing.length) throw new Error(`the file has no column ${missing.join(', ')}`);
    let taken = 0;
    for (const cells of rows) {
      const row = Object.fromEntries(header.map((name, i) => [name, cells[i] ?? '']));
      if (!known(row.event_id) || !(row.mark in LABELS)) continue;
      const { event_id: id, video, start_frame: start, end_frame: end, mark, why, marked_at: at } = row;
      this.byEvent.set(id, { video, start_frame: Number(start), end_frame: Number(end), mark, why, marked_at: at });
      taken += 1;
    }
    this.save();
    return { taken, left: rows.length - taken };
  }
}

// What a spreadsheet would run as a formula gets an apostrophe, which `csvText` takes off: as mulde/files.py has it.
const FORMULA = /^'*[=+\-@\t\r\n\uFF1D\uFF0B\uFF0D\uFF20]/;

function csvText(cell) {
  return cell.startsWith("'") && FORMULA.test(cell) ? cell.slice(1) : cell;
}

function csvCell(value) {
  const text = typeof value === 'string' && FORMULA.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csvRows(text) {
  const rows = [];
  let row = [];
  const cell = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/gy;
  const source = text.replace(/^\uFEFF/, '');
  while (cell.lastIndex < source.length) {
    const match = cell.exec(source);
    if (!match) throw new Error('the file is not CSV');
    row.push(csvText(match[1] !== undefined ? match[1].replaceAll('""', '"') : match[2]));
    if (match[3] !== ',') {
      rows.push(row);
      row = [];
    } else if (cell.lastIndex === source.length) {
      row.push('');
    }
  }
  if (row.length) rows.push(row);
  return rows.filter((cells) => cells.length > 1 || cells[0] !== '');
}

function download(name, text) {
  const link = element('a', { href: URL.createObjectURL(new Blob([text], { type: 'text/csv' })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
