// The viewer: the photo with what the lens in front says about it, drawn on canvases.

const LUTS = Object.fromEntries(Object.entries(CONFIG.colours).map(([name, data]) => [name, bytes(data)]));
const DIMMED = 0.4;
const TONES = ['#fbbf24', '#34d399', '#60a5fa', '#f472b6'];
function bytes(data) { return Uint8Array.from(atob(data), c => c.charCodeAt(0)); }
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
// Words of a live region; those that stand there already would be announced again.
function tell(id, words) { if (get(id).textContent !== words) get(id).textContent = words; }

// A map's numbers, as they are drawn: without what is below 0, unless it is signed.
function valuesOf(map) {
  if (!map.values) {
    const {buffer} = bytes(map.data);
    map.values = map.half ? Float32Array.from(new Uint16Array(buffer), fromHalf) : new Float32Array(buffer);
    if (!map.signed) map.values = map.values.map(v => Math.max(v, 0));
  }
  return map.values;
}
// A number from the 16 bits of a float16.
function fromHalf(bits) {
  const exponent = bits >> 10 & 31, fraction = (bits & 1023) / 1024;
  return (bits >> 15 ? -1 : 1) * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}
// Where n half-pixel-centred samples fall between cells: first cell, second cell, weight of it.
function lerpTable(count, cells, from, step) {
  const first = new Int32Array(count), second = new Int32Array(count), weight = new Float32Array(count);
  for (let i = 0; i < count; i++) {
    const at = clamp((from + (i + 0.5) * step) * cells - 0.5, 0, cells - 1);
    first[i] = Math.floor(at);
    second[i] = Math.min(first[i] + 1, cells - 1);
    weight[i] = at - first[i];
  }
  return {first, second, weight};
}
// The value at a point of the photo (px), in the map's unit; null where the network saw nothing.
function valueAt(map, x, y) {
  const [left, top, right, bottom] = map.rect, [rows, columns] = map.shape;
  if (x < left || y < top || x >= right || y >= bottom) return null;
  const h = lerpTable(1, columns, (x - left) / (right - left), 0), v = lerpTable(1, rows, (y - top) / (bottom - top), 0);
  const cells = valuesOf(map), row = k => (1 - h.weight[0]) * cells[k * columns + h.first[0]] + h.weight[0] * cells[k * columns + h.second[0]];
  return ((1 - v.weight[0]) * row(v.first[0]) + v.weight[0] * row(v.second[0])) / map.divisor;
}

// The map's colours for a rectangle of the photo, as ImageData of width x height.
function coloured(map, box, width, height, look) {
  const [left, top, right, bottom] = map.rect, [rows, columns] = map.shape, cells = valuesOf(map);
  const across = lerpTable(width, columns, (box[0] - left) / (right - left), (box[2] - box[0]) / width / (right - left));
  const down = lerpTable(height, rows, (box[1] - top) / (bottom - top), (box[3] - box[1]) / height / (bottom - top));
  const out = new ImageData(width, height), data = out.data;
  const lut = map.signed ? LUTS.signed : LUTS[look.colours], scale = 1 / (map.divisor * map.top);
  const opacity = look.opacity, threshold = look.threshold;
  let k = 0;
  for (let y = 0; y < height; y++) {
    const r0 = down.first[y] * columns, r1 = down.second[y] * columns, wy = down.weight[y];
    for (let x = 0; x < width; x++, k += 4) {
      const a = across.first[x], b = across.second[x], wx = across.weight[x];
      const upper = cells[r0 + a] + wx * (cells[r0 + b] - cells[r0 + a]);
      const lower = cells[r1 + a] + wx * (cells[r1 + b] - cells[r1 + a]);
      const share = clamp((upper + wy * (lower - upper)) * scale, map.signed ? -1 : 0, 1);
      const level = map.signed ? Math.round(share * 127) + 127 : Math.min(Math.floor(share * 256), 255);
      const strength = map.signed ? Math.abs(level - 127) / 127 : level / 255;
      data[k] = lut[3 * level]; data[k + 1] = lut[3 * level + 1]; data[k + 2] = lut[3 * level + 2];
      data[k + 3] = Math.abs(share) < threshold ? 0 : Math.round(255 * opacity * strength);
    }
  }
  return out;
}
const scratch = document.createElement('canvas');

// Draws photo, map and frame. from: the part of the photo shown, px.
function paint(canvas, image, photo, from, map, frame, look) {
  const pen = canvas.getContext('2d'), {width, height} = canvas;
  const sx = width / (from[2] - from[0]), sy = height / (from[3] - from[1]);
  const onCanvas = box => [(box[0] - from[0]) * sx, (box[1] - from[1]) * sy, (box[2] - from[0]) * sx, (box[3] - from[1]) * sy];
  pen.clearRect(0, 0, width, height);
  if (image) {
    const fx = image.naturalWidth / photo.width, fy = image.naturalHeight / photo.height;
    pen.imageSmoothingQuality = 'high';
    pen.drawImage(image, from[0] * fx, from[1] * fy, (from[2] - from[0]) * fx, (from[3] - from[1]) * fy, 0, 0, width, height);
    if (map?.signed) {  // red and blue are the map's alone; Safari has no filters on a canvas
      pen.globalCompositeOperation = 'saturation';
      pen.fillStyle = '#000';
      pen.fillRect(0, 0, width, height);
      pen.globalCompositeOperation = 'source-over';
    }
  }
  if (map) {
    const seen = [Math.max(map.rect[0], from[0], 0), Math.max(map.rect[1], from[1], 0),
      Math.min(map.rect[2], from[2], photo.width), Math.min(map.rect[3], from[3], photo.height)];
    const [l, t, r, b] = onCanvas(seen).map(Math.round);
    if (r > l && b > t) {
      const exact = [from[0] + l / sx, from[1] + t / sy, from[0] + r / sx, from[1] + b / sy];
      scratch.width = r - l; scratch.height = b - t;
      scratch.getContext('2d').putImageData(coloured(map, exact, r - l, b - t, look), 0, 0);
      pen.drawImage(scratch, l, t);
    }
  }
  if (frame) {
    const [l, t, r, b] = onCanvas([Math.max(frame[0], 0), Math.max(frame[1], 0), Math.min(frame[2], photo.width), Math.min(frame[3], photo.height)]).map(Math.round);
    if (l > 0 || t > 0 || r < width || b < height) {
      pen.fillStyle = `rgba(0, 0, 0, ${1 - DIMMED})`;
      pen.beginPath();
      pen.rect(0, 0, width, height);
      pen.rect(l, t, r - l, b - t);
      pen.fill('evenodd');
      const line = Math.max(1, Math.round(Math.max(width, height) / 500));
      pen.lineWidth = line;
      pen.strokeStyle = '#fff'; pen.strokeRect(l - 1.5 * line, t - 1.5 * line, r - l + 3 * line, b - t + 3 * line);
      pen.strokeStyle = '#000'; pen.strokeRect(l - line / 2, t - line / 2, r - l + line, b - t + line);
    }
  }
  return onCanvas;
}

function outline(pen, box, colour, dashed = false) {
  const [l, t, r, b] = box, unit = window.devicePixelRatio || 1;
  pen.setLineDash([]);
  pen.lineWidth = 4 * unit; pen.strokeStyle = 'rgba(0, 0, 0, .65)'; pen.strokeRect(l, t, r - l, b - t);
  if (dashed) pen.setLineDash([6 * unit, 4 * unit]);
  pen.lineWidth = 2 * unit; pen.strokeStyle = colour; pen.strokeRect(l, t, r - l, b - t);
  pen.setLineDash([]);
}

const viewer = {
  canDraw: !!document.createElement('canvas').getContext?.('2d'),
  opacity: 0.65, colours: CONFIG.colour_maps[0], threshold: 0,
  zoom: 1, centre: [0.5, 0.5],   // of the photo
  pointer: null,                 // photo px under the mouse, a finger or the keyboard
  chosen: null,                  // [lens, a map's id], chosen with data-show: ids are a lens's own
  hovered: null,                 // a map's id, while it is pointed at
  below: null,                   // what holds it, where that stands below parts that its map would change
  drag: null,                    // {box: fractions of the photo} while one is drawn
  corner: null,                  // the first corner of a box that is drawn by two clicks, or with Enter
  image: null, imageURL: null, previewed: null, columns: [],
  images: new Map(),             // pictures that maps bring with them, by address

  answer() {
    const answer = answers[state.tab];
    return answer && answer.at.photo?.id === state.photo?.id && !this.previewed ? answer : null;
  },
  view() { return this.answer()?.message.view ?? {}; },
  photo() {
    const own = this.map()?.photo ?? this.view().photo ?? (this.previewed ? {} : state.photo) ?? {};
    const {naturalWidth = 4, naturalHeight = 3} = this.image ?? {};
    return own.width ? own : {...own, width: naturalWidth || 4, height: naturalHeight || 3};
  },
  mapById(id) { return (this.view().maps ?? []).find(map => map.id === id); },
  map(column) {
    if (column?.map) return this.mapById(column.map);
    const answer = this.answer();
    if (!answer || (column && 'map' in column)) return null;
    const shown = this.mapById(this.hovered) ?? this.mapById(this.chosen?.[0] === state.tab ? this.chosen[1] : null) ?? mapFor(answer, wantedLabel(answer), state.layer)
      ?? mapFor(answer, differs(state.tab) ? answer.message.label : wantedLabel(answer), 'last') ?? this.view().maps?.[0] ?? null;
    if (!shown || column?.key === undefined) return shown;
    return this.view().maps.find(map => map.group === shown.group && map.column === column.key) ?? null;
  },
  imageOf(map) {  // what lies below a map: its own picture, or the photo
    if (!map?.photo) return this.image;
    const url = fileURL(map.photo.path);
    if (!this.images.has(url)) {
      if (this.images.size > 200) this.images.clear();
      const image = new Image();
      image.onload = () => this.update();
      image.src = url;
      this.images.set(url, image);
    }
    const image = this.images.get(url);
    return image.complete && image.naturalWidth ? image : null;
  },
  // Where the whole photo lies on a picture, px: a composed picture may hold a part.
  whole({width, height, whole = [0, 0, width, height]} = this.photo()) { return whole; },
  // A column's own picture, and what brings px of the picture shown into px of it: of the pictures
  // that networks saw, each may be of another size.
  own(map) {
    const photo = this.photo(), own = map?.photo ?? photo, scale = [own.width / photo.width, own.height / photo.height];
    return {own, scaled: values => values.map((value, k) => value * scale[k % 2])};
  },
  fieldAt(x, y) {  // the receptive field of the unit under a point, photo px
    const fields = this.view().fields ?? [];
    const field = this.map(this.columns[0]?.column)?.field ?? fields.find(f => state.layer !== 'last' && f.stage === state.layer) ?? fields[fields.length - 1];
    if (!field) return null;
    const [l, t, r, b] = field.rect, scale = [(r - l) / field.view[0], (b - t) / field.view[1]], origin = [l, t];
    const sides = [x, y].map((value, axis) => {
      const unit = clamp(Math.ceil(((value - origin[axis]) / scale[axis] - field.start[axis]) / field.stride[axis] - 0.5), 0, field.grid[axis] - 1);
      const centre = field.start[axis] + unit * field.stride[axis];
      return [unit, origin[axis] + (centre - field.size[axis] / 2) * scale[axis], origin[axis] + (centre + field.size[axis] / 2) * scale[axis]];
    });
    return {title: field.title, unit: [sides[0][0], sides[1][0]], box: [sides[0][1], sides[1][1], sides[0][2], sides[1][2]]};
  },

  // ---- drawing --------------------------------------------------------------------------------
  update() {
    const view = this.view(), url = this.previewed ?? (view.photo ? fileURL(view.photo.path) : state.photo?.url);
    get('overlay').classList.toggle('empty', !url);
    const thing = this.previewed ?? view.photo?.path ?? state.photo?.id;
    if (url && url !== this.imageURL) {
      // Another photo's picture goes at once; a better copy of the same one comes when it is there.
      if (this.thing !== thing && this.thing !== url) this.image = null;
      this.imageURL = url;
      const image = new Image();
      image.onload = () => { if (this.imageURL === url) { this.image = image; this.update(); } };
      image.src = url;
    }
    this.thing = this.previewed ? url : thing;
    if (!this.below?.checkVisibility()) this.showParts();
    if (!this.canDraw) return this.showPicture();
    for (const map of view.maps ?? []) this.imageOf(map);
    this.layOut();
    this.point(this.pointer, this.byKey);  // draws, and reads what is under the pointer now
    const map = this.first(), stale = !!this.answer() && differs(state.tab);
    get('overlay').classList.toggle('stale', !!stale);
    get('opacity').disabled = !map;
    tell('caption', this.previewed || !map ? '' : stale && differs(state.tab) !== 'none'
      ? `For the previous ${PREVIOUS[differs(state.tab)]}.` : (map.caption ?? '').replace(/ (?=[%×]|px)/g, '\u00a0'));
  },
  // Of the parts that stand in one place, that of the map's group; where it has none there, what was shown
  // stays: a slider below must not jump away from the pointer.
  showParts() {
    const map = this.map(), parts = all('[data-group]', get('panel-' + state.tab));
    for (const place of new Set(parts.map(part => part.parentElement))) {
      const own = parts.filter(part => part.parentElement === place);
      const shown = own.find(part => part.dataset.group === map?.group) ?? (map && own.find(part => !part.hidden));
      for (const part of own) part.hidden = part !== shown;
    }
  },
  showPicture() {
    const pictures = this.view().pictures ?? {}, map = this.map(), path = map && pictures[map.id];
    const image = get('picture');
    image.hidden = false;
    image.src = path ? fileURL(path) : this.imageURL ?? '';
    image.alt = this.description(map);
    tell('caption', map?.caption ?? '');
  },
  description(map) {
    const name = state.photo?.name ?? 'No photo yet';
    return map ? `${name}, with the map of ${[map.title, map.label].filter(Boolean).join(' for ')}. ${map.alt ?? ''}` : `Photo: ${name}`;
  },
  first() { return this.map(this.columns[0]?.column) ?? this.map(); },  // the first column may have none
  layOut() {
    const columns = this.view().columns ?? [], shown = this.map();
    // A map of no column, such as a difference of two, is shown alone.
    const alone = shown && shown.column === undefined && columns.some(column => column.key !== undefined);
    const known = alone ? [] : columns.filter(column => column.key === undefined || this.map(column));
    const wanted = known.length ? known : [{}], host = get('canvases');
    // Those that stay are kept: one may have the focus, or a box that is being drawn on it.
    if (this.columns.length > wanted.length) letGo();
    while (this.columns.length > wanted.length) { this.columns.pop(); host.lastChild.remove(); }
    while (this.columns.length < wanted.length) {
      const figure = document.createElement('figure'), title = document.createElement('figcaption');
      const canvas = document.createElement('canvas');
      canvas.tabIndex = 0;
      canvas.setAttribute('role', 'application');
      canvas.setAttribute('aria-describedby', 'readout');
      figure.append(title, canvas);
      host.append(figure);
      listen(canvas);
      this.columns.push({canvas, title});
    }
    this.columns.forEach((entry, k) => {
      entry.column = wanted[k];
      entry.title.textContent = [wanted[k].title, wanted[k].note].filter(Boolean).join(': ');
      entry.title.hidden = !entry.title.textContent;
      entry.canvas.setAttribute('aria-label', this.description(this.map(wanted[k])) + ' Arrow keys read its values'
        + ({point: ', Enter measures the unit there', box: ', Enter at two corners draws a box'}[this.view().pick] ?? '') + '.');
    });
    const photo = this.photo(), count = this.columns.length, gap = 8;
    const per = count === 1 ? 1 : Math.min(count, host.clientWidth < 560 ? 2 : 3), lines = Math.ceil(count / per);
    const room = document.fullscreenElement ? innerHeight - 130 : parseFloat(getComputedStyle(host).getPropertyValue('--room')) / 100 * innerHeight;
    const wide = (host.clientWidth - gap * (per - 1)) / per, high = Math.max(room / lines - (lines > 1 ? 30 : 0), 110);
    const scale = Math.min(wide / photo.width, high / photo.height), unit = window.devicePixelRatio || 1;
    host.style.gridTemplateColumns = `repeat(${per}, auto)`;
    for (const {canvas} of this.columns) {
      const size = [Math.max(Math.round(photo.width * scale), 1), Math.max(Math.round(photo.height * scale), 1)];
      canvas.style.width = size[0] + 'px';
      canvas.style.height = size[1] + 'px';
      const real = size.map(side => Math.round(side * unit));
      if (canvas.width !== real[0] || canvas.height !== real[1]) [canvas.width, canvas.height] = real;
      canvas.style.touchAction = this.zoom > 1 || this.view().pick === 'box' ? 'none' : 'pan-y';
    }
  },
  window() {  // the part of the photo that is shown, px
    const {width, height} = this.photo(), half = [width / this.zoom / 2, height / this.zoom / 2];
    const x = clamp(this.centre[0] * width, half[0], width - half[0]), y = clamp(this.centre[1] * height, half[1], height - half[1]);
    this.centre = [x / width, y / height];
    return [x - half[0], y - half[1], x + half[0], y + half[1]];
  },
  draw() {
    if (!this.canDraw) return;
    if (!this.columns.length) this.layOut();
    const view = this.view(), from = this.window(), unit = window.devicePixelRatio || 1;
    for (const {column, canvas} of this.columns) {
      const map = this.map(column), pen = canvas.getContext('2d'), {own, scaled} = this.own(map);
      const onCanvas = paint(canvas, this.imageOf(map), own, scaled(from), map, column.frame ?? map?.rect ?? view.frame, this);
      const [l, t, r, b] = this.whole(own);
      const inPx = box => [l + box[0] * (r - l), t + box[1] * (b - t), l + box[2] * (r - l), t + box[3] * (b - t)];
      for (const box of map?.boxes ?? view.boxes ?? []) outline(pen, onCanvas(box.rect), TONES[(box.tone ?? 1) - 1]);
      const dragged = this.drag?.box ?? state.box;
      if (view.pick === 'box' && dragged) outline(pen, onCanvas(inPx(dragged)), TONES[0], true);
      const field = this.pointer && this.fieldAt(...this.pointer);
      if (field) outline(pen, onCanvas(scaled(field.box)), TONES[1]);
      const chosen = view.pick === 'point' ? state.point : this.corner;
      const mark = chosen && inPx([...chosen, ...chosen]).slice(0, 2);
      for (const [point, colour] of [[mark, TONES[0]], [this.pointer && (this.byKey || this.columns.length > 1) ? scaled(this.pointer) : null, '#fff']]) {
        if (!point) continue;
        const [x, y] = onCanvas([...point, ...point]), arm = 8 * unit;
        for (const [width, tone] of [[4, 'rgba(0, 0, 0, .7)'], [2, colour]]) {
          pen.lineWidth = width * unit; pen.strokeStyle = tone;
          pen.beginPath();
          pen.moveTo(x - arm, y); pen.lineTo(x + arm, y); pen.moveTo(x, y - arm); pen.lineTo(x, y + arm);
          pen.stroke();
        }
      }
    }
    this.drawSmall();
  },
  // Small multiples: canvases in the panel in front that name a map, or a stage of the class shown.
  drawSmall() {
    const answer = answers[state.tab], panel = get('panel-' + state.tab);
    if (!answer || !this.image || answer !== this.answer()) return;
    const unit = window.devicePixelRatio || 1;
    for (const canvas of all('canvas[data-map], canvas[data-stage]', panel)) {
      const {map: id, stage} = canvas.dataset;
      if (canvas.closest('[hidden]')) continue;
      const map = id ? this.mapById(id) : mapFor(answer, wantedLabel(answer), stage);
      const photo = map?.photo ?? this.photo();
      const wide = canvas.clientWidth || 120, high = Math.round(wide * clamp(photo.height / photo.width, 0.6, 1.2));
      canvas.style.height = high + 'px';
      canvas.width = wide * unit; canvas.height = high * unit;
      // The middle of what the network saw fills the small picture.
      const [l, t, r, b] = map?.rect ?? [0, 0, photo.width, photo.height];
      const box = [Math.max(l, 0), Math.max(t, 0), Math.min(r, photo.width), Math.min(b, photo.height)];
      const k = Math.min((box[2] - box[0]) / wide, (box[3] - box[1]) / high);
      const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
      paint(canvas, this.imageOf(map), photo, [x - wide * k / 2, y - high * k / 2, x + wide * k / 2, y + high * k / 2], map, null, this);
      canvas.classList.toggle('waiting', !map);
    }
  },

  // ---- pointing -------------------------------------------------------------------------------
  at(canvas, event) {
    const box = canvas.getBoundingClientRect(), from = this.window();
    return [from[0] + (event.clientX - box.left) / box.width * (from[2] - from[0]),
      from[1] + (event.clientY - box.top) / box.height * (from[3] - from[1])];
  },
  fraction([x, y]) {  // of the photo
    const [l, t, r, b] = this.whole();
    return [(x - l) / (r - l), (y - t) / (b - t)].map(v => Math.round(clamp(v, 0, 1) * 1e4) / 1e4);
  },
  spanned(a, b) {
    return {box: [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])]};
  },
  point(point, byKey = false) {
    this.pointer = point;
    this.byKey = byKey;
    if (this.corner && point) this.drag = this.spanned(this.corner, this.fraction(point));
    this.draw();
    const texts = point ? this.columns.map(({column}) => {
      const map = this.map(column), value = map ? valueAt(map, ...this.own(map).scaled(point)) : null;
      if (!map) return '';
      const digits = Math.abs(value) < 9.95 ? 1 : 0;
      const number = value === null ? 'not seen by the network' : `${(Number(value.toFixed(digits)) || 0).toFixed(digits)} ${map.unit}`;  // no -0.0
      return [column.title, this.columns.length > 1 ? '' : map.title, number].filter(Boolean).join(': ');
    }).filter(Boolean) : [];
    const field = point && this.fieldAt(...point);
    if (field) texts.push(`${field.title}: sees ${field.box[2] - field.box[0] >= this.photo().width ? 'all of the photo’s width' : `${Math.round(100 * (field.box[2] - field.box[0]) / this.photo().width)} % of the width`}`);
    tell('readout', texts.join(' · '));
  },
  zoomTo(zoom, about) {
    const before = this.window(), photo = this.photo();
    const [x, y] = about ?? [(before[0] + before[2]) / 2, (before[1] + before[3]) / 2];
    const factor = this.zoom / (this.zoom = clamp(zoom, 1, 16));
    this.centre = [(x + ((before[0] + before[2]) / 2 - x) * factor) / photo.width, (y + ((before[1] + before[3]) / 2 - y) * factor) / photo.height];
    this.layOut();
    this.draw();
  },
  pick(point) {
    const {pick} = this.view();
    if (pick === 'point') set({point: this.fraction(point)});
    if (pick !== 'box') return;
    const corner = this.fraction(point), {box} = this.corner ? this.spanned(this.corner, corner) : {};
    this.corner = box ? null : corner;
    if (box) this.finish(box); else this.draw();
  },
  finish(box) {
    this.drag = this.corner = null;
    if (box[2] - box[0] > 0.01 && box[3] - box[1] > 0.01) set({box}); else this.draw();
  },
  async save() {
    const canvas = document.createElement('canvas'), map = this.first(), photo = this.own(map).own;
    const scale = Math.min(1, 2400 / Math.max(photo.width, photo.height));
    [canvas.width, canvas.height] = [Math.round(photo.width * scale), Math.round(photo.height * scale)];
    const onCanvas = paint(canvas, this.imageOf(map), photo, [0, 0, photo.width, photo.height], map, map?.rect, this);
    for (const box of map?.boxes ?? this.view().boxes ?? []) outline(canvas.getContext('2d'), onCanvas(box.rect), TONES[(box.tone ?? 1) - 1]);
    const name = `${(state.photo?.name ?? 'photo').replace(/\.[a-z]+$/i, '')} ${[map?.label, map?.title].filter(Boolean).join(' ')}.png`.replace(/[^\w .-]+/g, '-');
    const url = URL.createObjectURL(await new Promise(done => canvas.toBlob(done)));
    saveAs(name, url);
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  },
};

// The fingers on all canvases, and what they began: on a phone two columns lie under one hand.
const fingers = new Map();
let start = null;
const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1; };
function letGo() { fingers.clear(); start = viewer.drag = null; }
function listen(canvas) {
  canvas.addEventListener('pointerdown', event => {
    if (event.button) return;
    if (event.isPrimary) fingers.clear();  // one that was lifted elsewhere
    fingers.set(event.pointerId, event);
    canvas.setPointerCapture?.(event.pointerId);
    if (fingers.size === 1) start = {at: viewer.at(canvas, event), x: event.clientX, y: event.clientY, centre: viewer.centre, moved: false};
    else {
      viewer.drag = null;  // the first finger began a pinch, not a box
      start = {pinch: spread(), zoom: viewer.zoom, about: viewer.at(canvas, event)};
    }
  });
  canvas.addEventListener('pointermove', event => {
    const point = viewer.at(canvas, event);
    if (fingers.has(event.pointerId)) fingers.set(event.pointerId, event);
    if (start?.pinch && fingers.size > 1) return viewer.zoomTo(start.zoom * spread() / start.pinch, start.about);
    if (start?.at && fingers.size === 1) {
      start.moved = start.moved || Math.hypot(event.clientX - start.x, event.clientY - start.y) > 4;
      if (start.moved && viewer.view().pick === 'box' && !event.shiftKey) {
        viewer.corner = null;
        viewer.drag = viewer.spanned(viewer.fraction(start.at), viewer.fraction(point));
      } else if (start.moved && viewer.zoom > 1) {
        const box = canvas.getBoundingClientRect();
        viewer.centre = [start.centre[0] - (event.clientX - start.x) / box.width / viewer.zoom, start.centre[1] - (event.clientY - start.y) / box.height / viewer.zoom];
      }
    }
    viewer.point(point);
  });
  const up = event => {
    fingers.delete(event.pointerId);
    if (event.type === 'pointercancel' && viewer.drag) { viewer.drag = null; viewer.draw(); }  // the system's gesture, no box
    const {box} = viewer.corner ? {} : viewer.drag ?? {};
    if (box) viewer.finish(box);
    else if (event.type === 'pointerup' && start?.at && !start.moved) viewer.pick(viewer.at(canvas, event));
    if (!fingers.size) start = null;
  };
  canvas.addEventListener('pointerup', up);
  canvas.addEventListener('pointercancel', up);
  canvas.addEventListener('pointerleave', () => { if (!viewer.byKey) viewer.point(null); });
  canvas.addEventListener('wheel', event => {
    const asked = event.ctrlKey || event.metaKey;
    // A click focuses the photo; the wheel goes on scrolling the page until it is enlarged.
    if (!asked && (document.activeElement !== canvas || viewer.zoom === 1)) return;
    event.preventDefault();
    viewer.zoomTo(viewer.zoom * Math.exp(-event.deltaY / 300), viewer.at(canvas, event));
  }, {passive: false});
  canvas.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;  // the browser's own: a larger page, Back
    const moves = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
    const photo = viewer.photo(), from = viewer.window();
    if (moves[event.key]) {
      const step = (event.shiftKey ? 0.1 : 0.02) * (from[2] - from[0]);
      const [x, y] = viewer.pointer ?? [(from[0] + from[2]) / 2, (from[1] + from[3]) / 2];
      const next = [clamp(x + moves[event.key][0] * step, 0, photo.width - 1), clamp(y + moves[event.key][1] * step, 0, photo.height - 1)];
      // The part that is shown moves along.
      viewer.centre = next.map((at, k) => {
        const half = (from[k + 2] - from[k]) / 2;
        return clamp(from[k] + half, at - half, at + half) / (k ? photo.height : photo.width);
      });
      viewer.point(next, true);
    } else if (event.key === 'Enter' && viewer.pointer) viewer.pick(viewer.pointer);
    else if (event.key === '+' || event.key === '=') viewer.zoomTo(viewer.zoom * 1.4, viewer.pointer);
    else if (event.key === '-') viewer.zoomTo(viewer.zoom / 1.4, viewer.pointer);
    else if (event.key === 'Escape') { viewer.corner = viewer.drag = null; viewer.point(null); }
    else return;
    event.preventDefault();
  });
  canvas.addEventListener('blur', () => { if (viewer.byKey) viewer.point(null); });
}
