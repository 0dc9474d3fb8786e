// Before anything is painted: the theme and the direction that were chosen in this browser. profile.js writes them.

(() => {
  try {
    const { theme, locale } = JSON.parse(localStorage.getItem("trueloop.settings")) ?? {};
    if (theme) document.documentElement.dataset.theme = theme;
    if (locale) document.documentElement.lang = locale;
    if (locale === "ar") document.documentElement.dir = "rtl";
  } catch {
    // Nothing was chosen, or storage is forbidden: the system's theme, the browser's language.
  }
})();
