// The tour: six steps on an example, each a change of the state; leaving puts back what was there.

const STEPS = [
  {tab: 'look'},
  {tab: 'look', press: '#top5 button:nth-child(2)'},  // once the answer is there
  {tab: 'look', layer: '1'},
  {tab: 'scales', layer: '2', options: {cut: false}},
  {tab: 'scales', layer: '2', options: {cut: true}},
  {tab: 'rf', layer: '2'},
];
const tour = {
  at: -1, kept: null, press: null,
  go(k) {
    const {press, ...step} = STEPS[k] ?? {}, {example, model} = CONFIG.tour, {zoom, centre, chosen} = viewer;
    if (!step.tab) return this.leave();
    if (!this.kept) {
      this.kept = [plain(state), {...answers}, {zoom, centre, chosen}];
      state.options = {}; refused = {};
    }
    this.press = press;
    Object.assign(viewer, {zoom: 1, chosen: null, previewed: null});
    this.show(k);
    chooseExample(example, {...PLAIN, model, ...step}, {guided: true});
    scrollTo(0, 0);
    get('tour-' + k).focus();
  },
  settled() {
    const button = this.press && get('panel-' + state.tab).querySelector(this.press);
    this.press = null;
    if (button) set(parsed(button.dataset.set), {guided: true});
  },
  leave(choosing = false) {  // choosing: the visitor has just chosen something else to look at
    [state, answers, viewer].forEach((what, k) => Object.assign(what, this.kept[k]));
    this.kept = this.press = pending = null; refused = {};
    standing = ''; busy(false); noticeOfAnswer();
    this.show(-1);
    if (choosing) return;
    writeAddress(false); refresh();
    get('tour-start').focus();
  },
  show(k) {
    element.dataset.tour = this.at = k;
    get('tour').hidden = k < 0;
    all('#tour > [role=group]').forEach((step, n) => { step.hidden = n !== k; });
  },
};
document.addEventListener('keydown', event => {
  if (event.key === 'Escape' && tour.kept && !event.defaultPrevented) tour.leave();
});
