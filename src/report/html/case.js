// One case: why it ended so, its lines, its packets.
const view = { index: null, run: 0, options: { pings: false, log: true }, drawn: null, picked: null };

function showCase(index, run) {
  const one = data.cases[index];
  const page = document.getElementById('case');
  if (run === null) run = Math.max(0, one.ends.findIndex(end => end && 'fe'.includes(end.verdict)));
  if (run < 0 || run >= data.runs.length) run = 0;
  Object.assign(view, { index, run, drawn: null, picked: null });
  const end = one.ends[run];
  page.replaceChildren(...[
    trail(index),
    el('h1', {}, badge(end, one), ' ', texts[one.title]),
    facts(one, end, run),
    rules(one),
    siblings(index),
    data.runs.length > 1 ? tabs(index, run) : null,
    el('div', { class: 'split' }, reasons(end), lines(one, end)),
    packets(end),
    data.runs.length > 1 ? beside(one, run) : null,
  ].filter(Boolean));
  document.title = one.name + ' · mqttlab';
  const here = page.querySelector('.lines .here');
  if (here) here.parentNode.scrollTop = here.offsetTop - here.parentNode.offsetTop - here.parentNode.clientHeight / 2;
  drawPackets();
}

function trail(index) {
  const all = shownCases();
  const at = all.indexOf(index);
  const step = (name, other) => el('a', { href: other === undefined ? null : link(other), class: other === undefined ? 'off' : '' }, name);
  return el('nav', { class: 'trail' }, el('a', { href: '#' }, '← all cases'),
    step('previous', at > 0 ? all[at - 1] : undefined), step('next', at >= 0 ? all[at + 1] : undefined));
}

function facts(one, end, run) {
  const facts = [el('code', {}, one.name), el('span', { class: 'chip' }, one.level)];
  if (texts[one.protocol]) facts.push(el('span', { class: 'chip' }, 'MQTT ' + texts[one.protocol]));
  for (const tag of one.tags) facts.push(el('a', { class: 'chip tag', href: '#tag=' + encodeURIComponent(texts[tag]) }, texts[tag]));
  if (end) facts.push(el('span', {}, time(end.seconds * 1e6) + ' on ' + data.runs[run].target));
  if (end && end.mechanism !== undefined) facts.push(el('span', {}, 'mechanism: ' + texts[end.mechanism]));
  return el('p', { class: 'facts' }, facts);
}

// What the standard says about it.
function rules(one) {
  return one.spec.length ? el('ul', { class: 'rules' }, one.spec.map(([id, text]) =>
    el('li', {}, el('a', { href: '#q=' + encodeURIComponent(texts[id]) }, el('code', {}, texts[id])), ' ' + texts[text]))) : null;
}

// The other versions and combinations of the same scenario.
function siblings(index) {
  const scenario = one => one.key.replace(/@[^@]*$/, '');
  const same = data.cases.map((one, number) => [one, number]).filter(([one]) => scenario(one) === scenario(data.cases[index]));
  if (same.length < 2) return null;
  const bad = one => one.ends.find(end => end && end.verdict !== 'p') || one.ends.find(Boolean);
  return el('nav', { class: 'siblings' }, same.map(([one, number]) => {
    const end = bad(one);
    return el('a', { href: link(number), 'aria-current': number === index ? 'true' : null },
      el('span', { class: 'm ' + (end ? end.verdict : 'o') }, end ? SIGNS[end.verdict] : '·'), ' ' + (one.key.split('@').pop() || one.name));
  }));
}

function tabs(index, run) {
  const one = data.cases[index];
  return el('nav', { class: 'tabs' }, data.runs.map((about, number) =>
    el('a', { href: link(index, number), 'aria-current': number === run ? 'true' : null }, about.target, ' ', badge(one.ends[number], one))));
}

function reasons(end) {
  if (!end) return null;
  const list = [];
  const say = (name, text, kind) => text === undefined || texts[text] === '' ? null : list.push(el('dt', {}, name), el('dd', { class: kind || '' }, texts[text]));
  if (end.why) {
    say('expected', end.why.expected);
    say(end.verdict === 's' ? 'reason' : 'actual', end.why.actual, end.verdict);
    say('hint', end.why.hint);
  }
  for (const note of end.notes || []) say('note', note);
  if (end.why && end.why.packets) {
    const lines = end.why.packets.map((line, index) => el('span', { class: (end.why.instead || []).includes(index) ? 'came' : '' }, texts[line], '\n'));
    list.push(el('dt', {}, 'packets'), el('dd', {}, el('pre', { class: 'packets' }, lines)));
  }
  if (end.again !== undefined) {
    const copy = el('button', { type: 'button', onclick: () => copyText(texts[end.again], copy) }, 'copy');
    list.push(el('dt', {}, 'again'), el('dd', {}, el('code', {}, texts[end.again]), ' ', copy));
  }
  return list.length ? el('dl', { class: 'parted' }, list) : null;
}

function copyText(text, button) {
  const done = () => { button.textContent = 'copied'; };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => { button.textContent = 'not allowed'; });
}

// The scenario as it is written, the line at fault marked.
function lines(one, end) {
  const place = (end && end.why && end.why.place) || one.place;
  const source = one.source === undefined ? null : data.sources[one.source];
  if (!source && !place) return null;
  const rows = source ? source[1].split('\n').map((text, index) => [source[0] + index, text]) : [];
  if (place && !rows.some(([number]) => number === place[0])) rows.push([place[0], texts[place[2]]]);
  rows.sort((a, b) => a[0] - b[0]);
  const bad = end && end.why && end.verdict !== 's';
  const code = rows.map(([number, text]) => {
    const here = place && bad && number === place[0];
    const [, column, , width] = here ? place : [0, 1, 0, 0];
    const all = Array.from(text);
    const part = (from, to) => all.slice(from, to).join('');
    return el('span', { class: here ? 'line here' : 'line' }, el('i', {}, String(number)),
      here ? [part(0, column - 1), el('mark', {}, part(column - 1, column - 1 + width)), part(column - 1 + width)] : text, '\n');
  });
  const at = place ? ':' + place[0] : '';
  return el('figure', { class: 'lines' }, el('figcaption', {}, texts[one.file] + at), el('pre', {}, code));
}

function packets(end) {
  const tape = tapeOf(end);
  const section = el('section', { class: 'packets' });
  if (!tape) {
    const why = end && end.verdict === 's' ? 'It did not run, so there are no packets.' : data.left_out ? 'To keep this page small, the packets of this case are not in it; the JSON log has them.' : 'No packet was seen.';
    section.append(el('h2', {}, 'Packets'), el('p', { class: 'leftout' }, end ? why : 'It did not run here.'));
    return section;
  }
  const box = (name, label, there) => el('label', { class: there ? '' : 'off' },
    el('input', { type: 'checkbox', checked: view.options[name], disabled: !there, onchange: event => { view.options[name] = event.target.checked; drawPackets(); } }), ' ' + label);
  section.append(
    el('h2', {}, 'Packets ', el('small', {}, plural(tape.wire.length + (tape.gap ? tape.gap[1] : 0), 'event')),
      el('span', { class: 'boxes' }, box('log', "broker's log", tape.log.length > 0), box('pings', 'packets of fences', tape.fences.length > 0))),
    el('div', { id: 'drawing' }),
    el('div', { id: 'bytes', hidden: true }));
  if (tape.logGap) section.append(el('p', { class: 'leftout' }, plural(tape.logGap, 'line') + " of the broker's log left out; the JSON log has them."));
  return section;
}

// How many rows are drawn at once; more on demand.
const MANY = 600;

function drawPackets() {
  const place = document.getElementById('drawing');
  if (!place) return;
  const one = data.cases[view.index];
  const end = one.ends[view.run];
  const tape = tapeOf(end);
  view.tape = tape;
  const options = { ...view.options, width: place.clientWidth || 900, broker: data.runs[view.run].target, verdict: end.verdict };
  let cut = 0;
  if (tape.wire.length > MANY && !view.whole) {
    const last = end.why && end.why.came.concat(end.why.named).length ? Math.max(...end.why.came, ...end.why.named) + 1 : 0;
    cut = Math.max(0, tape.wire.length - Math.max(MANY, last));
    tape.wire.length -= cut;
  }
  view.drawn = diagram(tape, end.why, options, pick);
  place.replaceChildren(view.drawn.node);
  if (cut) place.append(el('button', { type: 'button', onclick: () => { view.whole = true; drawPackets(); } }, 'draw ' + plural(cut, 'more packet')));
  const first = view.drawn.node.querySelector('.parted');
  if (first) view.drawn.node.scrollTop = Math.max(0, Number(first.querySelector('rect').getAttribute('y')) - view.drawn.node.clientHeight + 140);
}

// Shows the bytes of a packet.
function pick(packet) {
  for (const group of view.drawn.groups.values()) group.classList.remove('picked');
  const panel = document.getElementById('bytes');
  view.picked = packet ? packet.index : null;
  panel.hidden = !packet;
  if (!packet) return;
  const group = view.drawn.groups.get(packet.index);
  group.classList.add('picked');
  const before = view.tape.wire[packet.index - 1];
  const found = bytesOf(packet);
  const about = [packet.client + ' ' + ['to broker', 'from broker', '', ''][packet.side], packet.conn ? 'connection ' + packet.conn : '',
    'at ' + time(packet.at), before ? time(packet.at - before.at) + ' after the one before' : '',
    found ? plural(found.bytes.length + found.more, 'byte') : ''];
  panel.replaceChildren(
    el('button', { type: 'button', class: 'close', title: 'close (Escape)', onclick: () => pick(null) }, '×'),
    el('p', { class: 'about' }, about.filter(Boolean).join(' · ')),
    el('p', { class: 'line' }, packet.line),
    found ? el('pre', {}, hexdump(found.bytes) + (found.more ? '\n… ' + plural(found.more, 'more byte') + ' in the JSON log' : ''))
      : el('p', { class: 'leftout' }, packet.side > RECEIVED ? 'No bytes: this is no packet.' : 'The bytes of this packet are not in this page: secret, or left out.'));
  group.scrollIntoView({ block: 'nearest' });
  const hidden = group.getBoundingClientRect().bottom - panel.getBoundingClientRect().top;
  if (hidden > 0) window.scrollBy(0, hidden + 30);
}

function stepPacket(by) {
  const drawn = view.drawn ? Array.from(view.drawn.groups.keys()) : [];
  if (!drawn.length) return;
  const at = drawn.indexOf(view.picked);
  const next = drawn[Math.min(drawn.length - 1, Math.max(0, at < 0 ? (by > 0 ? 0 : drawn.length - 1) : at + by))];
  pick(view.tape.wire[next]);
}

// Packets of two brokers, where a case ended differently.
function beside(one, run) {
  const ends = one.ends.map(end => end ? end.verdict + (end.unmet ? 'u' : '') : '');
  const others = ends.map((_, number) => number).filter(number => number !== run && one.ends[number]);
  if (!one.ends[run] || !others.length) return null;
  const other = others.find(number => ends[number] !== ends[run]);
  const place = el('div', {});
  const draw = number => place.replaceChildren(sideBySide(one, Math.min(run, number), Math.max(run, number)));
  const choice = el('select', { onchange: event => draw(Number(event.target.value)) },
    others.map(number => el('option', { value: number, selected: number === (other ?? others[0]) }, data.runs[number].target)));
  draw(other ?? others[0]);
  return el('section', { class: 'besides' },
    el('h2', {}, 'Side by side ', el('small', {}, data.runs[run].target + ' and '), choice), place);
}
