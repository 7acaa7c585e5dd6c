// Two tapes of one case beside each other, what is the same on one height.
function sameShape(packet) {
  const made = /[0-9a-f]{8}|\b(id|conn)=\d+/g;
  return packet.client + packet.side + packet.line.replace(made, '…');
}

// The longest common subsequence as pairs; one side is null where the other has more.
function aligned(left, right) {
  const a = left.map(sameShape), b = right.map(sameShape);
  const pairs = [];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  for (let at = 0; at < start; at += 1) pairs.push([left[at], right[at], true]);
  return pairs.concat(middle(left, right, a, b, start));
}

// What comes after a common beginning.
function middle(left, right, a, b, start) {
  const pairs = [];
  const n = a.length - start, m = b.length - start;
  if (n * m > 2000000) {
    for (let at = 0; at < Math.max(n, m); at += 1) {
      pairs.push([at < n ? left[start + at] : null, at < m ? right[start + at] : null, false]);
    }
    return pairs;
  }
  const best = Array.from({ length: n + 1 }, () => new Uint32Array(m + 1));
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let j = m - 1; j >= 0; j -= 1) {
      best[i][j] = a[start + i] === b[start + j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  let i = 0, j = 0, onlyA = [], onlyB = [];
  const flush = () => {
    for (let at = 0; at < Math.max(onlyA.length, onlyB.length); at += 1) {
      pairs.push([onlyA[at] || null, onlyB[at] || null, false]);
    }
    onlyA = [];
    onlyB = [];
  };
  while (i < n || j < m) {
    if (i < n && j < m && a[start + i] === b[start + j]) {
      flush();
      pairs.push([left[start + i++], right[start + j++], true]);
    } else if (j >= m || (i < n && best[i + 1][j] >= best[i][j + 1])) onlyA.push(left[start + i++]);
    else onlyB.push(right[start + j++]);
  }
  flush();
  return pairs;
}

function cell(packet, came) {
  if (!packet) return [el('td', { class: 'who' }), el('td', { class: 'what absent' })];
  const arrow = ['>', '<', '*', '*'][packet.side];
  const red = came && came.includes(packet.index);
  return [el('td', { class: 'who' }, packet.client + ' ' + arrow), el('td', { class: red ? 'what came' : 'what' }, packet.line)];
}

function sideBySide(one, first, second) {
  const ends = [one.ends[first], one.ends[second]];
  const tapes = ends.map(tapeOf);
  if (!tapes[0] || !tapes[1]) return el('p', { class: 'leftout' }, 'There are not packets of both.');
  const shown = tapes.map(tape => tape.wire.filter(packet => !packet.fence));
  const came = ends.map(end => end.why ? end.why.came : []);
  const head = [first, second].map(run => el('th', { colspan: 2, scope: 'col' }, data.runs[run].target, ' ', badge(one.ends[run], one)));
  const rows = aligned(shown[0], shown[1]).map(([a, b, same]) =>
    el('tr', { class: same ? '' : 'differs' }, cell(a, came[0]), cell(b, came[1])));
  return el('div', { class: 'scroll' },
    el('table', { class: 'beside' },
      el('colgroup', {}, ['who', 'what', 'who', 'what'].map(kind => el('col', { class: kind }))),
      el('thead', {}, el('tr', {}, head)), el('tbody', {}, rows)));
}
