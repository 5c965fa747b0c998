// The flagged page: charts from the page's own JSON, and the boxes that choose tweets for a bulk action.
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const whole = new Intl.NumberFormat();
  let charts = [];

  // One thin line across the histogram where flagging begins.
  const thresholdLine = (data) => ({
    id: "threshold",
    afterDatasetsDraw(chart) {
      const at = data.edges.findIndex((edge, i) => edge <= data.threshold && data.threshold < data.edges[i + 1]);
      if (at < 0) return;
      const { ctx, chartArea, scales } = chart;
      const width = scales.x.getPixelForValue(1) - scales.x.getPixelForValue(0);
      const within = (data.threshold - data.edges[at]) / (data.edges[at + 1] - data.edges[at]);
      const x = scales.x.getPixelForValue(at) + (within - 0.5) * width;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour("--chart-2");
      ctx.lineWidth = 2;
      ctx.beginPath();
      ctx.moveTo(x, chartArea.top);
      ctx.lineTo(x, chartArea.bottom);
      ctx.stroke();
      const toTheLeft = x > (chartArea.left + chartArea.right) / 2;
      ctx.textAlign = toTheLeft ? "right" : "left";
      ctx.font = "12px system-ui, sans-serif";
      ctx.fillText(`threshold ${Number(data.threshold.toPrecision(3))}`, x + (toTheLeft ? -6 : 6), chartArea.top + 12);
      ctx.restore();
    },
  });

  const axes = (changes) => {
    const base = () => ({
      ticks: { color: colour("--chart-text"), maxRotation: 0, autoSkipPadding: 12 },
      grid: { color: colour("--chart-grid") },
      border: { display: false },
    });
    const x = base(), y = base();
    return { x: { ...x, ...changes.x, ticks: { ...x.ticks, ...changes.x?.ticks } }, y: { ...y, ...changes.y, ticks: { ...y.ticks, ...changes.y?.ticks } } };
  };

  const bars = (labels, values, { scales, options = {}, plugins = [], colours }) => ({
    type: "bar",
    data: { labels, datasets: [{ data: values, label: "tweets", backgroundColor: colours ?? colour("--chart-1"), categoryPercentage: 0.92, barPercentage: 0.92 }] },
    options: { animation: false, maintainAspectRatio: false, responsive: true, plugins: { legend: { display: false } }, scales, ...options },
    plugins,
  });

  const drawn = {
    tags: ({ labels, values }) => bars(labels, values, {
      scales: axes({ x: { beginAtZero: true }, y: { grid: { display: false }, ticks: { autoSkip: false, font: { size: 11 } } } }),
      options: { indexAxis: "y" },
    }),
    times: ({ labels, values }) => bars(labels, values, { scales: axes({ x: { grid: { display: false } }, y: { beginAtZero: true } }) }),
    risk: (data) => bars(data.edges.slice(0, -1).map((edge, i) => `${Number(edge.toPrecision(3))} – ${Number(data.edges[i + 1].toPrecision(3))}`), data.counts, {
      colours: data.edges.slice(0, -1).map((edge) => colour(edge >= data.threshold ? "--chart-2" : "--chart-1")),
      scales: axes({
        x: { grid: { display: false }, ticks: { autoSkip: true, maxTicksLimit: 8, callback: (_, i) => Number(data.edges[i].toPrecision(2)).toString() } },
        y: { type: "logarithmic", min: 0.8, ticks: { callback: (value) => (Number.isInteger(Math.log10(value)) ? whole.format(value) : null) } },
      }),
      plugins: [thresholdLine(data)],
    }),
  };

  const draw = () => {
    const source = document.getElementById("flagged-charts");
    if (!source || !window.Chart) return;
    const data = JSON.parse(source.textContent);
    charts.forEach((chart) => chart.destroy());
    charts = [...document.querySelectorAll("canvas[data-chart]")]
      .filter((canvas) => canvas.offsetParent !== null)
      .map((canvas) => {
        const kind = canvas.dataset.chart;
        if (kind === "tags") canvas.parentElement.classList.toggle("chart-tall", data.tags.labels.length > 12);
        return new window.Chart(canvas, drawn[kind](data[kind]));
      });
  };

  const boxes = () => [...document.querySelectorAll('#bulk input[name="tweet"]')];
  const count = () => {
    const all = boxes(), chosen = all.filter((box) => box.checked).length;
    const note = document.querySelector("[data-chosen]"), main = document.querySelector("[data-choose-all]");
    if (note) note.textContent = chosen ? `${chosen} chosen` : "None chosen";
    if (main) {
      main.checked = all.length > 0 && chosen === all.length;
      main.indeterminate = chosen > 0 && chosen < all.length;
    }
  };

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-choose-all]")) boxes().forEach((box) => { box.checked = event.target.checked; });
    if (event.target.closest("#bulk")) count();
  });
  document.addEventListener("htmx:afterSwap", count);
  document.addEventListener("htmx:historyRestore", () => { draw(); count(); });
  document.addEventListener("toggle", (event) => { if (event.target.matches("details.dashboard")) draw(); }, true);
  new MutationObserver(draw).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });
  draw();
  count();
})();
