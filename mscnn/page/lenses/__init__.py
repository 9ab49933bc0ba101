"""The lenses: what the page can say about one photo. One module each; the table is ``LENSES``.

How to add a lens
=================
1. ``mscnn/page/lenses/<id>.py`` with ``LENS = Lens(...)``, and its module in ``LENSES`` below.
2. ``mscnn/page/templates/<id>.html``: the answer's HTML (jinja2, autoescape on).
3. ``mscnn/page/templates/<id>.controls.html``: controls that stand below the answer (optional).
4. ``mscnn/page/templates/<id>.md``: "How to read this", shown folded (optional).
5. ``tests/page/test_<id>.py``, ``tests/browser/test_<id>.py``.
CSS of its own goes to ``static/style.css``; a lens needs no JavaScript.

One request, one answer
=======================
The browser owns the state: tab, photo, model, models, target (a class by name), layer ("last" or
a stage number), method, point, box, and ``options`` of each lens. When the lens in front has no
answer for the state, the browser sends a ``Request`` (see ``mscnn.page.request``) and dims the old
answer. ``Lens.needs`` names the fields of the state that an answer depends on; "target" and
"layer" in ``Lens.covers`` are satisfied, without a request, by a map of that class (``label``) and
stage (``stage``) in the answer that is there.

``answer(request, context)`` yields one or several answers, each a full replacement of the one
before (the browser may miss all but the last); set ``"more": True`` on all but the last. It polls
``context.is_cancelled`` in long work, tells ``context.progress(done, total, what)``, keeps results
with ``context.cached(key, make)``; what it yields after Stop is its last answer. It raises
``NeedsConsent(sentence, button)`` before work that costs a download or minutes, unless
``request.agreed``. Any ``MscnnError`` becomes a sentence in #notice, and the old answer stays,
dimmed. Fields of an answer, all optional:

``html``     the panel's answer, from a template.
``label``    the class the answer is about.
``top``      the top-1 class, if it is another one: what no choice of a class stands for.
``classes``  names of all classes of the model, for the list of suggestions; send it always, the
             core sends it on only if the browser does not have it.
``need``     {sentence, button}: what the answer leaves out until the visitor agrees.
``view``     what the viewer shows:
  maps       [map, ...] as ``mscnn.page.messages.map_message`` makes them: {id, data, shape, rect,
             divisor, top, unit, alt} and, as they apply, ``label`` (class), ``stage`` ("4"),
             ``last`` (true: also answers to the layer "last"), ``caption`` (one sentence),
             ``title`` (a few words), ``signed`` (true: red above 0, blue below, the photo in grey),
             ``top`` (shared by all maps of one scale: pass the common maximum), ``group`` (see
             ``data-group``), ``photo`` ({path, width, height}: a picture of its own, in px of
             which all else of it is given; with ``whole``, where the whole photo would lie on it,
             points and boxes are those of the photo), ``boxes`` (as below), ``column`` (see
             ``columns``), ``field`` (a receptive field of its own, as in ``fields``), ``half``
             (true: ``data`` is float16, see ``packed``).
  frame      [left, top, right, bottom] in photo px: what the network saw.
  columns    [{title, map: id or null, frame, note}] for several pictures with one zoom, pan and
             pointer; a column without ``map`` shows the chosen one, and one with ``key`` the
             map that has this ``column`` and the ``group`` of the chosen one.
             Absent: one column.
  pick       "point": a click or Enter sets ``point``; "box": a drag sets ``box``, and so do two
             clicks, or Enter at two corners.
  fields     [{title, stage, stride, start, size, grid, view, rect}] in px of the network's input:
             the receptive field of the unit under the pointer is drawn from it; per axis, unit i
             is centred at start + i * stride; ``view`` is [width, height] of the input, ``rect``
             where the input lies on the photo. The one of the state's stage is used, else the last.
  boxes      [{rect: [l, t, r, b] in photo px, title, tone: 1..4}] to draw.
  photo      {path, width, height}: another picture in the photo's place (a composed one).
  pictures   {map id: path}: drawn pictures, only if ``request.static`` (no canvas there).

In the HTML, with no JavaScript of the lens's own
=================================================
Values are JSON; write them in a template as ``data-set="{{ value|tojson|forceescape }}"``.
Headings are ``<h2>`` (the page has the ``<h1>``).

``data-set='{"target": "lion"}'``  on a button: changes the state; asks only where it must.
``data-set='{"options": {"also": "x"}}'`` changes an option of this lens.
``data-show='{"map": "layer3.1/2"}'`` on a button: chooses a map of the answer; never asks.
``data-hover``    beside data-show: pointing at it, or focus, shows the map meanwhile.
                  Both get ``aria-pressed`` by the state.
``data-shows='[{"map": ..., "text": ...}, ...]'``  on a range: its value k shows the k-th map.
``<canvas data-map="ID">``  is drawn with that map on the photo (a small multiple), in the viewer's
                  colours; ``<canvas data-stage="4">``: the map of that stage and the class shown.
``data-group="G"``  is shown only while the map shown has ``group`` G.
``data-field="method"`` / ``data-field="options.also"`` on input or select: bound to the state;
                  checkbox and number inputs too; an option that is empty or false is absent.
                  ``data-choices="models"`` fills a select from the page's lists (models, methods,
                  layers); ``list="classes"`` suggests class names.
``data-list="models"``  on a fieldset with a ``.chips`` element: the models as removable chips;
                  ``<select data-add="models" data-choices="models">`` or
                  ``<input data-add="models" list="model-names">`` in it adds one.
``data-pack``     on a button: makes the lens's file (``Lens.files``) and saves it.
``data-mark``     on groups of an inline SVG: become buttons; the map whose id equals the mark is
                  shown by pointing at it or choosing it, or what ``marks: {mark: {show | set}}`` in
                  the answer says. Arrow keys go from one to the next.
``Request.chart_px`` is the panel's width: charts drawn as wide have text of the right size.
"""

from __future__ import annotations

from mscnn.page.lens import Lens
from mscnn.page.lenses import look, rf, scales, zoom

LENSES: dict[str, Lens] = {module.LENS.id: module.LENS for module in (look, scales, rf, zoom)}
"""By id, in the order of the tabs."""
