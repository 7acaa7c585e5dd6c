// A sequence diagram: a lane a client and one for the broker, time going down, waits compressed.
const ROW = 27, SMALL = 19, GUTTER = 78, CHARACTER = 7.3, PAUSE = 40000;

// What is drawn, from top to bottom.
function rowsOf(tape, why, options) {
  const came = new Set(why ? why.came : []);
  const named = new Set(why ? why.named : []);
  const all = [];
  for (const packet of tape.wire) {
    const matters = came.has(packet.index) || named.has(packet.index);
    if (tape.gap && packet.index === tape.gap[0]) all.push({ kind: 'gap', at: packet.at, count: tape.gap[1] });
    if (packet.fence && !options.pings && !came.has(packet.index)) continue;
    all.push({ kind: 'packet', at: packet.at, packet, came: came.has(packet.index), matters });
  }
  for (const fence of tape.fences) all.push({ kind: 'fence', at: fence.at, fence });
  if (options.log) for (const line of tape.log) all.push({ kind: 'log', at: line.at, line: line.line });
  const order = all.map((row, index) => [row, index]);
  order.sort((a, b) => a[0].at - b[0].at || a[1] - b[1]);
  const sorted = order.map(pair => pair[0]);
  const rows = [];
  let last = 0;
  for (const row of sorted) {
    if (rows.length && row.at - last > PAUSE) rows.push({ kind: 'wait', at: row.at, span: row.at - last });
    last = Math.max(last, row.at);
    rows.push(row);
  }
  if (why && options.verdict !== 's') {
    const about = [...why.named, ...why.came].map(index => tape.wire[index]).filter(Boolean);
    const moment = about.length ? Math.max(...about.map(packet => packet.at)) : Infinity;
    let at = rows.findLastIndex(row => row.at <= moment);
    const next = rows.slice(at + 1).findIndex(row => row.kind === 'fence' && row.fence.since <= moment);
    if (next >= 0) at += next + 1;
    rows.splice(at + 1, 0, { kind: 'parted', at: moment });
  }
  return rows;
}

function lanesOf(tape) {
  const names = [];
  for (const packet of tape.wire) if (!names.includes(packet.client)) names.push(packet.client);
  return names;
}

function geometry(names, width) {
  const step = Math.max(64, Math.min(132, Math.max(...names.map(name => Math.min(name.length, 16) * 7.6 + 30), 64)));
  const lane = index => GUTTER + 36 + step / 2 + index * step;
  const left = lane(Math.max(0, names.length - 1)) + 26;
  const room = Math.max(330, width - left - 104);
  return { step, lane, left, room, broker: left + room + 20, width: left + room + 92, names };
}

function head(x, y, back, name) {
  const tip = back ? -1 : 1;
  return svg('path', { class: name, d: `M${x} ${y}l${-8 * tip} -4.5v9z` });
}

// Draws; `pick` is called with a packet that was clicked.
function diagram(tape, why, options, pick) {
  const rows = rowsOf(tape, why, options);
  const names = lanesOf(tape);
  const shape = geometry(names, options.width);
  const characters = Math.floor(shape.room / CHARACTER);
  const wide = Math.floor((shape.broker - GUTTER - 16) / CHARACTER);
  let y = 10;
  for (const row of rows) {
    if (row.kind === 'parted') {
      row.expected = wrapped('expected  ' + texts[why.expected], wide, 4);
      row.actual = wrapped('actual    ' + texts[why.actual], wide, 5);
      row.height = 18 + 17 * (row.expected.length + row.actual.length);
    } else row.height = row.kind === 'log' ? SMALL : ROW;
    row.y = y + row.height - 9;
    row.top = y;
    y += row.height;
  }
  const height = y + 16;
  const body = svg('svg', {
    class: 'body', width: shape.width, height, viewBox: `0 0 ${shape.width} ${height}`, role: 'img',
    'aria-label': 'Sequence diagram of ' + plural(tape.wire.length, 'packet'),
  });
  body.append(lifelines(rows, shape, height));
  const seen = new Set();
  const groups = new Map();
  let shown = '';
  for (const row of rows) {
    const draw = { packet: drawPacket, wait: drawWait, fence: drawFence, log: drawLog, gap: drawGap, parted: drawParted };
    const group = draw[row.kind](row, shape, characters, seen);
    const clock = time(row.at);
    if (row.kind !== 'wait' && row.kind !== 'parted' && row.kind !== 'gap' && clock !== shown) {
      shown = clock;
      group.append(svg('text', { class: 'time', x: GUTTER, y: row.y + 3 }, clock));
    }
    if (row.kind === 'packet') {
      groups.set(row.packet.index, group);
      group.addEventListener('click', () => pick(row.packet));
    }
    body.append(group);
  }
  return { node: el('div', { class: 'stage' }, heads(shape, options.broker), body), groups, rows };
}

function heads(shape, broker) {
  const top = svg('svg', { class: 'heads', width: shape.width, height: 34, 'aria-hidden': 'true' });
  const box = (x, name, kind, room) => svg('g', { class: kind },
    svg('title', {}, name),
    svg('rect', { x: x - room / 2, y: 4, width: room, height: 25, rx: 5 }),
    svg('text', { x, y: 21 }, short(name, Math.floor(room / 7.6))));
  shape.names.forEach((name, index) => top.append(box(shape.lane(index), name, 'client', shape.step - 8)));
  top.append(box(shape.broker, broker, 'broker', 138));
  return top;
}

// Thin where there is no connection, thick while there is one.
function lifelines(rows, shape, height) {
  const group = svg('g', {});
  const spans = new Map();
  for (const row of rows) {
    if (row.kind !== 'packet' || !row.packet.conn) continue;
    const { client, conn } = row.packet;
    const span = spans.get(conn) || { lane: shape.names.indexOf(client), from: row.y };
    span.to = row.y;
    spans.set(conn, span);
  }
  for (const x of [...shape.names.map((_, index) => shape.lane(index)), shape.broker]) {
    group.append(svg('line', { class: 'life', x1: x, x2: x, y1: 0, y2: height }));
  }
  for (const span of spans.values()) {
    const x = shape.lane(span.lane);
    group.append(svg('rect', { class: 'connected', x: x - 2.5, y: span.from - 4, width: 5, height: span.to - span.from + 8, rx: 2.5 }));
  }
  return group;
}

function drawPacket(row, shape, characters, seen) {
  const { packet, y } = row;
  const x = shape.lane(shape.names.indexOf(packet.client));
  const kind = ['row', packet.fence ? 'ping' : '', row.came ? 'came' : '', packet.side === LINK ? 'end' : '', packet.side === NOTE ? 'remark' : ''];
  const group = svg('g', { class: kind.filter(Boolean).join(' '), 'data-i': packet.index },
    svg('title', {}, packet.client + (packet.side === SENT ? ' > ' : packet.side === RECEIVED ? ' < ' : ' * ') + packet.line),
    svg('rect', { class: 'hit', x: 0, y: row.top, width: shape.width, height: row.height }));
  if (packet.side <= RECEIVED) {
    group.append(svg('line', { class: 'arrow', x1: x + 4, x2: shape.broker - 2, y1: y, y2: y }));
    group.append(packet.side === SENT ? head(shape.broker - 2, y, false, 'tip') : head(x + 4, y, true, 'tip'));
  } else if (packet.side === LINK) {
    group.append(svg('line', { class: 'arrow', x1: x + 4, x2: shape.broker - 2, y1: y, y2: y }));
    group.append(svg('path', { class: 'cross', d: `M${x - 5} ${y - 5}l10 10m0 -10l-10 10` }));
  } else {
    group.append(svg('circle', { class: 'dot', cx: x, cy: y, r: 3.5 }));
  }
  group.append(svg('text', { class: 'line', x: shape.left, y: y - 5 }, short(packet.line, characters)));
  if (packet.conn && !seen.has(packet.conn)) {
    seen.add(packet.conn);
    group.append(svg('g', { class: 'conn' }, svg('title', {}, 'connection ' + packet.conn),
      svg('rect', { x: x - 34, y: y - 9, width: 27, height: 16, rx: 8 }),
      svg('text', { x: x - 20.5, y: y + 3 }, '#' + packet.conn)));
  }
  return group;
}

function drawWait(row, shape) {
  const group = svg('g', { class: 'wait' });
  const y = row.y - 4;
  for (const x of [...shape.names.map((_, index) => shape.lane(index)), shape.broker]) {
    group.append(svg('path', { class: 'break', d: `M${x - 6} ${y + 3}l12 -6m-12 11l12 -6` }));
  }
  group.append(svg('text', { class: 'line', x: shape.left, y: y + 4 }, time(row.span) + ' later'));
  return group;
}

function drawFence(row, shape, characters) {
  const { fence, y } = row;
  const text = fence.held ? 'fence: nothing is under way any more' : 'fence: a control message did not arrive';
  return svg('g', { class: 'fence' + (fence.held ? '' : ' broken') },
    svg('title', {}, text + ' (' + plural(fence.pings, 'packet') + ', ' + time(fence.at - fence.since) + ')'),
    svg('line', { x1: GUTTER + 12, x2: shape.width - 12, y1: y, y2: y }),
    svg('text', { class: 'line', x: shape.left, y: y - 5 }, short(text, characters)));
}

function drawLog(row, shape, characters) {
  return svg('g', { class: 'log' },
    svg('title', {}, row.line),
    svg('circle', { cx: shape.broker, cy: row.y - 1, r: 3 }),
    svg('text', { class: 'line', x: shape.broker - 12, y: row.y + 3, 'text-anchor': 'end' }, short(row.line, characters)));
}

function drawGap(row, shape) {
  return svg('g', { class: 'wait' },
    svg('text', { class: 'line', x: shape.left, y: row.y }, '⋯ ' + plural(row.count, 'packet') + ' left out ⋯'));
}

function drawParted(row, shape) {
  const group = svg('g', { class: 'parted' },
    svg('rect', { x: GUTTER + 8, y: row.top + 4, width: shape.width - GUTTER - 12, height: row.height - 6, rx: 4 }));
  let y = row.top + 20;
  for (const [name, lines] of [['expected', row.expected], ['actual', row.actual]]) {
    for (const line of lines) {
      group.append(svg('text', { class: name, x: GUTTER + 18, y, 'xml:space': 'preserve' }, line));
      y += 17;
    }
  }
  return group;
}
