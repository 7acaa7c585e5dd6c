// What the address says is shown; keys; light and dark.
const KEYS = [
  ['j  k', 'next and previous row; in a case, packet'], ['Enter', 'open the row'], ['n  p', 'next and previous case'],
  ['/', 'filter'], ['f', 'only failed and errored'], ['d', 'only what differs between brokers'], ['t', 'light, dark, as the system'], ['Escape', 'back'], ['?', 'this help'],
];
const SECTIONS = [['attention', 'attention'], ['matrix', 'cases'], ['remarks', 'remarks'], ['coverage', 'coverage']];
let scrolled = 0;

function route() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (['light', 'dark', 'auto'].includes(wanted.get('theme'))) setTheme(wanted.get('theme'));
  const list = document.getElementById('list'), page = document.getElementById('case');
  const index = wanted.has('case') ? byKey.get(wanted.get('case')) : undefined;
  if (index !== undefined) {
    if (page.hidden) scrolled = window.scrollY;
    list.hidden = true;
    page.hidden = false;
    document.body.classList.add('one');
    view.whole = false;
    showCase(index, wanted.has('run') ? Number(wanted.get('run')) - 1 : null);
    window.scrollTo(0, 0);
    return;
  }
  const back = list.hidden;
  page.hidden = true;
  list.hidden = false;
  document.body.classList.remove('one');
  document.title = title;
  const section = SECTIONS.map(([id]) => document.getElementById(id)).find(one => one && wanted.has(one.id));
  if (section) {
    section.scrollIntoView();
    return;
  }
  if (!back || location.hash.length > 1) {
    for (const name of ['q', 'verdict', 'tag', 'version']) filter[name] = wanted.get(name) || '';
    filter.differ = wanted.get('differ') === '1';
  }
  // A link of another run, or to a case that is not listed.
  const missing = document.getElementById('missing');
  missing.hidden = !wanted.has('case');
  missing.textContent = wanted.has('case') ? wanted.get('case') + ' is not listed in this page; the JSON log has it if it ran.' : '';
  syncTools();
  applyFilter();
  if (back) {
    window.scrollTo(0, scrolled);
    const row = rows.find(row => row.cases.includes(view.index));
    if (row && !row.node.hidden) select(row);
  }
}

function setTheme(theme) {
  if (theme === 'auto') document.documentElement.removeAttribute('data-theme');
  else document.documentElement.setAttribute('data-theme', theme);
  document.getElementById('theme').textContent = { light: '☀ light', dark: '☾ dark', auto: '◐ auto' }[theme];
  current = theme;
}

function nextTheme() {
  const themes = ['auto', 'light', 'dark'];
  setTheme(themes[(themes.indexOf(current) + 1) % themes.length]);
  // A page from file:// may not be allowed to remember it.
  try { localStorage.setItem('mqttlab-theme', current); } catch { /* then not */ }
}

function showHelp() {
  const help = document.getElementById('help');
  help.replaceChildren(el('h2', {}, 'Keys'),
    el('dl', {}, KEYS.map(([key, what]) => [el('dt', {}, key.split('  ').map(one => el('kbd', {}, one))), el('dd', {}, what)])),
    el('form', { method: 'dialog' }, el('button', {}, 'close')));
  help.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const help = document.getElementById('help');
  if (help.open) {
    if (event.key === '?') help.close();
    return;
  }
  const typing = event.target.matches('input[type=search], select, textarea');
  if (typing) {
    if (event.key === 'Escape' || (event.key === 'Enter' && event.target.id === 'search')) event.target.blur();
    return;
  }
  const one = !document.getElementById('case').hidden;
  const action = (one ? keysOfCase : keysOfList)[event.key] || keys[event.key];
  if (!action) return;
  // A link or button that has the focus is opened by Enter itself.
  if (event.key === 'Enter' && event.target.matches('a, button, summary')) return;
  action();
  event.preventDefault();
}

const keys = { '?': showHelp, t: () => nextTheme(), '/': () => { if (!document.getElementById('case').hidden) back(); document.getElementById('search').focus(); } };
const keysOfList = {
  j: () => stepRow(1), k: () => stepRow(-1), Enter: openSelected,
  f: () => { filter.verdict = filter.verdict === 'fe' ? '' : 'fe'; filterChanged(); },
  d: () => { if (data.runs.length > 1) { filter.differ = !filter.differ; filterChanged(); } },
  Escape: () => { Object.assign(filter, { q: '', verdict: '', tag: '', version: '', differ: false }); filterChanged(); },
};
const keysOfCase = {
  j: () => stepPacket(1), k: () => stepPacket(-1), n: () => stepCase(1), p: () => stepCase(-1),
  Enter: () => { if (view.picked === null) stepPacket(1); else pick(null); },
  Escape: () => { if (view.picked !== null) pick(null); else back(); },
};

function stepCase(by) {
  const all = shownCases();
  const next = all[all.indexOf(view.index) + by];
  if (next !== undefined) location.hash = link(next);
}

function back() {
  const hash = filterHash();
  location.hash = hash ? '#' + hash : '#';
}

const title = document.title;
let current = 'auto';
tools();
for (const [id, name] of SECTIONS) {
  if (document.getElementById(id)) document.getElementById('jump').append(el('a', { href: '#' + id }, name));
}
let remembered = 'auto';
try { remembered = localStorage.getItem('mqttlab-theme') || 'auto'; } catch { /* file:// without storage */ }
setTheme(['light', 'dark'].includes(remembered) ? remembered : 'auto');
window.addEventListener('hashchange', route);
document.addEventListener('keydown', onKey);
let resized = 0;
// The heads of the matrix stand below the bar, however many lines that has.
const measure = () => document.documentElement.style.setProperty('--bar', getComputedStyle(document.getElementById('bar')).position === 'sticky' ? document.getElementById('bar').offsetHeight + 'px' : '0px');
window.addEventListener('resize', () => {
  cancelAnimationFrame(resized);
  resized = requestAnimationFrame(() => { measure(); if (!document.getElementById('case').hidden) drawPackets(); });
});
window.addEventListener('beforeprint', () => { for (const one of document.querySelectorAll('details')) one.open = true; });
measure();
route();
