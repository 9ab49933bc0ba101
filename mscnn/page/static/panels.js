// Panels, tabs and controls: what the server rendered, bound to the state by data attributes.

const parsed = text => { try { return JSON.parse(text); } catch (error) { return {}; } };

// Whether a data-set or data-show says what is the case already.
function holds(change, show) {
  if (show) return 'map' in change && viewer.map()?.id === change.map;
  const answer = answers[state.tab];
  const isLast = () => state.layer === 'last' || !!(answer && mapFor(answer, wantedLabel(answer), state.layer)?.last);
  return Object.entries(change).every(([key, value]) => key === 'options'
    ? Object.entries(value).every(([k, v]) => same(state.options[state.tab]?.[k], v))
    : key === 'target' ? (answer && wantedLabel(answer)) === value
      : key === 'layer' && value === 'last' ? isLast() : same(state[key], value));
}

// Makes a change of the page. Focus on what it removes or hides goes to the same thing in the new
// answer, else to its group or its tab: never to the body, where a keyboard would start anew.
const trait = ({tagName, id, value, textContent, dataset}) => JSON.stringify([tagName, id, dataset.set, dataset.show,
  dataset.mark, dataset.field, tagName === 'SUMMARY' ? textContent : value]);
function keepFocus(change) {
  const had = document.activeElement, group = had?.closest('fieldset, .popup'), panel = had?.closest('.panel');
  const known = element.contains(had) && trait(had);
  const result = change();
  if (!known || had.checkVisibility() || ![had, document.body].includes(document.activeElement)) return result;
  const there = all('button, canvas, input, select, summary, [data-mark]').filter(e => e.checkVisibility() && !e.disabled);
  const next = [e => trait(e) === known, e => had.title && e.title === had.title, e => group?.contains(e),
    e => panel?.contains(e) && e.ariaPressed === 'true'].map(test => there.find(test)).find(found => found);
  (next ?? get('tab-' + state.tab)).focus();
  return result;
}
function renderPanels() {
  for (const {id} of CONFIG.lenses) {
    const front = state.tab === id, tab = get('tab-' + id), panel = get('panel-' + id), answer = answers[id];
    tab.setAttribute('aria-selected', String(front));
    tab.tabIndex = front ? 0 : -1;
    panel.hidden = !front;
    const body = panel.querySelector('.answer');
    if (answer && body.made !== answer.message.html) {
      const said = fold => fold.querySelector('summary')?.textContent;
      const open = all('details[open]', body).map(said);  // there may be more or fewer of them now
      body.innerHTML = answer.message.html;
      body.made = answer.message.html;
      panel.querySelector('.cite > div').innerHTML = answer.message.cite;
      viewer.hovered = null;
      for (const fold of all('details', body)) fold.open = open.includes(said(fold));
      prepareMarks(body, answer.message);
    }
    const off = answer ? differs(id) : null;
    panel.classList.toggle('stale', !!off);
    panel.querySelector('.stale-note').textContent = off ? `for the previous ${PREVIOUS[off]}` : '';
    if (!front) continue;
    press(panel);
    if (answer?.message.classes) suggest(answer.message.classes);
  }
  fillFields();
  for (const button of all('[data-example]')) button.setAttribute('aria-pressed', String(state.photo?.example === button.dataset.example));
}
function press(panel = get('panel-' + state.tab)) {
  for (const button of all('[data-set], [data-show]', panel)) {
    if (button.matches('.quiet, #cut-run, .bar > button')) continue;  // does something once: nothing to be pressed
    const {set: change, show} = button.dataset;
    button.setAttribute('aria-pressed', String(holds(parsed(change ?? show), !change)));
  }
  const shown = viewer.map();
  for (const range of all('[data-shows]', panel)) {
    const list = parsed(range.dataset.shows), same = ({map}) => map === shown?.id || (shown && viewer.mapById(map)?.group === shown.group);
    const k = list.findIndex(same);
    if (k >= 0) { range.value = k; range.setAttribute('aria-valuetext', list[k].text ?? ''); }
  }
  for (const mark of all('[data-mark]', panel)) mark.classList.toggle('chosen', !!shown
    && (shown.id === mark.dataset.mark || (shown.column !== undefined && viewer.mapById(mark.dataset.mark)?.group === shown.group)));
}
function prepareMarks(body, message) {
  for (const mark of all('[data-mark]', body)) {
    if (!message.view.maps?.some(map => map.id === mark.dataset.mark) && !message.marks?.[mark.dataset.mark]) continue;
    mark.tabIndex = mark.closest('svg').querySelector('[data-mark][role=button]') ? -1 : 0;
    mark.setAttribute('role', 'button');
    mark.setAttribute('aria-label', mark.querySelector('title')?.textContent ?? mark.dataset.mark);
  }
}
function show(change) {
  if ('map' in change) viewer.chosen = [state.tab, change.map];
  keepFocus(() => viewer.update());
  press();
}
function chooseMark(mark) {
  const what = answers[state.tab]?.message.marks?.[mark.dataset.mark] ?? {show: {map: mark.dataset.mark}};
  if (what.set) set(what.set);
  if (what.show) show(what.show);
}

// ---- fields -----------------------------------------------------------------------------------

function options(select) {
  let groups = CONFIG.choices[select.dataset.choices] ?? [];
  const empty = select.dataset.field ? 'None' : 'Add one …';
  if (select.dataset.add) groups = [{items: [['', empty]]}, ...groups.filter(group => !group.items.some(([value]) => value === 'other'))];
  select.replaceChildren(...groups.map(({group, items}) => {
    const made = items.map(([value, text]) => new Option(text, value));
    if (!group) return made;
    const box = document.createElement('optgroup');
    box.label = group;
    box.append(...made);
    return [box];
  }).flat());
}
function fieldValue(name) {
  if (name === 'model') return state.model || CONFIG.model;
  return name.startsWith('options.') ? state.options[state.tab]?.[name.slice(8)] : state[name];
}
let typing = null;  // the text field whose words were not entered yet
function fillFields() {
  for (const select of all('select[data-choices]')) if (!select.options.length) options(select);
  for (const field of all('[data-field]')) {
    if (field === typing) continue;
    const value = fieldValue(field.dataset.field);
    if (field.type === 'checkbox') { field.checked = !!value; continue; }
    if (field.tagName === 'SELECT' && value && ![...field.options].some(option => option.value === value)) {
      if (!field.dataset.choices) { field.value = ''; continue; }  // it counts as not chosen
      field.append(new Option(value, value));
    }
    if (value !== undefined || field.querySelector('option[value=""]')) field.value = value ?? '';
  }
  for (const list of all('[data-list=models]')) fillList(list);
}
// The networks of the list: those of the state, or those that the answer takes for these.
function listed() {
  const answer = answers[state.tab];
  // Where the state has fewer than two, the answer put the page's own network of then beside them.
  const fits = answer && same(answer.at.models, state.models) && (state.models.length > 1 || answer.at.model === state.model);
  return fits && answer.message.models || state.models;
}
function fillList(list) {
  const chips = list.querySelector('.chips'), names = listed();
  if (same(chips.made, names)) return;
  chips.made = [...names];
  const titles = Object.fromEntries(CONFIG.choices.models.flatMap(group => group.items));
  chips.replaceChildren(...names.map(name => {
    const chip = document.createElement('button');
    chip.type = 'button';
    chip.value = name;
    chip.textContent = `${titles[name] ?? name} ×`;
    chip.setAttribute('aria-label', `Remove ${titles[name] ?? name}`);
    chip.addEventListener('click', () => {
      const models = names.filter(other => other !== name);
      if (same(models, state.models)) return remark('The network chosen above is always one of two; add a third to remove it.');
      set({models});
    });
    return chip;
  }));
}
function changeField(field) {
  const {field: name} = field.dataset;
  const number = field.type === 'range' || field.type === 'number';
  let value = field.type === 'checkbox' ? field.checked : number ? Number(field.value) : field.value.trim();
  if (name === 'model') get('model-name').hidden = value !== 'other';
  if (name === 'model' && value === 'other') return get('model-name').focus();
  if (name === 'target') value = value || null;
  if (!name.startsWith('options.')) return set({[name]: value});
  set({options: {[name.slice(8)]: value}});
}
function suggestModels() {
  const items = CONFIG.choices.models.flatMap(group => group.items).filter(([value]) => value !== 'other');
  get('model-names').replaceChildren(...items.map(([value, text]) => new Option(text, value)));
}
let suggested = null;
function suggest(classes) {
  if (suggested === classes || same(suggested, classes)) return;
  suggested = classes;
  get('classes').replaceChildren(...classes.map(name => new Option('', name)));
}

// ---- events -----------------------------------------------------------------------------------

element.addEventListener('click', event => {
  const hit = event.target.closest('[data-set], [data-show], [data-mark], [data-pack], [data-example], [data-do], [role=tab]');
  if (!hit || !element.contains(hit)) return;
  const {set: change, show: shown, example, do: action} = hit.dataset;
  if (change) set(parsed(change));
  else if (shown) show(parsed(shown));
  else if ('mark' in hit.dataset) { if (hit.getAttribute('role') === 'button') chooseMark(hit); }
  else if ('pack' in hit.dataset) pack(hit);
  else if (example) chooseExample(example);
  else if (action) keepFocus(() => ACTIONS[action](hit));
  else if (hit.id.startsWith('tab-')) set({tab: hit.id.slice(4)});
});
document.addEventListener('click', event => {
  for (const popup of all('.popup[open]')) popup.open = popup.contains(event.target);
});
element.addEventListener('keydown', event => {
  const popup = event.target.closest('.popup[open]');
  if (popup && event.key === 'Escape') { event.preventDefault(); popup.open = false; popup.firstElementChild.focus(); }
  if (event.ctrlKey || event.metaKey || event.altKey) return;  // the browser's own, such as Back
  const mark = event.target.closest('[data-mark]');
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
  if (mark && step) {  // one stop of the Tab key for all marks of a chart
    const marks = all('[data-mark][role=button]', mark.closest('svg')), next = marks[marks.indexOf(mark) + step];
    event.preventDefault();
    if (!next) return;
    [mark.tabIndex, next.tabIndex] = [-1, 0];
    next.focus();
  }
  if (mark && (event.key === 'Enter' || event.key === ' ')) { event.preventDefault(); chooseMark(mark); }
  if (event.target.id === 'model-name' && event.key === 'Enter') event.target.dispatchEvent(new Event('change', {bubbles: true}));
  if (event.target.getAttribute('role') !== 'tab') return;
  const ids = CONFIG.lenses.map(lens => lens.id), k = ids.indexOf(state.tab);
  const next = {ArrowRight: k + 1, ArrowDown: k + 1, ArrowLeft: k - 1, ArrowUp: k - 1, Home: 0, End: ids.length - 1}[event.key];
  if (next === undefined) return;
  event.preventDefault();
  set({tab: ids[(next + ids.length) % ids.length]});
  get('tab-' + state.tab).focus();
});
element.addEventListener('change', event => {
  const {target} = event;
  typing = null;
  if (target.id === 'file') { choosePhoto(target.files[0]); target.value = ''; }
  else if (target.id === 'model-name') { if (target.value.trim()) set({model: target.value.trim()}); }
  else if (target.dataset.add === 'models') {
    const name = target.value.trim(), names = listed();
    target.value = '';
    if (!name || names.includes(name)) return;
    if (names.length < CONFIG.max_compared) set({models: [...names, name]});
    else remark(`There are ${names.length} networks already, which is the most; remove one first.`);
  } else if (target.dataset.field) changeField(target);
});
// Another window takes the focus too, but not from the field.
element.addEventListener('focusout', () => { if (document.activeElement !== typing) typing = null; });
element.addEventListener('input', event => {
  const {target} = event;
  if (target.type === 'text') typing = target;
  if (target.id === 'opacity' || target.id === 'threshold') viewer[target.id] = Number(target.value);
  else if (target.id === 'colours') viewer.colours = target.value;
  else if (target.dataset.shows) {
    Object.assign(viewer, {hovered: null, below: null});  // the pointer may rest on a chart
    return show(parsed(target.dataset.shows)[target.value]);
  }
  else return;
  viewer.draw();
});
function hover(event, on) {
  const hit = event.target.closest?.('[data-hover], [data-mark][role=button]');
  if (!hit) return;
  const what = hit.dataset.mark ? answers[state.tab]?.message.marks?.[hit.dataset.mark]?.show ?? {map: hit.dataset.mark} : parsed(hit.dataset.show);
  if (what.map === undefined) return;
  Object.assign(viewer, {hovered: on ? what.map : null, below: on ? hit.closest('#cut') : null});
  viewer.update();
}
for (const [name, on] of [['pointerover', true], ['pointerout', false], ['focusin', true], ['focusout', false]]) {
  element.addEventListener(name, event => hover(event, on));
}

const ACTIONS = {
  run: () => { const agreed = needed; delete refused[state.tab]; question(); notice(); ask(agreed); },
  stop: () => trigger('stop', {}),
  link: copyLink,
  tour: ({value}) => tour.go(value ? tour.at + Number(value) : 0),
  keep,
  choose: () => get('file').click(),
  'zoom-in': () => viewer.zoomTo(viewer.zoom * 1.5),
  'zoom-out': () => viewer.zoomTo(viewer.zoom / 1.5),
  whole: () => viewer.zoomTo(1),
  save: () => viewer.save(),
  full: () => document.fullscreenElement ? document.exitFullscreen() : get('overlay').requestFullscreen(),
  camera: openCamera,
  snap,
};
let camera = null;
function closeCamera() {
  camera?.getTracks().forEach(track => track.stop());
  camera = null;
  get('camera').hidden = get('snap').hidden = true;
}
async function openCamera() {
  closeCamera();
  const video = get('camera');
  let stream;
  try { stream = await navigator.mediaDevices.getUserMedia({video: true}); } catch (error) {
    return remark('There is no camera, or the browser does not allow it here.');
  }
  // Asked twice, or closed before the browser let it.
  if (camera || !video.closest('[open]')) return stream.getTracks().forEach(track => track.stop());
  camera = stream;
  video.srcObject = camera;
  video.hidden = false;
  get('snap').hidden = false;
  video.play();
}
function snap() {
  const video = get('camera'), canvas = document.createElement('canvas');
  if (!video.videoWidth) return;  // no frame yet
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext('2d').drawImage(video, 0, 0);
  canvas.toBlob(blob => choosePhoto(new File([blob], 'camera.png', {type: 'image/png'})));
  closeCamera();
}

// ---- the start --------------------------------------------------------------------------------

const isFile = event => [...(event.dataTransfer?.types ?? [])].includes('Files');
for (const name of ['dragenter', 'dragover']) document.addEventListener(name, event => {
  if (!isFile(event)) return;
  event.preventDefault();
  get('overlay').classList.add('dropping');
});
for (const name of ['dragleave', 'drop']) document.addEventListener(name, event => {
  get('overlay').classList.remove('dropping');
  if (name !== 'drop' || !isFile(event)) return;
  event.preventDefault();
  choosePhoto(event.dataTransfer.files[0]);
});
document.addEventListener('paste', event => {
  const data = event.clipboardData, file = [...(data?.files ?? [])].find(f => f.type.startsWith('image/'));
  // Office programs put a picture of the words beside them; in a field the words are meant.
  const words = event.target.closest?.('input, textarea') && data.types.includes('text/plain');
  if (file && !words) { event.preventDefault(); choosePhoto(file); }
});
window.addEventListener('popstate', event => openAddress(event.state?.mscnn));
document.addEventListener('click', () => setTimeout(keepWritten));  // by which these dialogues are closed
new ResizeObserver(() => viewer.update()).observe(get('overlay'));
element.addEventListener('toggle', event => {
  if (event.target.open) viewer.update();  // its pictures have a size now
  else if (event.target.contains(get('camera'))) closeCamera();
}, true);
document.addEventListener('fullscreenchange', () => viewer.update());
// iPhones have none, nor has a frame that does not allow it.
get('overlay').querySelector('[data-do=full]').hidden = !document.fullscreenEnabled;
watch('value', () => keepFocus(() => take(plain(props.value))));
document.addEventListener('mscnn-unanswered', () => keepFocus(unanswered));
suggestModels();
openAddress(history.state?.mscnn);
