// The list: filters, the selected row.
const filter = { q: '', verdict: '', tag: '', version: '', differ: false };
const rows = Array.from(document.querySelectorAll('#matrix tbody tr[data-c]')).map(node => ({
  node, cases: node.dataset.c.split(' ').map(Number),
}));
const searched = data.cases.map(one =>
  [one.key, one.name, texts[one.title], ...one.tags.map(tag => texts[tag]), ...one.spec.map(([id, text]) => texts[id] + ' ' + texts[text])].join('\n').toLowerCase());
let selected = null;

function differs(one) {
  const ends = one.ends.map(end => end ? end.verdict + (end.unmet ? 'u' : '') : '');
  return ends.some(end => end !== ends[0]);
}

function fits(index) {
  const one = data.cases[index];
  const has = end => end && filter.verdict.includes(end.unmet ? 'u' : end.verdict);
  return filter.q.toLowerCase().split(/\s+/).every(part => searched[index].includes(part))
    && (!filter.verdict || one.ends.some(has))
    && (!filter.tag || one.tags.some(tag => texts[tag] === filter.tag))
    && (!filter.version || texts[one.protocol] === filter.version)
    && (!filter.differ || differs(one));
}

// Cases of the rows that are shown, from top to bottom.
function shownCases() {
  return rows.filter(row => !row.node.hidden).flatMap(row => row.cases.filter(fits));
}

function applyFilter() {
  const fitting = new Set(Array.from(data.cases.keys()).filter(fits));
  for (const row of rows) row.node.hidden = !row.cases.some(index => fitting.has(index));
  const filtered = fitting.size < data.cases.length;
  for (const body of document.querySelectorAll('#matrix tbody')) {
    body.hidden = !body.querySelector('tr[data-c]:not([hidden])') && (filtered || !body.querySelector('.rest'));
  }
  for (const item of document.querySelectorAll('li[data-c]')) item.hidden = !fitting.has(Number(item.dataset.c));
  for (const group of document.querySelectorAll('.cause, .remark')) {
    group.hidden = filtered && !group.querySelector('li[data-c]:not([hidden])');
  }
  document.querySelector('#matrix .none').hidden = fitting.size > 0;
  const count = document.getElementById('count');
  count.textContent = fitting.size === data.cases.length ? '' : fitting.size + ' of ' + plural(data.cases.length, 'case');
  if (selected && selected.node.hidden) select(null);
}

function filterHash() {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(filter)) if (value) parts.set(name, value === true ? '1' : value);
  return parts.toString();
}

// A change that the address remembers, without a new entry in the history.
function filterChanged() {
  applyFilter();
  syncTools();
  const hash = filterHash();
  history.replaceState(null, '', hash ? '#' + hash : '#');
}

function tools() {
  const place = document.getElementById('tools');
  const counts = data.counts;
  const names = { f: 'failed', e: 'errored', k: 'known', s: 'skipped', u: 'not met', p: 'passed' };
  const chips = Object.entries(names).filter(([kind]) => counts[kind]).map(([kind, name]) =>
    el('button', { type: 'button', class: 'chip ' + kind, 'data-kind': kind, 'aria-pressed': 'false', onclick: () => toggle(kind) },
      (kind === 'u' ? '○' : SIGNS[kind]) + ' ' + counts[kind] + ' ' + name));
  const select = (name, all, values) => values.length < 2 && name === 'version' || !values.length ? null :
    el('select', { 'data-name': name, 'aria-label': name, onchange: event => { filter[name] = event.target.value; filterChanged(); } },
      el('option', { value: '' }, all), values.map(value => el('option', { value }, value)));
  const unique = values => Array.from(new Set(values)).filter(Boolean).sort();
  place.append(
    el('input', { type: 'search', id: 'search', placeholder: 'Filter  ( / )', 'aria-label': 'Filter', oninput: event => { filter.q = event.target.value; filterChanged(); } }),
    ...chips,
    select('version', 'every version', unique(data.cases.map(one => texts[one.protocol]))) || '',
    select('tag', 'every tag', unique(data.cases.flatMap(one => one.tags.map(tag => texts[tag])))) || '',
    data.runs.length > 1 ? el('button', { type: 'button', class: 'chip', id: 'differ', 'aria-pressed': 'false', onclick: () => { filter.differ = !filter.differ; filterChanged(); } }, '≠ only what differs') : '',
    el('span', { id: 'count', role: 'status' }),
    el('span', { class: 'right' },
      el('button', { type: 'button', id: 'theme', onclick: nextTheme }, 'theme'),
      el('button', { type: 'button', id: 'keys', title: 'keys (?)', onclick: showHelp }, '?')));
  place.hidden = false;
}

function toggle(kind) {
  filter.verdict = filter.verdict.includes(kind) ? filter.verdict.replace(kind, '') : filter.verdict + kind;
  filterChanged();
}

function syncTools() {
  const search = document.getElementById('search');
  if (search.value !== filter.q) search.value = filter.q;
  for (const chip of document.querySelectorAll('#tools [data-kind]')) {
    chip.setAttribute('aria-pressed', String(filter.verdict.includes(chip.dataset.kind)));
  }
  for (const choice of document.querySelectorAll('#tools select')) choice.value = filter[choice.dataset.name];
  const differ = document.getElementById('differ');
  if (differ) differ.setAttribute('aria-pressed', String(filter.differ));
}

function select(row) {
  if (selected) selected.node.classList.remove('selected');
  selected = row;
  if (!row) return;
  row.node.classList.add('selected');
  row.node.scrollIntoView({ block: 'nearest' });
}

function stepRow(by) {
  const shown = rows.filter(row => !row.node.hidden);
  if (!shown.length) return;
  const at = shown.indexOf(selected);
  select(shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.min(shown.length - 1, Math.max(0, at + by))]);
}

// The case of the selected row that a person wants to see first: one that is not passed.
function openSelected() {
  if (!selected) return;
  const bad = selected.cases.filter(fits).find(index => data.cases[index].ends.some(end => end && end.verdict !== 'p'));
  location.hash = link(bad === undefined ? selected.cases.filter(fits)[0] : bad);
}
