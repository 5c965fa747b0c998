// A form is sent once: a second click while the first is under way would judge, import or train twice.
// Everything here is an extra. What htmx sends looks after itself (hx-sync), and searches may be repeated.
(() => {
  const buttons = (form) => [...form.elements].filter((element) => element.type === "submit");

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    // Not at once: a disabled button would not be sent along.
    setTimeout(() => { for (const button of buttons(form)) button.disabled = true; });
  });

  // The page is shown again from the browser's memory, by its Back button.
  window.addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      for (const button of buttons(form)) button.disabled = false;
    }
  });
})();
