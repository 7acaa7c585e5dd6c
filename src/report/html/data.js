// The page's data, and how elements are made: text is always text, never markup.
const data = JSON.parse(document.getElementById('data').textContent);
const texts = data.texts;
const WORDS = { p: 'passed', f: 'failed', e: 'errored', s: 'skipped', k: 'known' };
const SIGNS = { p: '✓', f: '✗', e: '!', s: '–', k: '≈' };
const SENT = 0, RECEIVED = 1, LINK = 2, NOTE = 3;

const byKey = new Map(data.cases.map((one, index) => [one.key, index]));

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat(3)) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
}

function el(tag, attributes, ...children) {
  return make(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return make(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

// `0.4 ms`, `12 ms`, `1.25 s`, of microseconds.
function time(micros) {
  const ms = micros / 1000;
  if (Math.abs(ms) < 10) return ms.toFixed(1) + ' ms';
  if (Math.abs(ms) < 1000) return ms.toFixed(0) + ' ms';
  if (Math.abs(ms) < 60000) return (ms / 1000).toFixed(2) + ' s';
  return Math.floor(ms / 60000) + ' min ' + Math.round(ms / 1000) % 60 + ' s';
}

function plural(count, noun) {
  return count === 1 ? '1 ' + noun : count + ' ' + noun + 's';
}

function short(text, characters) {
  const all = Array.from(text);
  return all.length <= characters ? text : all.slice(0, Math.max(1, characters - 1)).join('') + '…';
}

// Lines of at most so many characters, broken at blanks where that is possible.
function wrapped(text, characters, most) {
  const lines = [];
  for (const part of text.split('\n')) {
    let rest = part;
    while (rest.length > characters) {
      const at = rest.lastIndexOf(' ', characters);
      const cut = at > characters / 2 ? at : characters;
      lines.push(rest.slice(0, cut));
      rest = rest.slice(cut).trimStart();
    }
    lines.push(rest);
  }
  return lines.length <= most ? lines : [...lines.slice(0, most - 1), short(lines[most - 1] + ' …', characters)];
}

// What was on the wire in one run of a case; null where nothing was kept.
function tapeOf(end) {
  const raw = end && end.tape !== undefined ? data.tapes[end.tape] : null;
  if (!raw) return null;
  const wire = raw.wire.map(([at, client, conn, side, line, bytes], index) => ({
    index, at, conn, side, client: texts[client], line: texts[line],
    bytes: bytes === null ? null : texts[bytes], fence: null,
  }));
  const fences = (raw.fences || []).map(([since, at, held]) => ({ since, at, held, pings: 0 }));
  for (const one of wire) {
    if (one.side > RECEIVED || (one.line !== 'PINGREQ' && one.line !== 'PINGRESP')) continue;
    const fence = fences.find(fence => fence.since <= one.at && one.at <= fence.at);
    if (fence) {
      fence.pings += 1;
      one.fence = fence;
    }
  }
  const log = (raw.log || []).map(([at, line]) => ({ at, line: texts[line] }));
  return { wire, fences, log, gap: raw.gap || null, logGap: raw.log_gap || 0 };
}

// The bytes of a packet, and how many more there were.
function bytesOf(packet) {
  if (packet.bytes === null) return null;
  const [base64, more] = packet.bytes.split('~');
  return { bytes: Uint8Array.from(atob(base64), c => c.charCodeAt(0)), more: Number(more || 0) };
}

function hexdump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = Array.from(bytes.slice(at, at + 16));
    const hex = part.map(byte => byte.toString(16).padStart(2, '0'));
    const left = hex.slice(0, 8).join(' ').padEnd(23) + '  ' + hex.slice(8).join(' ').padEnd(23);
    const text = part.map(byte => byte > 31 && byte < 127 ? String.fromCharCode(byte) : '·').join('');
    lines.push(at.toString(16).padStart(4, '0') + '  ' + left + '  ' + text);
  }
  return lines.join('\n');
}

function link(index, run) {
  const key = encodeURIComponent(data.cases[index].key).replace(/%2F/g, '/').replace(/%3A/g, ':').replace(/%40/g, '@');
  return '#case=' + key + (run === null || run === undefined || data.runs.length < 2 ? '' : '&run=' + (run + 1));
}

function word(end, one) {
  return end.unmet ? one.level + ' is not met' : WORDS[end.verdict];
}

function badge(end, one) {
  if (!end) return el('span', { class: 'badge o' }, 'did not run');
  return el('span', { class: 'badge ' + end.verdict + (end.unmet ? ' u' : '') },
    (end.unmet ? '○' : SIGNS[end.verdict]) + ' ' + word(end, one));
}
