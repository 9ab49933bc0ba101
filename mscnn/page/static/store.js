// The state of the page, the address bar, and the one conversation with the server.
// The files of this folder are joined, in the order of viewer.py, into one function of
// (element, trigger, props, server, upload, watch); gradio runs it when the page is there.

const plain = value => JSON.parse(JSON.stringify(value));
const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
const get = id => element.querySelector('#' + id);
const all = (selector, root = element) => [...root.querySelectorAll(selector)];
const CONFIG = plain(props.value).config;
const BUILT = CONFIG.choices;
const LENSES = Object.fromEntries(CONFIG.lenses.map(lens => [lens.id, lens]));
const SHARED = ['photo', 'model', 'models', 'target', 'layer', 'method', 'point', 'box'];
const LINKED = ['tab', ...SHARED];  // what Back and reload return to; an address holds less
const PUSHED = ['tab', 'photo', 'model', 'models', 'target'];
const PREVIOUS = {photo: 'photo', model: 'network', models: 'networks', target: 'class',
  layer: 'stage', method: 'method', point: 'point', box: 'box', options: 'settings'};

const PLAIN = {model: '', models: [], target: null, layer: 'last', method: 'gradcam', point: null, box: null};
const state = {tab: CONFIG.lenses[0].id, photo: null, ...PLAIN, options: {}};
const answers = {};      // by lens: {at: the state it is for, message}
let serial = 0;
let pending = null;      // the request on its way: {serial, lens, at}
let lost = null;         // the last one that gradio said had failed: it does not say which of several did
let refused = {};        // by lens: what gave an error, a question or was stopped: {key, sentence, button, text, stopped};
                         // not asked again by itself
let needed = false;      // whether the button on the page agrees to a cost that was named
let asked = '';          // the sentence beside that button
let changed = 'open';
let standing = '';       // a sentence that stays until something else is chosen

const exampleOf = id => CONFIG.examples.find(example => example.id === id);
const fileURL = path => new URL('gradio_api/file=' + encodeURI(path).replace(/[?#]/g, encodeURIComponent),
  (window.gradio_config?.root || document.baseURI).replace(/\/*$/, '/')).href;
const snapshot = lens => plain({...Object.fromEntries(SHARED.map(key => [key, state[key]])),
  options: state.options[lens] ?? {}});
// What an answer of the lens depends on; what other tabs settle meanwhile is none of it.
const keyOf = (lens, at, fields = LENSES[lens].needs) => JSON.stringify([lens, ...fields.map(field =>
  (field === 'photo' ? at.photo?.id : at[field]) ?? null)]);
// The same without what the maps of an answer may cover.
const strictKey = (lens, at) => keyOf(lens, at, LENSES[lens].needs.filter(field => !LENSES[lens].covers.includes(field)));

// ---- the state ------------------------------------------------------------------------------

function set(change, {guided = false} = {}) {
  if (tour.kept && 'photo' in change && !guided) tour.leave(true);
  if ('photo' in change) forgetUpload(), refused = {};
  const lens = change.tab ?? state.tab;
  // An option that is null, empty or false is as if it had never been chosen.
  const options = Object.fromEntries(Object.entries({...state.options[lens], ...change.options})
    .filter(([, value]) => value !== null && value !== '' && value !== false).sort());
  const moved = Object.keys(change).filter(key => key === 'options'
    ? !same(options, state.options[lens] ?? {})
    : key === 'photo' ? state.photo?.id !== change.photo?.id : !same(state[key], change[key]));
  if (!moved.length) return refresh();
  for (const key of moved) {
    if (key === 'options') state.options[lens] = options;
    else state[key] = change[key];
  }
  if (moved.some(key => key === 'photo' || key === 'tab')) viewer.corner = viewer.drag = null;
  if (moved.includes('photo')) {
    Object.assign(state, {point: null, box: null, target: null});
    viewer.zoom = 1;
  }
  const first = moved.find(key => key !== 'tab');
  if (first) changed = first === 'options' ? 'options.' + Object.keys(change.options) : first;
  if (!moved.every(key => ['tab', 'target', 'options', 'point'].includes(key))) viewer.chosen = null;
  standing = '';
  // What was said of an earlier choice goes; what still holds is not announced again.
  noticeOfAnswer();
  writeAddress(moved.some(key => PUSHED.includes(key)));
  refresh();
}

// Which field of the state a lens's answer is not for; null where it is up to date.
function differs(lens) {
  const answer = answers[lens], {needs, covers} = LENSES[lens];
  if (!answer) return 'none';
  if (viewer.previewed) return 'photo';
  const now = snapshot(lens);
  const missing = field => !same(
    field === 'photo' ? now.photo?.id : now[field], field === 'photo' ? answer.at.photo?.id : answer.at[field]);
  const off = needs.filter(missing);
  const strict = off.find(field => !covers.includes(field));
  if (strict) return strict;
  return off.length && !mapFor(answer, wantedLabel(answer), state.layer) ? off[0] : null;
}
const wantedLabel = answer => state.target ?? answer.message.top ?? answer.message.label;
function mapFor(answer, label, layer) {
  return (answer.message.view.maps ?? []).find(map => (map.label === undefined || map.label === label)
    && (map.stage === undefined || (layer === 'last' ? map.last : map.stage === layer)));
}

// Brings everything on the page in line with the state, and asks for what is missing.
const refresh = () => keepFocus(renew);
function renew() {
  renderPanels();
  viewer.update();
  if (!state.photo?.id || viewer.previewed) return;
  const lens = state.tab, off = differs(lens), key = keyOf(lens, snapshot(lens));
  const no = refused[lens];
  if (no?.key === key) {
    busy(!!pending);
    if (no.text) notice(no.text);
    return question(no.sentence, no.button);
  }
  // A choice that was taken back: its answer would stand in the place of the one that is here.
  if (!off && pending?.lens === lens && strictKey(lens, pending.at) !== strictKey(lens, snapshot(lens))) pending = null;
  // An answer that was to go on when another tab's question overtook it goes on now.
  if (!off && (!answers[lens].message.more || pending?.lens === lens)) return settle();
  if (pending && keyOf(pending.lens, pending.at) === key) return;
  question();
  ask();
}
function settle() {
  const need = answers[state.tab]?.message.need;
  if (!pending) busy(false);
  if (pending?.lens !== state.tab) question(need?.sentence && [noticeNow(), need.sentence].filter(Boolean).join(' '), need?.button);
  tour.settled();
}

// ---- the conversation -----------------------------------------------------------------------

function wire(lens) {
  const {photo, ...rest} = snapshot(lens);
  const look = {opacity: viewer.opacity, colours: viewer.colours, width: get('panel-' + lens).clientWidth};
  return {...rest, lens, photo: photo?.path ?? '', example: photo?.example ?? '',
    options: {...rest.options, ...look}, static: !viewer.canDraw};
}
function ask(agreed = false) {
  const lens = state.tab;
  serial += 1;
  lost = null;
  pending = {serial, lens, at: snapshot(lens), agreed};
  busy(true);
  trigger('ask', {...wire(lens), serial, agreed, changed});
}
function take(message) {
  // It was an older one that had failed: this one is answered, and still wanted.
  if (!pending && message?.serial && message.serial === lost?.serial
    && keyOf(lost.lens, lost.at) === keyOf(lost.lens, snapshot(lost.lens))) {
    [pending, lost] = [lost, null];
    delete refused[pending.lens];
    if (pending.lens === state.tab) { question(); notice(); }
  }
  if (!message?.serial || message.serial !== pending?.serial) return;  // overtaken by a newer one
  if (message.progress) return busy(true, message.progress);
  const {lens, at} = pending;
  if (!message.more) pending = null;
  if (message.error || message.stopped || (message.need && !message.lens)) {
    refused[lens] = {key: keyOf(lens, at), sentence: '', button: 'Try again',
      text: message.error ?? message.stopped, stopped: !!message.stopped, ...message.need};
    busy(false);
    return refresh();  // its button is for its own tab
  }
  // What was refused may succeed now, but what was stopped on another tab stays stopped.
  refused = Object.fromEntries(Object.entries(refused).filter(([other, no]) => no.stopped && other !== lens));
  for (const [key, value] of Object.entries(message.adopt)) {
    if (same(state[key], at[key])) state[key] = value;
    at[key] = value;
  }
  if (state.photo?.id === at.photo?.id) {
    // What the browser has decoded itself need not be fetched again, unless the server turned it: by XMP, say.
    const {path, width, height} = message.photo, {naturalWidth = 0, naturalHeight = 0} = viewer.image ?? {};
    const own = state.photo.plain && naturalWidth && viewer.imageURL === state.photo.url
      && Math.abs(naturalWidth * height - naturalHeight * width) <= 0.02 * naturalWidth * height;
    state.photo = {...state.photo, width, height, url: own ? state.photo.url : fileURL(path)};
  }
  answers[lens] = {at, message, serial: message.serial};
  const choices = message.choices ?? BUILT;  // none: they are those that the page was built with
  if (!same(choices, CONFIG.choices)) {
    CONFIG.choices = choices;
    all('select[data-choices]').forEach(options);
    suggestModels();
  }
  if (lens === state.tab) noticeOfAnswer();
  changed = '';
  if (!message.more) busy(false);
  writeAddress(false);
  renderPanels();
  viewer.update();
  if (!message.more) refresh();
}

// The queue is full, or the server cannot be reached: the request on its way has no answer.
function unanswered() {
  if (!pending) return;
  const {lens, at} = lost = pending;
  pending = null;
  refused[lens] = {key: keyOf(lens, at), sentence: '', button: 'Try again',
    text: 'Too many visitors are asking just now, or the server cannot be reached; try again in a moment.'};
  busy(false);
  refresh();
}

function notice(text = '') {
  const said = [standing, text].filter(Boolean).join(' ');
  if (get('notice').textContent !== said) get('notice').textContent = said;  // else it is announced again
}
// Of another class or stage that the maps of the answer cover, only what is said of the photo still holds.
function noticeNow() {
  const lens = state.tab, {at, message} = answers[lens] ?? {};
  return differs(lens) ? '' : keyOf(lens, at) === keyOf(lens, snapshot(lens)) ? message.notice : message.of_photo;
}
const noticeOfAnswer = () => notice(noticeNow());
function question(sentence = '', button = '') {
  asked = sentence;
  needed = !!sentence;
  get('run').hidden = !button;
  get('run').textContent = button;
  if (sentence) notice(sentence);
}
// A word on what was just done; what the page asks stays beside its button.
const remark = text => notice(asked.includes(text) ? asked : [asked, text].filter(Boolean).join(' '));
function busy(is, progress) {
  is ||= !!viewer.previewed;  // a photo is on its way
  get('overlay').classList.toggle('busy', is);
  get('overlay').setAttribute('aria-busy', String(is));
  get('stop').hidden = !is || !progress;
  const bar = get('progress');
  bar.hidden = !is || !progress;
  if (progress) {
    const {done, total, what} = progress;
    if (total) { bar.firstElementChild.max = total; bar.firstElementChild.value = done; }
    else bar.firstElementChild.removeAttribute('value');
    bar.lastElementChild.textContent = `${what} ${done}${total ? ' of ' + total : ''}`;
  }
}

// Whether all that an answer for the state costs was agreed to.
const agreedTo = lens => !differs(lens) && !answers[lens].message.need;

const saveAs = (download, href) => Object.assign(document.createElement('a'), {download, href}).click();

// The file that the lens in front offers: made on the server when it is asked for.
async function pack(button, wanted = {...wire(state.tab), serial: 0, agreed: agreedTo(state.tab)}) {
  if (button.ariaDisabled === 'true') return;
  button.ariaDisabled = 'true';  // not disabled, which would take the focus away
  try {
    const made = await server.pack(wanted);
    if (made.error) return remark(made.error);
    saveAs(made.name, fileURL(made.path));
  } catch (error) {
    remark('The file could not be made; try again.');
  } finally { button.ariaDisabled = 'false'; }
}

// A report of all lenses with an answer for the state, and their files. What was not agreed to stays out, and what
// was stopped: it would be done to its end.
function keep(button) {
  if (button.ariaDisabled === 'true') return;  // it is being made
  const isDone = ({more, cut_short}) => !more && !cut_short;
  const seen = Object.keys(LENSES).filter(id => !differs(id) && isDone(answers[id].message));
  if (!seen.length) return remark('There is no answer to keep yet.');
  const left = Object.keys(LENSES).filter(id => !seen.includes(id) && answers[id]?.at.photo?.id === state.photo?.id)
    .map(id => get('tab-' + id).textContent);
  const making = 'The report is being made …';
  remark(making);
  return pack(button, seen.map(id => ({...wire(id), serial: 0, agreed: agreedTo(id)})))
    .then(() => {
      if (!get('notice').textContent.endsWith(making)) return;
      noticeOfAnswer();
      refresh();  // a question stays beside its button
      if (left.length) remark(`Not in the report, as it has no finished answer to what is chosen now: ${left.join(', ')}.`);
    });
}

// ---- photos ---------------------------------------------------------------------------------

const photoOf = ({id, label, path}) => ({id: 'example:' + id, example: id, name: label, url: fileURL(path)});
function chooseExample(id, more, options) { set({...more, photo: photoOf(exampleOf(id))}, options); }
async function choosePhoto(file) {
  if (!file) return;
  if (file.size > CONFIG.max_bytes) return remark(
    `${file.name} is larger than ${Math.round(CONFIG.max_bytes / 2 ** 20)} MB; choose a smaller one.`);
  const url = URL.createObjectURL(file), mine = ++uploads;
  previews.add(url);
  notice();
  question();  // it is about the photo before
  viewer.previewed = url;
  busy(true);
  refresh();
  try {
    const {path} = await upload(file);
    // No browser reads XMP, by which the server turns a photo too: half round and mirrored as well.
    const plain = file.type === 'image/jpeg' && !(await file.slice(0, 2 ** 18).text()).includes('tiff:Orientation');
    if (mine === uploads) set({photo: {id: path, path, name: file.name, url, plain}});
  } catch (error) {
    if (mine !== uploads) return;
    viewer.previewed = null;
    busy(!!pending);
    refresh();
    remark(`${file.name} could not be uploaded; try again, or choose another photo.`);
  }
}
let uploads = 0;
const previews = new Set();  // object URLs: each keeps its file in the browser's memory
function dropPreviews() {
  const used = [viewer.previewed, state.photo?.url, tour.kept?.[0].photo?.url];
  for (const url of previews) if (!used.includes(url)) { URL.revokeObjectURL(url); previews.delete(url); }
}
function forgetUpload() { uploads += 1; viewer.previewed = null; }  // one under way comes too late

// ---- the address bar ------------------------------------------------------------------------

const LONGEST = 300;  // letters of a class in an address: servers refuse longer ones
function address() {
  const url = new URL(location.href), query = url.searchParams;
  const values = {
    // Without a tab, a link with networks opens Compare.
    tab: state.tab === CONFIG.lenses[0].id && !state.models.length ? '' : state.tab,
    example: state.photo?.example ?? '',
    model: state.model,
    models: state.models.map(name => name.replaceAll(',', '%2C')).join(','),  // an owner's folder may have one
    class: state.target?.length > LONGEST ? '' : state.target ?? '',
    layer: state.layer === 'last' ? '' : state.layer,
    method: state.method === 'gradcam' ? '' : state.method,
    tour: tour.at + 1 || '',
  };
  for (const [key, value] of Object.entries(values)) value ? query.set(key, value) : query.delete(key);
  return url;
}
let written = null;
// gradio's own dialogues (API, settings) put nothing in the place of what was kept: a photo of one's own is lost.
function keepWritten() { if (written && !history.state?.mscnn) history.replaceState({mscnn: written}, ''); }
function writeAddress(push) {
  dropPreviews();
  if (tour.kept) return;  // a reload leaves the tour
  keepWritten();
  const kept = written = plain(Object.fromEntries(LINKED.map(key => [key, state[key]])));
  const link = address();
  // Two photos of one's own have one address.
  const another = history.state?.mscnn?.photo?.id !== state.photo?.id;
  if (push && (another || link.href !== location.href)) history.pushState({mscnn: kept}, '', link);
  else history.replaceState({mscnn: kept}, '', link);
}
// What a link asks for, and the parts of it that say nothing that can be shown.
function readAddress() {
  const query = new URL(location.href).searchParams, found = {}, ignored = [];
  const read = (key, field, value) => {
    if (!query.get(key)) return;
    const good = value(query.get(key).trim());
    if (good === undefined) ignored.push(`${key}=${query.get(key).slice(0, 60)}`);
    else found[field] = good;
  };
  const text = limit => value => value && value.length <= limit && !/[\u0000-\u001f]/.test(value) ? value : undefined;
  read('model', 'model', text(200));
  read('models', 'models', value => {
    const names = value.split(',').map(name => name.trim().replaceAll('%2C', ',')).filter(Boolean);
    const rest = names.splice(CONFIG.max_compared);
    if (rest.length) ignored.push(`models=${rest.join(',').slice(0, 60)}`);
    return names.length && value.length <= 1200 ? names : undefined;
  });
  read('tab', 'tab', value => Object.hasOwn(LENSES, value) ? value : undefined);
  read('example', 'example', value => exampleOf(value.toLowerCase())?.id);
  read('class', 'target', text(LONGEST));
  read('layer', 'layer', value => {
    const number = value.replace(/^(layer|stage)/, '');
    return number === 'last' || /^[1-9]$/.test(number) ? number : undefined;
  });
  // In an address that was typed, the pluses of gradcam++ are read as spaces.
  const method = (query.get('method') ?? '').replaceAll(' ', '+');
  read('method', 'method', value => [method, value].find(one => CONFIG.choices.methods[0].items.some(([name]) => name === one)));
  read('tour', 'step', value => STEPS[value - 1] && Number(value) - 1);
  if (found.models && !found.tab && LENSES.compare) found.tab = 'compare';
  return {found, ignored};
}
function openAddress(kept) {
  const {found, ignored} = readAddress();
  const {example, step, ...fields} = found;
  if (tour.kept) tour.leave(true);  // which puts back photo and zoom
  const before = state.photo?.id;
  forgetUpload();
  // Another version of the page may have kept what is no longer offered.
  if (kept) kept = {...kept, tab: LENSES[kept.tab] ? kept.tab : CONFIG.lenses[0].id,
    photo: kept.photo?.example && !exampleOf(kept.photo.example) ? null : kept.photo};
  Object.assign(state, {tab: CONFIG.lenses[0].id, ...PLAIN}, kept ?? fields);
  changed = 'open';
  if (!kept || !state.photo) {
    const first = exampleOf(example) ?? CONFIG.examples[0];
    state.photo = first ? photoOf(first) : null;
  } else {
    const {id, example, path} = state.photo, seen = Object.values(answers).find(({at}) => at.photo?.id === id);
    state.photo.plain = false;
    // An answer that is here is not asked for again: its upright copy, which every browser can draw.
    state.photo.url = fileURL(example ? exampleOf(example).path : seen?.message.photo.path ?? path);
  }
  refused = {};
  standing = ignored.length ? `This part of the link was ignored: ${ignored.join(', ')}.` : '';
  noticeOfAnswer();
  viewer.chosen = viewer.corner = viewer.drag = null;
  if (state.photo?.id !== before) viewer.zoom = 1;
  if (step !== undefined && CONFIG.tour.example) return tour.go(step);
  writeAddress(false);
  refresh();
}
async function copyLink() {
  const link = address().href;
  let text = 'The link is copied.';
  if (!state.photo?.example) text = 'The link is copied; it does not hold your own photo.';
  try { await navigator.clipboard.writeText(link); } catch (error) {
    text = `The browser lets the page copy nothing here. The link${state.photo?.example ? '' : ', which does not hold your own photo'}: ${link}`;
  }
  remark(text);
}
