// What the page holds: the scores unpacked.

function fromBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

async function inflated(text) {
  const stream = new Blob([fromBase64(text)]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).arrayBuffer();
}

// The other half of `packed` in page_scores.py: low bytes, high bytes, zigzag, differences.
async function unpacked(text) {
  const bytes = new Uint8Array(await inflated(text));
  const values = new Uint16Array(bytes.length / 2);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const zigzag = bytes[i] | (bytes[i + values.length] << 8);
    sum += (zigzag >>> 1) ^ -(zigzag & 1);
    values[i] = sum;
  }
  return values;
}

// The first position of a rising list whose value is not below `value`.
function lowerBound(length, at, value) {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (at(middle) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

// A video: `offset` is where its frames begin among those of all videos; positions count its scored frames.
class Video {
  constructor(plain, offset, bucketOffset) {
    Object.assign(this, plain, { offset, bucketOffset, frames: null, times: null });
  }

  async unpackAxis() {
    if (!this.axis) return;
    const steps = new Int32Array(await inflated(this.axis));
    [this.frames, this.times] = [steps.subarray(0, this.num_frames), steps.subarray(this.num_frames)];
    for (const values of [this.frames, this.times]) for (let i = 1; i < values.length; i++) values[i] += values[i - 1];
  }

  frame(position) {
    return this.frames ? this.frames[position] : this.first_frame + position;
  }

  time(position) {
    return this.times ? this.times[position] / 1000 : this.start_s + position / this.rate;
  }

  get seconds() {
    return this.num_frames / this.rate;
  }

  // The first frame that is not before it.
  positionOfFrame(frame) {
    if (!this.frames) return Math.min(Math.max(frame - this.first_frame, 0), this.num_frames);
    return lowerBound(this.num_frames, (i) => this.frames[i], frame);
  }

  // The last frame that begins no later than this moment.
  positionAt(seconds) {
    const next = lowerBound(this.num_frames, (i) => this.time(i), seconds + 1e-4);
    return Math.max(next - 1, 0);
  }
}

async function readData() {
  const text = (id) => byId(id).textContent;
  const [payload, scores] = await Promise.all([inflated(text('payload')), unpacked(text('scores'))]);
  const data = JSON.parse(new TextDecoder().decode(payload));
  let offset = 0;
  let buckets = 0;
  data.videos = data.videos.map((plain) => {
    const video = new Video(plain, offset, buckets);
    offset += plain.num_frames;
    buckets += data.bucket === 1 ? plain.num_frames : 2 * Math.ceil(plain.num_frames / data.bucket);
    return video;
  });
  await Promise.all(data.videos.map((video) => video.unpackAxis()));
  await Promise.all(data.streams.map(async (stream) => (stream.values = await unpacked(stream.values))));
  return Object.assign(data, { scores, pictures: JSON.parse(text('pictures')) });
}

function levelOf(grid, k) {
  return k === grid.alarm ? grid.alarm_level : grid.low + k * grid.step;
}

// The p-value of a frame with this number on the grid; null where the scores came without.
function pValueOf(data, k) {
  if (!data.p_values) return null;
  const [starts, p] = data.p_values;
  return p[Math.max(lowerBound(starts.length, (i) => starts[i], k + 1) - 1, 0)];
}

// Lowest and highest value of a stream around a position: the same where every frame has its own.
function streamAt(data, stream, video, position) {
  const value = (i) => stream.low + stream.values[i] * stream.step;
  if (data.bucket === 1) return [value(video.bucketOffset + position), value(video.bucketOffset + position)];
  const i = video.bucketOffset + 2 * Math.floor(position / data.bucket);
  return [value(i), value(i + 1)];
}
