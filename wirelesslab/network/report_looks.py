"""How a report looks: its style sheet, and the few lines of script that read values under the pointer."""

STYLE = """
:root{color-scheme:light}
body{font:15px/1.45 system-ui,"Segoe UI","DejaVu Sans",sans-serif;color:#1a1a1a;background:#fff;margin:0 auto;
padding:16px 24px;max-width:1320px}
h1{font-size:25px;margin:0 0 4px}
h2{font-size:19px;margin:28px 0 6px;border-bottom:1px solid #ccc}
h3{font-size:16px;margin:18px 0 4px}
p{margin:6px 0;max-width:86ch}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;margin:6px 0}
th,td{padding:3px 9px;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
th{border-bottom:2px solid #888}
th{vertical-align:bottom}
td.r,th.r{text-align:right;font-variant-numeric:tabular-nums}
td.r{white-space:nowrap}
td:first-child{white-space:nowrap}
td.w{overflow-wrap:anywhere;min-width:12em}
.said{border-left:6px solid #D55E00;background:#fdf1e7;padding:8px 14px;margin:10px 0}
.facts{display:flex;flex-wrap:wrap;gap:2px 22px;margin:4px 0;overflow-wrap:anywhere}
.facts b{font-weight:600}
.swatch{display:inline-block;width:12px;height:12px;margin-right:7px;border-radius:2px;
print-color-adjust:exact}
.bad{color:#a23f00;font-weight:700}
.good{color:#00634a;font-weight:600}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(350px,1fr));gap:8px 14px}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:12px}
svg{display:block;width:100%;height:auto;font:11.5px system-ui,"Segoe UI","DejaVu Sans",sans-serif;fill:#1a1a1a}
.chart{max-width:460px}
.map,.legend,.time{max-width:1100px}
.cells{max-width:420px}
.t{font-size:13px;font-weight:600}
.e{text-anchor:end}
.m{text-anchor:middle}
.h{paint-order:stroke;stroke:#fff;stroke-width:3px}
.g{stroke:#e4e4e4}
.k{stroke:#777}
.l{stroke:#1a1a1a;stroke-dasharray:8 3 2 3;stroke-width:1.3}
.c{stroke:#777;visibility:hidden}
.b{fill:#333;fill-opacity:.17;print-color-adjust:exact}
#tip{position:fixed;display:none;background:#fff;border:1px solid #777;padding:4px 8px;font-size:13px;white-space:pre;
pointer-events:none;box-shadow:0 2px 6px #0003}
section{break-inside:avoid-page}
details summary{cursor:pointer;color:#0b4f82}
@media print{body{max-width:none;padding:0;font-size:11px}
.grid{grid-template-columns:repeat(2,1fr)}
th,td{padding:2px 5px}
table{font-size:10.5px}
.scroll{overflow:visible}
h2,h3{break-after:avoid}
svg,tr{break-inside:avoid}
.slice{break-inside:avoid}}
@media(max-width:1000px){th,td{padding:3px 6px}
table{font-size:13px}}
@media(max-width:760px){body{padding:10px}
.map,.time,.legend{min-width:680px}}
"""

# Reads the curves' own points back through the scales that each chart carries.
SCRIPT = """
(function () {
  var tip = document.getElementById('tip'), all = [].slice.call(document.querySelectorAll('svg.chart'));
  function off() {
    tip.style.display = 'none';
    all.forEach(function (s) { s.querySelector('.c').style.visibility = 'hidden'; });
  }
  all.forEach(function (s) {
    var X = s.dataset.x.split(' '), Y = s.dataset.y.split(' ');
    s.addEventListener('mousemove', function (e) {
      var r = s.getBoundingClientRect(), x = (e.clientX - r.left) * s.viewBox.baseVal.width / r.width;
      if (x < +X[0] || x > +X[1]) return off();
      all.forEach(function (o) {
        var c = o.querySelector('.c');
        c.setAttribute('x1', x); c.setAttribute('x2', x); c.style.visibility = 'visible';
      });
      var out = [(+X[2] + (X[3] - X[2]) * (x - X[0]) / (X[1] - X[0])).toPrecision(4) + ' ' + X[4]];
      s.querySelectorAll('path[data-label]').forEach(function (p) {
        var best = null;
        (p.getAttribute('d').match(/[-\\d.]+,[-\\d.]+/g) || []).forEach(function (q) {
          q = q.split(',').map(Number);
          if (!best || Math.abs(q[0] - x) <= Math.abs(best[0] - x)) best = q;
        });
        if (!best) return;
        var f = (Y[0] - best[1]) / (Y[0] - Y[1]);
        var v = Y[4] == 'log' ? Y[2] * Math.pow(Y[3] / Y[2], f) : +Y[2] + (Y[3] - Y[2]) * f;
        out.push(p.dataset.label + ': about ' + v.toPrecision(3) + ' ' + Y.slice(5).join(' '));
      });
      tip.textContent = out.join('\\n');
      tip.style.display = 'block';
      tip.style.left = Math.min(e.clientX + 14, innerWidth - 240) + 'px';
      tip.style.top = (e.clientY + 14) + 'px';
    });
    s.addEventListener('mouseleave', off);
  });
})();
"""
