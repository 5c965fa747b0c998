// Charts of the model pages: live loss curves, precision over recall, reliability. Data comes from the page.
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const charts = {};

  function axis(title, range) {
    return {
      ...range, type: "linear", title: { display: true, text: title, color: css("--chart-text") },
      grid: { color: css("--chart-grid") }, ticks: { color: css("--chart-text") },
    };
  }

  function line(label, data, colour, more = {}) {
    return { label, data, borderColor: colour, backgroundColor: colour, borderWidth: 2, pointRadius: 0, ...more };
  }

  function draw(id, datasets, scales) {
    const canvas = document.getElementById(id);
    if (!canvas || typeof Chart === "undefined") return;
    if (charts[id]) {
      charts[id].data.datasets.forEach((dataset, i) => { dataset.data = datasets[i].data; });
      charts[id].options.scales.x.max = scales.x.max;
      charts[id].update("none");
      return;
    }
    charts[id] = new Chart(canvas, {
      type: "line",
      data: { datasets },
      options: {
        animation: false, maintainAspectRatio: false, scales,
        interaction: { mode: "nearest", intersect: false },
        plugins: { legend: { labels: { color: css("--chart-text"), boxWidth: 18, boxHeight: 2 } } },
      },
    });
  }

  function drawLoss() {
    const section = document.getElementById("training");
    if (!section) return;
    const curve = JSON.parse(section.dataset.curve || "[]");
    const points = (place) => curve.filter((p) => p[place] !== null).map((p) => ({ x: p[0], y: p[place] }));
    draw("loss-chart", [
      line("training", points(1), css("--chart-1")),
      line("validation", points(2), css("--chart-2"), { pointRadius: 3 }),
    ], { x: axis("epoch", { min: 0, max: Number(section.dataset.epochs) || undefined }), y: axis("loss", {}) });
  }

  function drawReport() {
    const source = document.getElementById("chart-data");
    if (!source) return;
    const report = JSON.parse(source.textContent);
    const unit = { min: 0, max: 1 };
    const curve = (name) => (report.curves[name] ? report.curves[name].recall.map((r, i) => ({ x: r, y: report.curves[name].precision[i] })) : []);
    const at = report.at_threshold ? [{ x: report.at_threshold.recall, y: report.at_threshold.precision }] : [];
    const chance = report.prevalence === null ? [] : [{ x: 0, y: report.prevalence }, { x: 1, y: report.prevalence }];
    draw("curve-chart", [
      line("network", curve("network"), css("--chart-1")),
      line("baseline", curve("baseline"), css("--chart-3"), { borderDash: [6, 4] }),
      line("at the threshold", at, css("--chart-2"), { pointRadius: 6, showLine: false }),
      line("by chance", chance, css("--chart-4"), { borderWidth: 1, borderDash: [2, 3] }),
    ], { x: axis("recall", unit), y: axis("precision", unit) });
    draw("reliability-chart", [
      line("observed", report.bins.map((b) => ({ x: b.predicted, y: b.observed })), css("--chart-1"), { pointRadius: 4 }),
      line("perfect", [{ x: 0, y: 0 }, { x: 1, y: 1 }], css("--chart-3"), { borderWidth: 1, borderDash: [2, 3] }),
    ], { x: axis("predicted probability", unit), y: axis("observed share", unit) });
  }

  function drawAll() { drawLoss(); drawReport(); }
  drawAll();
  document.addEventListener("htmx:afterSettle", drawLoss);
  new MutationObserver(() => {  // another colour scheme: other colours
    Object.keys(charts).forEach((id) => { charts[id].destroy(); delete charts[id]; });
    drawAll();
  }).observe(document.documentElement, { attributes: true, attributeFilter: ["data-bs-theme"] });
})();
