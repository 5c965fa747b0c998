// The admin's pages follow the same colour theme as the others: the server says which, or the system does.
(() => {
  const root = document.documentElement;
  const chosen = document.querySelector('meta[name="theme"]').content;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    const theme = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
    root.dataset.theme = theme;
    root.dataset.bsTheme = theme;
  };
  dark.addEventListener("change", apply);
  apply();
})();
