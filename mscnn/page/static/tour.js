// The tour: six steps on an example, each a change of the state; leaving puts back what was there.

const STEPS = [
  {tab: 'look'},
  {tab: 'look', press: '#top5 button:nth-child(2)'},  // once there is an answer
  {tab: 'look', layer: '1'},
  {tab: 'scales', layer: '2', options: {cut: false}},
  {tab: 'scales', layer: '2', options: {cut: true}},
  {tab: 'rf', layer: '2'},
];
const drawn = () => Object.fromEntries(['opacity', 'threshold', 'colours', 'zoom', 'centre', 'chosen']
  .map(key => [key, viewer[key]]));
const USUAL = drawn();

const tour = {
  at: -1,
  kept: null,   // what was there before
  press: null,  // what the step presses for the visitor once the lens has its answer
  go(k) {
    const {press, ...step} = STEPS[k] ?? {};
    if (!step.tab) return this.leave();
    this.kept ??= {state: plain(state), answers: {...answers}, drawn: drawn()};
    if (this.at < 0) state.options = {};
    [this.at, this.press] = [k, press];
    this.show(USUAL);
    chooseExample(CONFIG.tour.example, {...PLAIN, model: CONFIG.tour.model, ...step}, {guided: true});
    scrollTo(0, 0);
    get('tour-' + (k + 1)).focus();
  },
  settled() {
    const button = this.press && get('panel-' + state.tab).querySelector(this.press);
    this.press = null;
    if (button) set(parsed(button.dataset.set), {guided: true});
  },
  leave(choosing = false) {  // choosing: the visitor has just chosen something else to look at
    const {state: own, answers: had, drawn: look} = this.kept;
    this.kept = this.press = pending = refused = null;
    this.at = -1;
    Object.assign(state, own);
    Object.assign(answers, had);
    standing = '';
    busy(false);
    notice();
    this.show(look);
    if (choosing) return;
    writeAddress(false);
    refresh();
    get('tour-start').focus();
  },
  show(look) {
    Object.assign(viewer, look, {previewed: null, hovered: null});
    for (const key of ['opacity', 'threshold', 'colours']) get(key).value = look[key];
    element.dataset.tour = this.at + 1;
    get('tour').hidden = this.at < 0;
    all('#tour > [role=group]').forEach((step, k) => { step.hidden = k !== this.at; });
    get('tour-back').disabled = !this.at;
    get('tour-next').textContent = this.at === STEPS.length - 1 ? 'Done' : 'Next';
  },
};
document.addEventListener('keydown', event => {
  if (event.key === 'Escape' && tour.kept && !event.defaultPrevented) tour.leave();
});
