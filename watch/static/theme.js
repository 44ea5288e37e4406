// The theme: the system's, light or dark. Loaded before the page is drawn, so that it does not flash.
// Owns the attribute data-theme of <html> and the button #theme; tells others with the event "theme".
(() => {
  const THEMES = ["system", "light", "dark"];
  const NAME = "rookery-theme";
  const root = document.documentElement;

  function kept() {
    try {
      const found = localStorage.getItem(NAME);
      return THEMES.includes(found) ? found : "system";
    } catch {
      return "system"; // storage may be forbidden
    }
  }

  function apply(theme) {
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${theme}`;
    document.dispatchEvent(new CustomEvent("theme"));
  }

  function next() {
    const theme = THEMES[(THEMES.indexOf(kept()) + 1) % THEMES.length];
    try {
      localStorage.setItem(NAME, theme);
    } catch {
      // it then holds for this page only
    }
    apply(theme);
  }

  apply(kept());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(kept()));
  document.addEventListener("DOMContentLoaded", () => {
    apply(kept());
    document.getElementById("theme").addEventListener("click", next);
  });
})();
