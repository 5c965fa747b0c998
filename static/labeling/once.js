// A form is sent once: a second click while the first is under way would judge, import or train twice.
// Everything here is an extra. What htmx sends looks after itself (hx-sync), and searches may be repeated.
(() => {
  const AGAIN = 10_000; // ms after which it may be tried again: the first may have been stopped, or lost on its way
  const sent = new WeakMap();

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (Date.now() - (sent.get(form) ?? 0) < AGAIN) event.preventDefault();
    else sent.set(form, Date.now());
  });

  // The page is shown again from the browser's memory, by its Back button.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) for (const form of document.forms) sent.delete(form);
  });
})();
