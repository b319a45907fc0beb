// Puts the chosen theme in force before anything is painted; without a choice the system's holds.
"use strict";
(() => {
  const theme = localStorage.getItem("theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
