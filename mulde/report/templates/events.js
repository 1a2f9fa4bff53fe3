// What would alarm at a level: the same rules as mulde/evaluation/events.py, on the scores' numbers on the grid.

// Calls found(start, end, peak) for the stretches of numbers[begin:end] at or above k, positions from `begin`.
function findEvents(numbers, begin, end, k, mergeGap, minLength, found) {
  let start = -1;
  let stop = 0;
  let peak = 0;
  const close = () => {
    if (start >= 0 && stop - start >= minLength) found(start - begin, stop - begin, peak - begin);
  };
  for (let i = begin; i < end; i++) {
    if (numbers[i] < k) continue;
    const from = i;
    let top = i;
    for (; i < end && numbers[i] >= k; i++) if (numbers[i] > numbers[top]) top = i;
    if (start >= 0 && from - stop <= mergeGap) {
      if (numbers[top] > numbers[peak]) peak = top;
    } else {
      close();
      [start, peak] = [from, top];
    }
    stop = i;
  }
  close();
}

// Stretches of all videos, a column each: video, positions of start, end and peak, its number on the grid, and `own`:
// which event of the run it is (part of), -1 for none.
class Stretches {
  constructor() {
    this.video = [];
    this.start = [];
    this.end = [];
    this.peak = [];
    this.number = [];
    this.own = [];
  }

  get length() {
    return this.video.length;
  }

  add(video, start, end, peak, number, own) {
    this.video.push(video);
    this.start.push(start);
    this.end.push(end);
    this.peak.push(peak);
    this.number.push(number);
    this.own.push(own);
  }
}

// Events of the run with their positions, by video and in order of time: `order` lists them.
function placeEvents(data) {
  for (const event of data.events) {
    const video = data.videos[event.video];
    event.startAt = video.positionOfFrame(event.start);
    event.endAt = video.positionOfFrame(event.end);
    event.peakAt = video.positionOfFrame(event.peak);
    event.number = data.scores[video.offset + event.peakAt];
  }
  const byVideo = data.videos.map(() => []);
  data.events.forEach((event, i) => byVideo[event.video].push(i));
  for (const list of byVideo) list.sort((a, b) => data.events[a].startAt - data.events[b].startAt);
  data.eventsOf = byVideo;
}

// At the alarm level: the events of the run as they are.
function ownStretches(data) {
  const found = new Stretches();
  data.eventsOf.forEach((list, video) => {
    for (const i of list) {
      const event = data.events[i];
      found.add(video, event.startAt, event.endAt, event.peakAt, event.number, i);
    }
  });
  return found;
}

function stretchesAt(data, k) {
  if (k === data.grid.alarm && data.events.length) return ownStretches(data);
  const found = new Stretches();
  const { scores, events } = data;
  data.videos.forEach((video, v) => {
    const own = data.eventsOf[v];
    let next = 0;
    const one = (start, end, peak) => {
      while (next < own.length && events[own[next]].endAt <= start) next += 1;
      let best = -1;
      for (let j = next; j < own.length && events[own[j]].startAt < end; j++) {
        if (best < 0 || events[own[j]].score > events[best].score) best = own[j];
      }
      if (best >= 0 && events[best].peakAt >= start && events[best].peakAt < end) peak = events[best].peakAt;
      found.add(v, start, end, peak, scores[video.offset + peak], best);
    };
    const { offset, num_frames: length, merge_gap: gap, min_length: least } = video;
    findEvents(scores, offset, offset + length, k, gap, least, one);
  });
  return found;
}

// What held-out normal video says of a level: how many events it has there, and how many false alarms per hour that
// lets expect of new normal video. With k seen in H hours, (k + 1) / H: the next one may come at any moment.
function falseAlarms(normal, level) {
  if (!normal || !normal.hours) return null;
  const { levels, num_events: counts, hours } = normal;
  const last = lowerBound(levels.length, (i) => Number(levels[i] < level), 1) - 1;
  const seen = last < 0 ? 0 : counts[last];
  return { seen, hours, perHour: (seen + 1) / hours };
}
