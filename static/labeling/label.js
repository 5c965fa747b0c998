// The label page: keys, focus, claims, and what to do when the network fails.
// Everything here is an extra: without it the page is plain forms.
(() => {
  const page = document.getElementById("labeling");
  if (!page) return;
  document.documentElement.classList.add("has-js");

  const $ = (id) => document.getElementById(id);
  const STORE = "tagger.label.keys";
  const KEYS = {
    da: ["d"], nda: ["n"], unsure: ["u"],
    submit: ["enter", "ctrl+enter"], skip: ["space", "ctrl+space"], undo: ["backspace", "ctrl+z"],
    filter: ["slash", "/"], guideline: ["g"], note: ["x"], help: ["h", "?"],
  };
  const CAPS = { enter: "Enter", space: "Space", backspace: "⌫", slash: "/", ctrl: "Ctrl", shift: "⇧", alt: "⌥" };
  let own = {};
  try { own = JSON.parse(localStorage.getItem(STORE)) || {}; } catch { own = {}; }
  const keysOf = (action) => own[action] || KEYS[action];
  const caption = (chord) => chord.split("+").map((part) => CAPS[part] || part.toUpperCase()).join(" ");

  // Keys ----------------------------------------------------------------------------------------------------

  // Digits by their place on the keyboard (event.code), because shift changes what they type. Letters by what
  // is printed on the key, so that "D" is D on every layout; by place where the layout has no Latin letters.
  // The number pad only where it types a digit: without NumLock, and with shift on Windows, its keys are arrows.
  function chordOf(event) {
    const digit = /^Digit(\d)$/.exec(event.code) || (/^\d$/.test(event.key) && /^Numpad(\d)$/.exec(event.code));
    const latin = /^[a-z]$/i.test(event.key) ? event.key : (/^Key([A-Z])$/.exec(event.code) || [])[1];
    const key = digit ? digit[1] : (latin || (/^Numpad\d$/.test(event.code) ? event.key : event.code.replace("Numpad", ""))).toLowerCase();
    const held = (event.ctrlKey || event.metaKey ? "ctrl+" : "") + (event.shiftKey ? "shift+" : "") + (event.altKey ? "alt+" : "");
    return held + key;
  }

  function actionOf(event) {
    const chord = chordOf(event);
    for (const action of Object.keys(KEYS)) {
      const keys = keysOf(action);
      if (keys.includes(chord)) return action;
      const isSign = !event.ctrlKey && !event.altKey && !/^(Digit|Numpad)/.test(event.code);
      if (isSign && "/?".includes(event.key) && keys.includes(event.key)) return action;
    }
    return null;
  }

  const isTyping = (element) => element.matches("textarea, select, input:not([type=radio], [type=checkbox], [type=hidden])");
  const isPressable = (element) => element.matches("a[href], button, summary");

  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    const focused = document.activeElement || document.body;
    const chord = chordOf(event);
    if (isTyping(focused)) {
      if (focused.id === "tag-filter") return inFilter(event, focused);
      if (event.key === "Escape") $("tweet").focus();
      else if (chord === "ctrl+enter") act("submit", event);
      return;
    }
    if (event.repeat) return;
    // A focused control keeps its own keys: Enter presses buttons and links, Space also checkboxes and radios.
    if (chord === "enter" && isPressable(focused)) return;
    if (chord === "space" && (isPressable(focused) || focused.matches("input"))) return;
    const tag = [...document.querySelectorAll("#judge [data-key]")].find((box) => box.dataset.key === chord);
    if (tag) {
      event.preventDefault();
      toggle(tag);
      return;
    }
    const action = actionOf(event);
    if (action) act(action, event);
  });

  function toggle(tag) {
    tag.checked = !tag.checked;
    touched(tag);
    say(`${tagName(tag)} ${tag.checked ? "given" : "taken away"}`);
  }

  function act(action, event) {
    event.preventDefault();
    const form = $("judge");
    // A click, not requestSubmit(): htmx learns from clicks which button it was.
    const press = (selector) => { const button = form && form.querySelector(selector); if (button) button.click(); };
    if (action === "submit") press("[name=action][value=submit]");
    else if (action === "skip") press("[name=action][value=skip]");
    else if (action === "undo") $("undo").requestSubmit();
    else if (action === "filter") { const filter = $("tag-filter"); if (filter) filter.focus(); }
    else if (action === "help") showHelp();
    else if (action === "guideline") showGuideline();
    else if (action === "note") { const note = $("note"); if (note) { note.closest("details").open = true; note.focus(); } }
    else {
      const verdict = $(`verdict-${action}`);
      if (!verdict) return;
      verdict.checked = true;
      say(`${verdict.labels[0].firstElementChild.textContent} chosen`);
    }
  }

  // Tags: filter, guideline ----------------------------------------------------------------------------------

  const tagName = (tag) => tag.labels[0].querySelector(".choice-name").textContent;
  let lastTag = null;
  const touched = (tag) => { lastTag = tag; };

  function inFilter(event, filter) {
    if (event.key === "Escape") {
      event.preventDefault();
      clearFilter(filter);
    } else if (event.key === "Enter") {
      event.preventDefault();
      const first = document.querySelector(".tag-choice:not([hidden]) input");
      if (filter.value && first) toggle(first);
      clearFilter(filter);
      if (event.ctrlKey || event.metaKey) act("submit", event);
    }
  }

  function clearFilter(filter) {
    filter.value = "";
    narrow("");
    $("tweet").focus();
  }

  function narrow(words) {
    for (const choice of document.querySelectorAll(".tag-choice")) {
      choice.hidden = !choice.dataset.name.includes(words.trim().toLowerCase());
    }
  }

  page.addEventListener("input", (event) => { if (event.target.id === "tag-filter") narrow(event.target.value); });
  page.addEventListener("change", (event) => { if (event.target.dataset.tag) touched(event.target); });
  page.addEventListener("focusin", (event) => { if (event.target.dataset.tag) touched(event.target); });
  // After a click the keys should work as before it; a keyboard user who tabs about keeps the focus.
  page.addEventListener("click", (event) => {
    if (event.target.closest("#show-help")) showHelp();
    if (event.target.id === "label-retry") retry();
    if (event.detail > 0 && event.target.matches("input.btn-check")) $("tweet").focus({ preventScroll: true });
  });

  function showGuideline() {
    const tag = lastTag && lastTag.isConnected ? lastTag : document.querySelector("[data-tag]:checked");
    const title = tag && document.querySelector(`[data-guideline="${tag.dataset.tag}"]`);
    $("guideline-title").textContent = tag ? tagName(tag) : "Guideline";
    $("guideline-text").textContent = title ? title.nextElementSibling.textContent
      : tag ? "This tag has no guideline yet. Write one on its page." : "Give a tag first, or move to one with the Tab key.";
    $("label-guideline").showModal();
  }

  // Help, and keys of one's own ------------------------------------------------------------------------------

  function showHelp() {
    $("key-said").textContent = "";
    $("label-help").showModal();
  }

  function showKeys() {
    for (const row of document.querySelectorAll("#key-rows tr")) {
      const caps = keysOf(row.dataset.action).filter((chord) => chord !== "/").map((chord) => {
        const cap = document.createElement("kbd");
        cap.textContent = caption(chord);
        return cap;
      });
      row.querySelector(".keys").replaceChildren(...caps.flatMap((cap, n) => (n ? [" ", cap] : [cap])));
    }
    for (const cap of document.querySelectorAll("[data-key-of]")) cap.textContent = caption(keysOf(cap.dataset.keyOf)[0]);
  }

  let changing = null;
  document.addEventListener("click", (event) => {
    const dialog = event.target.closest("dialog");
    if (!dialog) return;
    if (event.target.closest("[data-close]") || event.target === dialog) dialog.close();
    if (event.target.closest("[data-change]")) {
      changing = event.target.closest("tr").dataset.action;
      $("key-said").textContent = "Press the new key now, or Escape.";
    }
    if (event.target.id === "key-reset") keep({});
  });
  document.addEventListener("close", () => { changing = null; const tweet = $("tweet"); if (tweet) tweet.focus(); }, true);
  document.addEventListener("keydown", (event) => {
    if (!changing || ["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    const chord = chordOf(event);
    const taken = Object.keys(KEYS).find((action) => action !== changing && keysOf(action).includes(chord))
      || document.querySelector(`#judge [data-key="${CSS.escape(chord)}"]`);
    if (event.key === "Escape" || event.key === "Tab") $("key-said").textContent = "Nothing changed.";
    else if (taken) $("key-said").textContent = `${caption(chord)} is taken. Choose another key.`;
    else keep({ ...own, [changing]: [chord] });
    changing = null;
  }, true);

  function keep(keys) {
    own = keys;
    try { localStorage.setItem(STORE, JSON.stringify(own)); } catch { /* private mode: for this page only */ }
    $("key-said").textContent = "Saved in this browser.";
    showKeys();
  }

  // Submitting: errors, retry, focus -------------------------------------------------------------------------

  const say = (text) => { $("label-said").textContent = text; };
  let last = null; // the form and button of the last request, for a retry

  // Buttons that leave the page go past htmx, as plain forms do.
  document.addEventListener("submit", (event) => {
    if (event.submitter && event.submitter.hasAttribute("data-plain")) event.stopPropagation();
    else last = [event.target, event.submitter];
    if (event.target.id === "undo") keepChoice();
  }, true);

  // What is chosen for a tweet when an earlier one is taken back: it is there again when the tweet is.
  const kept = new Map();
  const checked = (form) => [...form.querySelectorAll("[name=verdict]:checked, [data-tag]:checked")].map((box) => box.id);

  function keepChoice() {
    const form = $("judge");
    if (form) kept.set(form.dataset.item, { boxes: checked(form), note: $("note").value });
  }

  function putBack() {
    const form = $("judge");
    const choice = form && kept.get(form.dataset.item);
    if (!choice) return;
    kept.delete(form.dataset.item);
    for (const box of form.querySelectorAll("[name=verdict], [data-tag]")) box.checked = choice.boxes.includes(box.id);
    $("note").value = choice.note;
    if (choice.note) $("note").closest("details").open = true;
  }

  function problem(text) {
    $("label-problem-text").textContent = text;
    $("label-retry").hidden = false;
    $("label-problem").hidden = false;
    $("label-problem").scrollIntoView({ block: "nearest" });
  }

  function retry() {
    $("label-problem").hidden = true;
    // A log-in in another tab has changed the token that every form must carry.
    const token = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie);
    if (token) for (const field of document.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = token[1];
    const [form, button] = last || [];
    if (button && button.isConnected) button.click();
    else if (form && form.isConnected) form.requestSubmit();
  }

  const tagKeys = () => [...document.querySelectorAll("#judge [data-tag]")].map((box) => `${box.dataset.key}=${box.dataset.tag}`).join();
  let keysBefore = tagKeys();

  page.addEventListener("htmx:beforeSwap", (event) => {
    const answer = event.detail.xhr;
    if (answer.status === 409 || answer.status === 422) event.detail.shouldSwap = true;
    const isOurs = answer.responseText.includes('id="task"');
    if (event.detail.shouldSwap && !isOurs) { // a log-in page, for one
      event.detail.shouldSwap = false;
      problem("Not saved: you are logged out. Log in again in another tab, then try again here. Your choice is kept.");
    }
    event.detail.isError = false;
    if (answer.status >= 500 || answer.status === 403 || answer.status === 400) {
      problem(`Not saved: the server answered ${answer.status}. Your choice is still here.`);
    }
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) {
    page.addEventListener(name, () => problem("Not saved: no connection to the server. Your choice is still here."));
  }
  document.addEventListener("label:notice", (event) => say(event.detail.text));
  document.addEventListener("label:notice", (event) => notice(event.detail.text));

  function notice(text) {
    $("label-problem-text").textContent = text;
    $("label-retry").hidden = true;
    $("label-problem").hidden = false;
  }

  page.addEventListener("htmx:afterSwap", () => {
    lastTag = null;
    showKeys();
    putBack();
    const task = $("task");
    say(task.dataset.said);
    const keysNow = tagKeys();
    if (keysBefore && keysNow && keysNow !== keysBefore && $("label-problem").hidden) {
      notice("The keys of the tags have changed. Look at the buttons before you go on.");
    }
    keysBefore = keysNow || keysBefore;
    const isProblem = !$("label-problem").hidden;
    $("tweet").focus({ preventScroll: true });
    if (isProblem) $("label-problem").scrollIntoView({ block: "nearest" });
    else if (window.scrollY > page.offsetTop) window.scrollTo(0, 0);
  });

  // Claims ---------------------------------------------------------------------------------------------------

  const shown = () => document.querySelector("#judge [name=shown]");
  function claimForm() {
    const field = shown();
    const token = document.querySelector("#task [name=csrfmiddlewaretoken]");
    return field && new URLSearchParams({ shown: field.value, csrfmiddlewaretoken: token.value });
  }

  // The tab closes: give the tweet back. A reload claims it again, within the moment of grace.
  window.addEventListener("pagehide", () => {
    const form = claimForm();
    if (form) navigator.sendBeacon(page.dataset.release, form);
  });
  window.addEventListener("pageshow", (event) => { if (event.persisted) renew(); });

  let active = Date.now();
  for (const name of ["keydown", "pointerdown", "scroll"]) document.addEventListener(name, () => { active = Date.now(); }, { passive: true });

  async function renew() {
    const field = shown();
    if (!field) return;
    try {
      const answer = await fetch(page.dataset.renew, { method: "POST", body: claimForm() });
      if (answer.ok && field.isConnected) field.value = (await answer.json()).shown;
      else if (answer.status === 409) notice("A colleague may have this tweet by now: you were away for long. Submit tells.");
    } catch { /* offline: the submit will say so */ }
  }
  setInterval(() => { if (!document.hidden && Date.now() - active < 300_000) renew(); }, 120_000);

  showKeys();
  if ($("tweet")) $("tweet").focus({ preventScroll: true });
})();
