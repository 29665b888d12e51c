// Before anything is drawn: the theme that this browser chose, where it chose one.
try {
  const chosen = localStorage.getItem("airlock-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // without storage the system's own choice counts
}
